"""The HTTP contract: what each route answers, and how it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from artifacts.settings import Settings
from serving.schemas import SearchAnswer
from serving.services import services_of
from tests.pipeline import draw, publish_small, small_settings
from tests.serving.answers import client_for, ids, photo, problem
from tests.serving.conftest import PLAIN


@pytest.fixture(scope="module")
def typed_client(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """Of a release with a value of every kind, and a product with hardly any; answers are kept for the next time."""
    folder = tmp_path_factory.mktemp("typed")
    full = {
        "product_id": "full", "image_url": "images/000.jpg", "title": "red", "category": "square", "price": 12.5,
        "avg_rating": 4.75, "added_at": "2026-01-02", "updated_at": "2026-03-04T06:06:07.25+01:00", "size": 7,
        "weight": 0.25, "in_sale": True, "colour": "röt",
    }  # fmt: skip
    draw(folder / "images/000.jpg", "red", "square", 0)
    bare = {"product_id": "bare", "image_url": "images/000.jpg"}
    catalog = folder / "catalog.jsonl"
    catalog.write_text("".join(json.dumps(each) + "\n" for each in (full, bare)))
    settings = small_settings(folder)
    publish_small(catalog, settings)
    asked = {**PLAIN, "result_cache_seconds": 300}
    return client_for(Settings(releases=settings.releases, cache=settings.cache, **asked))


def test_words_find_products_of_that_colour(client: FlaskClient) -> None:
    answer = client.get("/v1/search/text?q=something red&limit=6&rerank=false").get_json()
    SearchAnswer.model_validate(answer)
    assert {result["attributes"]["colour"] for result in answer["results"]} == {"red"}
    assert answer["total_found"] == 36
    assert answer["query_time_ms"] > 0
    assert len(answer["search_id"]) == 32
    first = answer["results"][0]
    assert first["title"].startswith("red ")
    assert first["image_url"] == f"/v1/products/{first['product_id']}/image?picture=0"
    assert first["attributes"]["size"] in (0, 1, 2)


def test_a_photo_finds_its_product_first(client: FlaskClient, shop: Path) -> None:
    for number in (3, 14, 35):
        data = {"image": (photo(shop, number), "dress.jpg"), "rerank": "false", "limit": "5"}
        answer = client.post("/v1/search/image", data=data).get_json()
        assert ids(answer)[0] == f"p{number:03d}"
        assert answer["results"][0]["similarity_score"] > 0.99
        assert len(answer["results"]) == 5


def test_several_photos_are_searched_as_one(client: FlaskClient, shop: Path) -> None:
    data = {"image": [(photo(shop, 0), "red.jpg"), (photo(shop, 2), "blue.jpg")]}
    answer = client.post("/v1/search/image?rerank=false&limit=6", data=data).get_json()
    assert {result["attributes"]["colour"] for result in answer["results"]} == {"red", "blue"}


def test_a_crop_looks_at_that_part_alone(client: FlaskClient) -> None:
    picture = Image.new("RGB", (400, 200), (200, 30, 40))
    picture.paste((40, 70, 200), (200, 0, 400, 200))
    for crop, colour in (("0,0,0.5,1", "red"), ("0.5,0,1,1", "blue")):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        buffer.seek(0)
        data = {"image": (buffer, "two.png"), "crop": crop, "limit": "3", "rerank": "false"}
        answer = client.post("/v1/search/image", data=data).get_json()
        assert {result["attributes"]["colour"] for result in answer["results"]} == {colour}


def test_similar_leaves_the_product_itself_out(client: FlaskClient) -> None:
    answer = client.get("/v1/products/p004/similar?rerank=false").get_json()
    assert len(answer["results"]) == 10
    assert "p004" not in ids(answer)
    assert answer["total_found"] == 35
    assert {result["attributes"]["colour"] for result in answer["results"][:5]} == {"white"}
    # under a filter that the product itself does not pass, it is not counted out
    other = client.get("/v1/products/p004/similar?category=circle").get_json()
    assert other["total_found"] == 12


@pytest.mark.parametrize(
    ("query", "passes"),
    [
        ("category=circle", lambda r: r["category"] == "circle"),
        ("category=circle&category=square", lambda r: r["category"] in ("circle", "square")),
        ("category_not=circle", lambda r: r["category"] != "circle"),
        ("brand=brand 1", lambda r: r["brand"] == "brand 1"),
        ("brand_not=brand 1&brand_not=brand 2", lambda r: r["brand"] not in ("brand 1", "brand 2")),
        ("price_min=0&price_max=0", lambda r: r["price"] == 0),
        ("price_min=10.5", lambda r: r["price"] >= 10.5),
        ("price_max=7", lambda r: r["price"] <= 7),
        ("filter=colour:red&filter=colour:blue", lambda r: r["attributes"]["colour"] in ("red", "blue")),
        (
            "filter=colour:red&filter=size:0",
            lambda r: (r["attributes"]["colour"], r["attributes"]["size"]) == ("red", 0),
        ),
        ("filter_not=colour:red", lambda r: r["attributes"]["colour"] != "red"),
        ("filter=avg_rating:4.8", lambda r: r["avg_rating"] == 4.8),
        ("category=hexagon", lambda r: False),
    ],
)
def test_filters(client: FlaskClient, query: str, passes: Any) -> None:
    every = client.get("/v1/search/text?q=green&limit=100").get_json()["results"]
    expected = {result["product_id"] for result in every if passes(result)}
    answer = client.get(f"/v1/search/text?q=green&limit=100&{query}").get_json()
    assert set(ids(answer)) == expected
    assert answer["total_found"] == len(expected)


def test_facets_count_the_whole_filtered_set(client: FlaskClient) -> None:
    answer = client.get("/v1/search/text?q=red&limit=1&facets=category,colour&facets=size&category=circle").get_json()
    assert answer["facets"]["category"] == [{"value": "circle", "count": 12, "nearby": 12}]
    assert answer["facets"]["colour"] == [
        {"value": colour, "count": 2, "nearby": 2} for colour in ("black", "blue", "green", "red", "white", "yellow")
    ]
    assert sum(each["count"] for each in answer["facets"]["size"]) == 12
    assert len(answer["results"]) == 1


def test_pages_are_cut_from_one_list(client: FlaskClient) -> None:
    whole = ids(client.get("/v1/search/text?q=blue&limit=36").get_json())
    pages = [ids(client.get(f"/v1/search/text?q=blue&limit=7&offset={start}").get_json()) for start in range(0, 42, 7)]
    assert [product for page in pages for product in page] == whole
    assert len(set(whole)) == 36


def test_ranking_adds_the_shops_signals(client: FlaskClient) -> None:
    results = client.get("/v1/search/text?q=red&limit=36&max_per_category=0").get_json()["results"]
    for result in results:
        expected = result["similarity_score"] + 0.1 * (result["popularity_score"] or 0)
        expected += 0.05 if result["avg_rating"] >= 4.5 else 0
        assert result["score"] == pytest.approx(expected, abs=1e-5)
    assert [r["score"] for r in results] == sorted((r["score"] for r in results), reverse=True)
    plain = client.get("/v1/search/text?q=red&limit=36&rerank=false").get_json()["results"]
    assert [r["similarity_score"] for r in plain] == sorted((r["similarity_score"] for r in plain), reverse=True)


def test_the_category_cap_moves_down_and_drops_none(client: FlaskClient) -> None:
    capped = client.get("/v1/search/text?q=red&limit=36&max_per_category=2").get_json()["results"]
    assert len(capped) == 36
    counts = {name: [r["category"] for r in capped[:6]].count(name) for name in ("circle", "square", "triangle")}
    assert counts == {"circle": 2, "square": 2, "triangle": 2}
    # a category that was asked for is not capped
    asked = client.get("/v1/search/text?q=red&limit=12&category=circle").get_json()["results"]
    assert [r["score"] for r in asked] == sorted((r["score"] for r in asked), reverse=True)


def test_one_product_with_its_pictures(client: FlaskClient) -> None:
    answer = client.get("/v1/products/p005").get_json()
    assert answer["title"] == "black square number 5"
    assert answer["price"] == 5
    assert answer["pictures"] == [answer["image_url"]]
    picture = client.get(answer["image_url"])
    assert picture.mimetype == "image/jpeg"
    with Image.open(io.BytesIO(picture.data)) as image:
        assert image.size == (160, 160)
    assert client.get(answer["image_url"], headers={"If-None-Match": picture.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize(
    "query",
    ["q=red", "q=red&rerank=false&limit=3", "q=red&collapse=0.9&explain=true&facets=category,price,size,in_sale",
     "q=red&explain=true&rerank=false", "q=red&price_min=1000000", "q=red&max_per_category=1&diversity=0.5&offset=1"],
)  # fmt: skip
def test_an_answer_has_what_the_document_promises_and_nothing_else(typed_client: FlaskClient, query: str) -> None:
    for _ in range(2):  # the second one is from the cache
        answer = typed_client.get(f"/v1/search/text?{query}").get_json()
        assert SearchAnswer.model_validate(answer).model_dump(mode="json") == answer
        assert "1000000" in query or answer["results"]


def test_values_of_every_kind_are_shown(typed_client: FlaskClient) -> None:
    shown = {each["product_id"]: each for each in typed_client.get("/v1/search/text?q=red").get_json()["results"]}
    full, bare = shown["full"], shown["bare"]
    assert (full["price"], full["avg_rating"]) == (12.5, 4.75)
    assert (full["added_at"], full["updated_at"]) == ("2026-01-02T00:00:00Z", "2026-03-04T05:06:07.250000Z")
    attributes = {"size": 7, "weight": 0.25, "in_sale": True, "colour": "röt"}
    assert full["attributes"] == attributes
    assert bare["attributes"] == dict.fromkeys(attributes)
    assert (bare["title"], bare["price"], bare["added_at"]) == (None, None, None)
    product = typed_client.get("/v1/products/full").get_json()
    assert {**product, "similarity_score": full["similarity_score"]} == {
        **{name: full[name] for name in product if name != "pictures"}, "pictures": [full["image_url"]],
        "similarity_score": full["similarity_score"],
    }  # fmt: skip


def test_unknown_products_are_404(client: FlaskClient) -> None:
    for path in ("/v1/products/nope", "/v1/products/nope/similar", "/v1/products/nope/image"):
        assert "nope" in problem(client.get(path), 404, "product_id")
    problem(client.get("/v1/products/p001/image?picture=5"), 404, "picture")
    problem(client.get("/v2/nothing"), 404)
    problem(client.post("/v1/search/text?q=a"), 405)


@pytest.mark.parametrize(
    ("query", "field", "says"),
    [
        ("", "q", "required"),
        ("q=", "q", "at least 1"),
        ("q=%20%20", "q", "empty"),
        (f"q={'x' * 1001}", "q", "at most 1000"),
        ("q=a&limit=0", "limit", "greater than or equal to 1"),
        ("q=a&limit=101", "limit", "less than or equal to 100"),
        ("q=a&limit=many", "limit", "integer"),
        ("q=a&offset=-1", "offset", "greater"),
        ("q=a&offset=999999", "offset", "10000"),
        ("q=a&price_min=nan", "price_min", "finite"),
        ("q=a&price_min=cheap", "price_min", "number"),
        ("q=a&price_min=5&price_max=4", "price_min", "above price_max"),
        ("q=a&filter=colour", "filter", "name:value"),
        ("q=a&filter=:red", "filter", "name:value"),
        ("q=a&filter=nothing:1", "filter", "there is no attribute"),
        ("q=a&filter=size:big", "filter", "whole number"),
        ("q=a&filter_not=size:big", "filter_not", "whole number"),
        ("q=a&filter=price:inf'--:1", "filter", "not a number"),
        ("q=a&facets=nothing", "facets", "there is no attribute"),
        ("q=a&facets=added_at", "facets", "filter_min"),
        ("q=a&categroy=circle", "categroy", "not permitted"),
        ("q=a&rerank=perhaps", "rerank", "boolean"),
        ("q=a&recall=99", "recall", "less than"),
        ("q=a&" + "&".join(f"brand={n}" for n in range(201)), "filter", "more than 200 values"),
    ],
)
def test_wrong_parameters_are_named(client: FlaskClient, query: str, field: str, says: str) -> None:
    assert says in problem(client.get(f"/v1/search/text?{query}"), 422, field)


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"", 415, "empty"),
        (b"<html>not a picture</html>", 415, "not a picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, 415, ""),
        (b"x" * 300_001, 413, "300,000 bytes"),
    ],
)
def test_what_is_not_a_picture_is_refused(client: FlaskClient, content: bytes, status: int, says: str) -> None:
    response = client.post("/v1/search/image", data={"image": (io.BytesIO(content), "x.jpg")})
    assert says in problem(response, status, "image")


def test_broken_and_tiny_pictures_are_refused(client: FlaskClient, shop: Path) -> None:
    cut = io.BytesIO(photo(shop, 0).read()[:900])
    problem(client.post("/v1/search/image", data={"image": (cut, "cut.jpg")}), 422, "image")
    tiny = io.BytesIO()
    Image.new("RGB", (49, 200)).save(tiny, "PNG")
    tiny.seek(0)
    assert "at least 50 px" in problem(client.post("/v1/search/image", data={"image": (tiny, "t.png")}), 422, "image")
    problem(client.post("/v1/search/image"), 422, "image")
    four = {"image": [(photo(shop, n), f"{n}.jpg") for n in range(4)]}
    assert "at most 3" in problem(client.post("/v1/search/image", data=four), 422, "image")


@pytest.mark.parametrize(
    "crop", ["", "1,2,3", "a,b,c,d", "0,0,2,1", "0.5,0,0.4,1", "0,0,0.001,1", "nan,0,1,1", "0,0,1,1,1"]
)
def test_bad_crops_are_refused(client: FlaskClient, shop: Path, crop: str) -> None:
    response = client.post("/v1/search/image", data={"image": (photo(shop, 0), "x.jpg"), "crop": crop})
    problem(response, 422, "crop")


def test_a_body_far_too_large_is_refused_unread(client: FlaskClient) -> None:
    response = client.post("/v1/search/image", data={"image": (io.BytesIO(b"x" * 6_000_000), "x.jpg")})
    problem(response, 413)


def test_same_request_same_answer(client: FlaskClient, published: Settings) -> None:
    other = client_for(published)
    url = "/v1/search/text?q=yellow triangle&facets=brand&limit=20"
    answers = [each.get(url).get_json() for each in (client, client, other)]
    for answer in answers:
        del answer["query_time_ms"], answer["search_id"]
    assert answers[0] == answers[1] == answers[2]


def test_release_and_health(client: FlaskClient) -> None:
    release = client.get("/v1/release").get_json()
    assert release["products"] == release["pictures"] == 36
    assert release["columns"]["colour"] == "large_string"
    assert release["supports_text"] is True
    assert client.get("/healthz").get_json() == {"status": "ok"}
    assert client.get("/readyz").get_json() == {"status": "ok", "release": release["version"], "failure": None}


def test_metrics_have_the_names_that_were_promised(client: FlaskClient) -> None:
    client.get("/v1/search/text?q=red")
    text = client.get("/metrics").get_data(as_text=True)
    for name in (
        'image_search_latency_seconds_bucket{le="0.05",search_type="text"}',
        'image_search_requests_total{search_type="text",status="ok"}',
        "image_search_index_size 36.0",
        "image_search_result_diversity_count",
    ):
        assert name in text


def test_explain_tells_the_plan(client: FlaskClient) -> None:
    explain = client.get("/v1/search/text?q=red&explain=true&filter=colour:red").get_json()["explain"]
    assert explain["segments"][0]["path"] == "exact"
    assert explain["segments"][0]["allowed"] == 6
    assert {"encode", "search", "rank"} <= set(explain["milliseconds"])


def test_the_openapi_document_names_every_route(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    routes = {
        rule.rule.replace("<path:product_id>", "{product_id}")
        for rule in client.application.url_map.iter_rules()
        if rule.rule.startswith("/v1") or rule.rule in ("/healthz", "/readyz", "/metrics")
    }
    assert routes == set(document["paths"])
    text = document["paths"]["/v1/search/text"]["get"]
    assert {parameter["name"] for parameter in text["parameters"]} >= {"q", "category", "filter", "limit", "facets"}
    assert "application/problem+json" in text["responses"]["422"]["content"]
    assert all(len(parameter["description"]) > 5 for parameter in text["parameters"])


def test_responses_carry_security_headers(client: FlaskClient) -> None:
    for path in ("/", "/page/app.js", "/v1/release", "/v2/nothing"):
        with client.get(path) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]


def test_visual_only_encoders_refuse_words(tmp_path: Path) -> None:
    from tests.pipeline import publish_small, small_settings, write_small_catalog

    settings = small_settings(tmp_path, encoder="python:tests.encoders:MeanColor")
    publish_small(write_small_catalog(tmp_path / "shop", products=6), settings)
    visual = client_for(settings)
    assert "sees pictures only" in problem(visual.get("/v1/search/text?q=red"), 422)
    assert visual.get("/v1/release").get_json()["supports_text"] is False
    picture = photo(tmp_path / "shop", 1)
    assert (
        ids(visual.post("/v1/search/image", data={"image": (picture, "x.jpg"), "rerank": "false"}).get_json())[0]
        == "p001"
    )


def test_without_a_release_searches_wait(tmp_path: Path) -> None:
    empty = client_for(Settings(releases=str(tmp_path / "none")))
    for path in ("/v1/search/text?q=a", "/v1/products/a", "/v1/release", "/readyz"):
        response = empty.get(path)
        problem(response, 503)
        assert int(response.headers["Retry-After"]) > 0
    assert empty.get("/healthz").status_code == 200


def test_a_zero_vector_is_refused(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = services_of(client.application).watcher.snapshot().encoder
    monkeypatch.setattr(type(encoder), "text_vectors", lambda self, texts: np.zeros((len(texts), self.dim)))
    assert "no direction" in problem(client.get("/v1/search/text?q=red"), 422, "q")


def test_our_own_faults_tell_the_caller_nothing(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr("serving.search.service.SearchService.run", broken)
    assert "secret" not in problem(client.get("/v1/search/text?q=red"), 500)
