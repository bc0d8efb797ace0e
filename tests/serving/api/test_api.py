"""The search routes: their answers, and what their parameters do."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from artifacts.settings import Settings
from serving.schemas import SearchAnswer
from tests.pipeline import draw, publish_small, small_settings
from tests.serving.answers import client_for, ids, photo
from tests.serving.conftest import PLAIN


@pytest.fixture(scope="module")
def typed_client(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """A client of a release with values of every type and a product with hardly any. Results are cached."""
    folder = tmp_path_factory.mktemp("typed")
    full = {
        "product_id": "full", "image_url": "images/000.jpg", "title": "red", "category": "square", "price": 12.5,
        "avg_rating": 4.75, "added_at": "2026-01-02", "updated_at": "2026-03-04T06:06:07.25+01:00", "size": 7,
        "weight": 0.25, "in_sale": True, "colour": "röt",
    }  # fmt: skip
    draw(folder / "images/000.jpg", "red", "square", 0)
    bare = {"product_id": "bare", "image_url": "images/000.jpg"}
    catalog = folder / "catalog.jsonl"
    catalog.write_text("".join(json.dumps(row) + "\n" for row in (full, bare)))
    settings = small_settings(folder)
    publish_small(catalog, settings)
    server = {**PLAIN, "result_cache_seconds": 300}
    return client_for(Settings(releases=settings.releases, cache=settings.cache, **server))


def test_text_search_finds_products_of_that_colour(client: FlaskClient) -> None:
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


def test_photo_search_returns_its_product_first(client: FlaskClient, shop: Path) -> None:
    for number in (3, 14, 35):
        data = {"image": (photo(shop, number), "dress.jpg"), "rerank": "false", "limit": "5"}
        answer = client.post("/v1/search/image", data=data).get_json()
        assert ids(answer)[0] == f"p{number:03d}"
        assert answer["results"][0]["similarity_score"] > 0.99
        assert len(answer["results"]) == 5


def test_several_photos_form_one_query(client: FlaskClient, shop: Path) -> None:
    data = {"image": [(photo(shop, 0), "red.jpg"), (photo(shop, 2), "blue.jpg")]}
    answer = client.post("/v1/search/image?rerank=false&limit=6", data=data).get_json()
    assert {result["attributes"]["colour"] for result in answer["results"]} == {"red", "blue"}


def test_crop_restricts_the_query_to_its_part(client: FlaskClient) -> None:
    picture = Image.new("RGB", (400, 200), (200, 30, 40))
    picture.paste((40, 70, 200), (200, 0, 400, 200))
    for crop, colour in (("0,0,0.5,1", "red"), ("0.5,0,1,1", "blue")):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        buffer.seek(0)
        data = {"image": (buffer, "two.png"), "crop": crop, "limit": "3", "rerank": "false"}
        answer = client.post("/v1/search/image", data=data).get_json()
        assert {result["attributes"]["colour"] for result in answer["results"]} == {colour}


def test_similar_excludes_the_product_itself(client: FlaskClient) -> None:
    answer = client.get("/v1/products/p004/similar?rerank=false").get_json()
    assert len(answer["results"]) == 10
    assert "p004" not in ids(answer)
    assert answer["total_found"] == 35
    assert {result["attributes"]["colour"] for result in answer["results"][:5]} == {"white"}
    # With a filter that the product itself does not pass, there is nothing to exclude.
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
def test_filters_keep_exactly_the_products_that_pass(client: FlaskClient, query: str, passes: Any) -> None:
    results = client.get("/v1/search/text?q=green&limit=100").get_json()["results"]
    expected = {result["product_id"] for result in results if passes(result)}
    answer = client.get(f"/v1/search/text?q=green&limit=100&{query}").get_json()
    assert set(ids(answer)) == expected
    assert answer["total_found"] == len(expected)


def test_facets_count_the_whole_filtered_set(client: FlaskClient) -> None:
    answer = client.get("/v1/search/text?q=red&limit=1&facets=category,colour&facets=size&category=circle").get_json()
    assert answer["facets"]["category"] == [{"value": "circle", "count": 12, "nearby": 12}]
    assert answer["facets"]["colour"] == [
        {"value": colour, "count": 2, "nearby": 2} for colour in ("black", "blue", "green", "red", "white", "yellow")
    ]
    assert sum(value["count"] for value in answer["facets"]["size"]) == 12
    assert len(answer["results"]) == 1


def test_offset_pages_join_to_the_whole_list(client: FlaskClient) -> None:
    whole = ids(client.get("/v1/search/text?q=blue&limit=36").get_json())
    pages = [ids(client.get(f"/v1/search/text?q=blue&limit=7&offset={start}").get_json()) for start in range(0, 42, 7)]
    assert [product for page in pages for product in page] == whole
    assert len(set(whole)) == 36


def test_reranking_adds_the_shops_signals(client: FlaskClient) -> None:
    results = client.get("/v1/search/text?q=red&limit=36&max_per_category=0").get_json()["results"]
    for result in results:
        expected = result["similarity_score"] + 0.1 * (result["popularity_score"] or 0)
        expected += 0.05 if result["avg_rating"] >= 4.5 else 0
        assert result["score"] == pytest.approx(expected, abs=1e-5)
    assert [r["score"] for r in results] == sorted((r["score"] for r in results), reverse=True)
    plain = client.get("/v1/search/text?q=red&limit=36&rerank=false").get_json()["results"]
    assert [r["similarity_score"] for r in plain] == sorted((r["similarity_score"] for r in plain), reverse=True)


def test_category_cap_moves_products_down_without_dropping_any(client: FlaskClient) -> None:
    capped = client.get("/v1/search/text?q=red&limit=36&max_per_category=2").get_json()["results"]
    assert len(capped) == 36
    counts = {name: [r["category"] for r in capped[:6]].count(name) for name in ("circle", "square", "triangle")}
    assert counts == {"circle": 2, "square": 2, "triangle": 2}
    # The cap does not apply to a category that is filtered on.
    filtered = client.get("/v1/search/text?q=red&limit=12&category=circle").get_json()["results"]
    assert [r["score"] for r in filtered] == sorted((r["score"] for r in filtered), reverse=True)


@pytest.mark.parametrize(
    "query",
    ["q=red", "q=red&rerank=false&limit=3", "q=red&collapse=0.9&explain=true&facets=category,price,size,in_sale",
     "q=red&explain=true&rerank=false", "q=red&price_min=1000000", "q=red&max_per_category=1&diversity=0.5&offset=1"],
)  # fmt: skip
def test_answers_have_exactly_the_documented_fields(typed_client: FlaskClient, query: str) -> None:
    for _ in range(2):  # the second answer comes from the cache
        answer = typed_client.get(f"/v1/search/text?{query}").get_json()
        assert SearchAnswer.model_validate(answer).model_dump(mode="json") == answer
        assert "1000000" in query or answer["results"]


def test_answers_render_values_of_every_type(typed_client: FlaskClient) -> None:
    results = typed_client.get("/v1/search/text?q=red").get_json()["results"]
    products = {result["product_id"]: result for result in results}
    full, bare = products["full"], products["bare"]
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


def test_identical_requests_get_identical_answers(client: FlaskClient, published: Settings) -> None:
    other = client_for(published)
    url = "/v1/search/text?q=yellow triangle&facets=brand&limit=20"
    answers = [server.get(url).get_json() for server in (client, client, other)]
    for answer in answers:
        del answer["query_time_ms"], answer["search_id"]
    assert answers[0] == answers[1] == answers[2]


def test_explain_describes_the_plan(client: FlaskClient) -> None:
    explain = client.get("/v1/search/text?q=red&explain=true&filter=colour:red").get_json()["explain"]
    assert explain["segments"][0]["path"] == "exact"
    assert explain["segments"][0]["allowed"] == 6
    assert {"encode", "search", "rank"} <= set(explain["milliseconds"])
