"""Queries: mixes of text, pictures, vectors, liked and unliked products; invalid queries; batches."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from artifacts.release.release import Release
from artifacts.settings import Settings
from serving.schemas import BatchAnswer, SearchAnswer
from serving.services import services_of
from tests.encoders import ColourWords
from tests.serving.answers import client_for, colours, encoded, ids, photo, problem, scores


def search(client: FlaskClient, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/search", json={"rerank": False, **body})
    assert response.status_code == 200, response.get_data(as_text=True)
    SearchAnswer.model_validate(response.get_json())
    return response.get_json()


@pytest.fixture(scope="module")
def release(rich_client: FlaskClient) -> Release:
    return services_of(rich_client.application).watcher.snapshot().release


def best_cosine(release: Release, vector: np.ndarray, product_id: str) -> float:
    """Cosine similarity of a query and a product's best picture."""
    vectors = release.product_vectors(product_id)
    assert vectors is not None
    return float((vectors @ (vector / np.linalg.norm(vector))).max())


# ── parts and their mixes ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("image_weight", [0.0, 0.3, 0.7, 1.0])
def test_hybrid_is_the_weighted_sum_of_picture_and_text(
    rich_client: FlaskClient, rich_shop: Path, release: Release, image_weight: float
) -> None:
    data = {"image": (photo(rich_shop, 3), "x.jpg"), "text": "blue", "rerank": "false", "limit": "100"}
    answer = rich_client.post(f"/v1/search/hybrid?image_weight={image_weight}", data=data).get_json()
    encoder = ColourWords()
    with Image.open(photo(rich_shop, 3)) as opened:
        picture = encoder.encode_images([opened.convert("RGB")])[0]
    text = encoder.encode_texts(["blue"])[0]
    vector = image_weight * picture + (1 - image_weight) * text
    for result in answer["results"]:
        # The server decodes pictures at another size, which changes their vectors a little.
        assert result["similarity_score"] == pytest.approx(best_cosine(release, vector, result["product_id"]), abs=0.01)
    colour = {0.0: "blue", 1.0: "yellow"}.get(image_weight)
    if colour:
        assert answer["results"][0]["attributes"]["colour"] == colour


def test_hybrid_weighs_pictures_by_seven_tenths_by_default(rich_client: FlaskClient, rich_shop: Path) -> None:
    def results(**fields: str) -> dict[str, Any]:
        data = {"image": (photo(rich_shop, 3), "x.jpg"), "text": "blue", **fields}
        return rich_client.post("/v1/search/hybrid", data=data).get_json()["results"]

    assert results() == results(image_weight="0.7") != results(image_weight="0.2")


@pytest.mark.parametrize("weight", ["0", "0.7", "1"])
def test_hybrid_with_a_single_part_ignores_the_weight(rich_client: FlaskClient, rich_shop: Path, weight: str) -> None:
    words = rich_client.post("/v1/search/hybrid", data={"text": "blue", "image_weight": weight}).get_json()
    assert words["results"] == rich_client.get("/v1/search/text?q=blue").get_json()["results"]
    data = {"image": (photo(rich_shop, 3), "x.jpg")}
    picture = rich_client.post(f"/v1/search/hybrid?image_weight={weight}", data=data).get_json()
    data = {"image": (photo(rich_shop, 3), "x.jpg")}
    assert picture["results"] == rich_client.post("/v1/search/image", data=data).get_json()["results"]


@pytest.mark.parametrize("text", ["501", "true", "null", '"red"', "1e5", "[]"])
def test_form_text_that_looks_like_json_stays_text(rich_client: FlaskClient, text: str) -> None:
    form = rich_client.post("/v1/search/hybrid", data={"text": text}, content_type="multipart/form-data").get_json()
    assert form["results"] == search(rich_client, text=text, rerank=True)["results"]


@pytest.mark.parametrize(("size", "crop"), [((50, 5000), "0.30,0,0.32,1"), ((5000, 50), "0.3,0.3,0.32,0.32")])
def test_crop_of_a_narrow_picture_is_not_empty(rich_client: FlaskClient, size: tuple[int, int], crop: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 40)).save(buffer, "PNG")
    image = {"data": base64.b64encode(buffer.getvalue()).decode(), "crop": crop}
    assert colours(search(rich_client, images=[image], limit=3)) == {"red"}


def test_every_route_equals_the_general_query(rich_client: FlaskClient, rich_shop: Path) -> None:
    client = rich_client
    upload = {"image": [(photo(rich_shop, 3), "a.jpg"), (photo(rich_shop, 9), "b.jpg")], "crop": "0,0,0.8,1"}
    images = [{"data": encoded(rich_shop, number), "crop": "0,0,0.8,1"} for number in (3, 9)]
    pairs = [
        (client.get("/v1/search/text?q=red&brand=brand 1"), {"text": "red", "brand": ["brand 1"]}),
        (client.post("/v1/search/image", data=upload), {"images": images}),
        (client.get("/v1/products/p004/similar?limit=20"), {"like": ["p004"]}),
        (
            client.post(
                "/v1/search/hybrid?image_weight=0.25", data={"image": (photo(rich_shop, 3), "a.jpg"), "text": "red"}
            ),
            {"images": [encoded(rich_shop, 3)], "text": "red", "weights": {"images": 0.25, "text": 0.75}},
        ),
    ]
    for response, body in pairs:
        answer = response.get_json()
        general = client.post("/v1/search", json=body).get_json()
        assert answer["results"] == general["results"]
        assert answer["total_found"] == general["total_found"]
        assert len(answer["results"]) >= 10


def test_stored_vector_finds_its_product(rich_client: FlaskClient, release: Release) -> None:
    vector = release.product_vectors("p021")
    assert vector is not None
    answer = search(rich_client, vector=(vector[0] * 17).tolist(), limit=3)
    assert ids(answer)[0] == "p021"
    assert scores(answer)[0] == pytest.approx(1, abs=1e-3)


def test_liked_products_form_the_query_and_are_excluded(rich_client: FlaskClient, release: Release) -> None:
    answer = search(rich_client, like=["p000", "p006", "p002"], limit=100)
    assert answer["total_found"] == 65 - 3
    assert len(answer["results"]) == 62
    assert not {"p000", "p006", "p002"} & set(ids(answer))
    mean = np.mean([release.product_vectors(liked)[0] for liked in ("p000", "p006", "p002")], axis=0)  # type: ignore[index]
    for result in answer["results"]:
        assert result["similarity_score"] == pytest.approx(best_cosine(release, mean, result["product_id"]), abs=1e-4)
    # A repeated product counts once.
    assert search(rich_client, like=["p000", "p006", "p002", "p000"], limit=100)["results"] == answer["results"]


def test_unliked_products_repel_the_query_and_are_excluded(rich_client: FlaskClient) -> None:
    def count_blue(answer: dict[str, Any]) -> int:
        return sum(result["attributes"]["colour"] == "blue" for result in answer["results"])

    both = search(rich_client, text="red blue", limit=8)
    assert colours(both) == {"red", "blue"}
    less = search(rich_client, text="red blue", unlike=["p002"], limit=8)
    assert count_blue(less) < count_blue(both)
    assert less["total_found"] == 64
    assert count_blue(search(rich_client, text="red blue", unlike=["p002"], weights={"unlike": 2}, limit=8)) == 0
    # With a weight of 0, the product is excluded and the query stays the same.
    weightless = search(rich_client, text="red blue", unlike=["p002"], weights={"unlike": 0}, limit=8)
    others = [product_id for product_id in ids(search(rich_client, text="red blue", limit=9)) if product_id != "p002"]
    assert ids(weightless) == others[:8]


def test_pictures_count_by_their_weights(rich_client: FlaskClient, rich_shop: Path) -> None:
    for heavy, colour in ((3, "yellow"), (4, "white")):
        images = [{"data": encoded(rich_shop, number), "weight": 5 if number == heavy else 1} for number in (3, 4)]
        assert colours(search(rich_client, images=images, limit=1)) == {colour}


def test_data_url_is_accepted_as_a_picture(rich_client: FlaskClient, rich_shop: Path) -> None:
    plain = search(rich_client, images=[encoded(rich_shop, 5)])
    url = search(rich_client, images=[f"data:image/jpeg;base64,{encoded(rich_shop, 5)}"])
    assert url["results"] == plain["results"]


def red_and_blue_halves() -> str:
    picture = Image.new("RGB", (400, 200), (200, 30, 40))
    picture.paste((40, 70, 200), (200, 0, 400, 200))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_pictures_have_individual_crops(rich_client: FlaskClient) -> None:
    halves = red_and_blue_halves()
    assert colours(search(rich_client, images=[{"data": halves, "crop": "0,0,0.5,1"}], limit=5)) == {"red"}
    assert colours(search(rich_client, images=[{"data": halves, "crop": "0.5,0,1,1"}], limit=5)) == {"blue"}


# ── several pictures per product ─────────────────────────────────────────────────────────────────────────────────


def test_product_is_returned_once_with_its_best_picture(rich_client: FlaskClient) -> None:
    for word, product_id, picture in (("red", "pair-0", 0), ("blue", "pair-0", 1), ("black", "pair-1", 2)):
        answer = search(rich_client, text=word, limit=100)
        assert len(set(ids(answer))) == len(ids(answer)) == answer["total_found"] == 65
        product = next(result for result in answer["results"] if result["product_id"] == product_id)
        assert product["picture"] == picture
        assert product["image_url"].endswith(f"?picture={picture}")
    urls = rich_client.get("/v1/products/pair-1").get_json()["pictures"]
    assert [url[-1] for url in urls] == ["0", "1", "2"]


def test_similar_uses_all_pictures_of_the_product(rich_client: FlaskClient) -> None:
    answer = rich_client.get("/v1/products/pair-0/similar?rerank=false&limit=12").get_json()
    assert colours(answer) == {"red", "blue"}
    assert "pair-0" not in ids(answer)


def test_similar_downloads_nothing_and_encodes_nothing(
    rich_client: FlaskClient, rich_shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the stored vector is enough")

    monkeypatch.setattr(ColourWords, "image_vectors", fail)
    (rich_shop / "images").rename(rich_shop / "moved")
    try:
        assert len(rich_client.get("/v1/products/p010/similar").get_json()["results"]) == 10
    finally:
        (rich_shop / "moved").rename(rich_shop / "images")


# ── invalid queries ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "status", "field", "detail"),
    [
        ({}, 422, "text", "nothing to search for"),
        ({"unlike": ["p000"]}, 422, "unlike", "nothing to search for"),
        ({"text": ""}, 422, "text", "at least 1"),
        ({"text": "   "}, 422, "text", "empty"),
        ({"text": "x" * 1001}, 422, "text", "at most 1000"),
        ({"text": 5}, 422, "text", "string"),
        ({"like": ["nobody"]}, 422, "like", "no product 'nobody'"),
        ({"text": "red", "unlike": ["nobody"]}, 422, "unlike", "no product 'nobody'"),
        ({"like": ["p000"], "unlike": ["p000"]}, 422, "unlike", "in like, too"),
        ({"like": ["p000"] * 101}, 422, "like", "at most 100"),
        ({"vector": []}, 422, "vector", "is empty"),
        ({"vector": [1, 2]}, 422, "vector", "has 2 numbers; this release's vectors have 8"),
        ({"vector": [1, 2], "text": "red"}, 422, "vector", "has 2 numbers; this release's vectors have 8"),
        ({"vector": [1e-30] * 8}, 200, None, ""),
        ({"vector": [0] * 8}, 422, "vector", "no direction"),
        ({"vector": [1e308] * 8}, 200, None, ""),  # a vector of any length is accepted
        ({"vector": ["a"] * 8}, 422, "vector.0", "number"),
        ({"vector": {"a": 1}}, 422, "vector", "list"),
        ({"text": "red", "weights": {"text": 0}}, 200, None, ""),  # the weight of a single part is ignored
        ({"text": "red", "like": ["p002"], "weights": {"text": 0, "like": 0}}, 422, "weights", "cancel out"),
        ({"text": "red", "weights": {"text": -1}}, 422, "weights.text", "greater than or equal to 0"),
        ({"text": "red", "weights": {"words": 1}}, 422, "weights.words", "not permitted"),
        ({"images": ["%%%"]}, 422, "images", "not base64"),
        ({"images": [""]}, 415, "images", "empty"),
        ({"images": ["aGVsbG8="]}, 415, "images", "not a picture"),
        ({"images": ["aGVsbG8="] * 9}, 422, "images", "at most 8"),
        ({"images": [{"data": "aGVsbG8=", "crop": "1"}]}, 422, "crop", "x0,y0,x1,y1"),
        ({"text": "red", "colour": "blue"}, 422, "colour", "not permitted"),
        ({"text": "red", "limit": 0}, 422, "limit", "greater"),
        ({"text": "red", "filter": "colour:red"}, 422, "filter", "list"),
    ],
)
def test_invalid_queries_are_rejected_by_field(
    rich_client: FlaskClient, body: dict[str, Any], status: int, field: str | None, detail: str
) -> None:
    response = rich_client.post("/v1/search", json=body)
    if status == 200:
        assert response.status_code == 200
    else:
        assert detail in problem(response, status, field)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"[" * 100_000,
        b'{"text": "\\ud800"}',
        bytes([255, 254]),
        b'{"vector": [NaN]}',
    ],
)
def test_malformed_bodies_are_rejected(rich_client: FlaskClient, content: bytes) -> None:
    response = rich_client.post("/v1/search", data=content, content_type="application/json")
    assert response.status_code in (400, 422)
    assert response.mimetype == "application/problem+json"
    assert len(response.get_json()["detail"]) < 500


def test_hybrid_without_parts_is_rejected(rich_client: FlaskClient) -> None:
    assert "nothing to search for" in problem(rich_client.post("/v1/search/hybrid", data={}), 422, "text")
    assert "less than or equal to 1" in problem(
        rich_client.post("/v1/search/hybrid?image_weight=1.5", data={"text": "a"}), 422, "image_weight"
    )


def test_encoder_without_text_still_mixes_pictures_and_products(tmp_path: Path) -> None:
    from tests.pipeline import publish_small, small_settings, write_small_catalog

    settings = small_settings(tmp_path, encoder="python:tests.encoders:MeanColor")
    publish_small(write_small_catalog(tmp_path / "shop", products=6), settings)
    visual = client_for(settings)
    assert "sees pictures only" in problem(visual.post("/v1/search", json={"text": "red", "like": ["p001"]}), 422)
    assert len(search(visual, images=[encoded(tmp_path / "shop", 1)], like=["p002"])["results"]) == 5


# ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_batch_answers_equal_those_of_single_searches(rich_client: FlaskClient, rich_shop: Path) -> None:
    searches: list[dict[str, Any]] = [
        {"text": "red", "limit": 7},
        {"text": "blue", "filter": ["size:1"], "facets": ["colour"]},
        {"images": [encoded(rich_shop, 3)], "rerank": False},
        {"like": ["p004"], "explain": False, "offset": 5},
        {"text": "red", "limit": 7},
        {"images": [encoded(rich_shop, 4)], "text": "red", "diversity": 0.5},
        {"text": "green", "collapse": 0.99, "max_per_category": 1},
    ]
    batch = rich_client.post("/v1/search/batch", json={"searches": searches}).get_json()
    BatchAnswer.model_validate(batch)
    assert len(batch["answers"]) == len(searches)
    for body, answer in zip(searches, batch["answers"], strict=True):
        single = rich_client.post("/v1/search", json=body).get_json()
        for value in (single, answer):
            del value["search_id"], value["query_time_ms"]
        assert answer == single


def test_batch_makes_one_encoder_call_and_one_index_call(
    rich_client: FlaskClient, rich_shop: Path, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[str, list[int]] = {"texts": [], "images": [], "index": []}
    text_vectors, image_vectors, index_search = ColourWords.text_vectors, ColourWords.image_vectors, Release.search

    def count_texts(self: ColourWords, texts: Any) -> Any:
        calls["texts"].append(len(texts))
        return text_vectors(self, texts)

    def count_images(self: ColourWords, images: Any) -> Any:
        calls["images"].append(len(images))
        return image_vectors(self, images)

    def count_queries(self: Release, queries: np.ndarray, *args: Any, **kwargs: Any) -> Any:
        calls["index"].append(len(queries))
        return index_search(self, queries, *args, **kwargs)

    monkeypatch.setattr(ColourWords, "text_vectors", count_texts)
    monkeypatch.setattr(ColourWords, "image_vectors", count_images)
    monkeypatch.setattr(Release, "search", count_queries)
    searches = [{"text": word} for word in ("red", "blue", "red", "green")]
    assert rich_client.post("/v1/search/batch", json={"searches": searches}).status_code == 200
    assert calls == {"texts": [3], "images": [], "index": [4]}  # a repeated text is encoded once
    searches = [{"images": [encoded(rich_shop, number)]} for number in range(5)]
    assert rich_client.post("/v1/search/batch", json={"searches": searches}).status_code == 200
    assert calls["images"] == [5]
    assert calls["index"] == [4, 5]


def test_failed_search_in_a_batch_does_not_affect_the_others(rich_client: FlaskClient) -> None:
    searches: list[dict[str, Any]] = [
        {"text": "red"},
        {},
        {"like": ["nobody"]},
        {"images": ["aGVsbG8="]},
        {"text": "red", "filter": ["nothing:1"]},
        {"text": "red", "cursor": "abc"},
        {"text": "red", "facets": ["nothing"]},
        {"vector": [1.0]},
        {"text": "blue"},
    ]
    response = rich_client.post("/v1/search/batch", json={"searches": searches})
    assert response.status_code == 200, response.get_data(as_text=True)
    answers = response.get_json()["answers"]
    problems = [answer.get("problem") for answer in answers]
    assert [failure and (failure["status"], failure["field"]) for failure in problems] == [
        None, (422, "text"), (422, "like"), (415, "images"), (422, "filter"), (422, "cursor"), (422, "facets"),
        (422, "vector"), None,
    ]  # fmt: skip
    assert ids(answers[0])
    assert ids(answers[8])


@pytest.mark.parametrize(
    ("body", "field", "detail"),
    [
        ({"searches": []}, "searches", "at least 1"),
        ({"searches": [{"text": "a"}] * 11}, "searches", "11 of them; at most 10"),
        ({"searches": [{"text": "a"}, {"text": 5}]}, "searches.1.text", "string"),
        ({"searches": "a"}, "searches", "list"),
        ({"searches": [{"images": ["aGVsbG8="] * 6}] * 2}, "searches", "more than 10 pictures"),
        ({"searches": [{"text": "a", "offset": 9000}] * 2}, "searches", "offsets of more than 10000"),
        ({"serches": []}, "searches", "required"),
    ],
)
def test_invalid_batches_are_rejected_by_field(
    rich_client: FlaskClient, body: dict[str, Any], field: str, detail: str
) -> None:
    assert detail in problem(rich_client.post("/v1/search/batch", json=body), 422, field)


def test_custom_ranker_orders_the_results(rich: Settings) -> None:
    custom = client_for(rich.model_copy(update={"ranker": "python:tests.serving.search.test_ranking:Margin"}))
    # The catalog has no margin, so only the similarity counts.
    answer = custom.get("/v1/search/text?q=red&explain=true&max_per_category=0").get_json()
    assert answer["results"][0]["score_parts"] == {"similarity": answer["results"][0]["similarity_score"]}
    assert scores(answer) == sorted(scores(answer), reverse=True)
    broken = client_for(rich.model_copy(update={"ranker": "python:tests.serving.search.test_ranking:NotNumbers"}))
    problem(broken.get("/v1/search/text?q=red"), 500)
    assert broken.get("/v1/search/text?q=red&rerank=false").status_code == 200
