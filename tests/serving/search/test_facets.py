"""Facets: exact counts over the filtered products, counts among the most similar, and bands of numbers."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import duckdb
import pyarrow as pa
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.release.release import Release
from serving.search.facets import band_name, round_edges
from serving.services import services_of
from tests.serving.answers import ids, problem


def search(client: FlaskClient, **query: Any) -> dict[str, Any]:
    response = client.get("/v1/search/text?" + urlencode({"q": "red", "limit": 1, **query}, doseq=True))
    assert response.status_code == 200, response.get_data(as_text=True)
    return response.get_json()


@pytest.fixture(scope="module")
def products(rich_client: FlaskClient) -> pa.Table:
    """All rows of the release, for plain SQL."""
    release: Release = services_of(rich_client.application).watcher.snapshot().release
    return pa.concat_tables([segment.products.table for segment in release.segments])


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "category": st.lists(st.sampled_from(["circle", "square", "pair", "x"]), min_size=1, max_size=3, unique=True),
        "category_not": st.lists(st.sampled_from(["triangle", "pair"]), min_size=1, max_size=2, unique=True),
        "brand": st.lists(st.sampled_from(["brand 1", "brand 2", "it's"]), min_size=1, max_size=2, unique=True),
        "price_min": st.integers(0, 60),
        "price_max": st.integers(60, 3000),
        "filter": st.lists(st.sampled_from(["colour:red", "colour:blue", "size:0", "size:1"]), min_size=1, unique=True),
        "filter_not": st.sampled_from(["colour:red", "size:2"]),
        "filter_below": st.sampled_from(["price:20", "popularity_score:0.5"]),
        "missing": st.sampled_from(["brand", "popularity_score"]),
        "present": st.sampled_from(["brand", "avg_rating"]),
    },
)
COLUMNS = ["category", "brand", "colour", "size"]


def where(query: dict[str, Any]) -> str:
    """The same filter as handwritten SQL."""

    def literals(values: list[str]) -> str:
        return ", ".join("'" + value.replace("'", "''") + "'" for value in values)

    parts = ["TRUE", *(f"{name} IN ({literals(query[name])})" for name in ("category", "brand") if name in query)]
    if "category_not" in query:
        parts.append(f"(category IS NULL OR category NOT IN ({literals(query['category_not'])}))")
    if "price_min" in query:
        parts.append(f"price >= {query['price_min']}")
    if "price_max" in query:
        parts.append(f"price <= {query['price_max']}")
    for name in ("colour", "size"):
        values = [pair.split(":")[1] for pair in query.get("filter", ()) if pair.startswith(name)]
        if values:
            parts.append(f"{name}::VARCHAR IN ({literals(values)})")
    if "filter_not" in query:
        name, value = query["filter_not"].split(":")
        parts.append(f"({name} IS NULL OR {name}::VARCHAR <> '{value}')")
    if "filter_below" in query:
        name, value = query["filter_below"].split(":")
        parts.append(f"{name} < {value}")
    if "missing" in query:
        parts.append(f"{query['missing']} IS NULL")
    if "present" in query:
        parts.append(f"{query['present']} IS NOT NULL")
    return " AND ".join(parts)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=FILTERS)
def test_counts_equal_those_of_plain_sql(rich_client: FlaskClient, products: pa.Table, query: dict[str, Any]) -> None:
    answer = search(rich_client, **query, facets=",".join(COLUMNS), limit=100)
    with duckdb.connect() as connection:
        connection.register("products", products)
        for column in COLUMNS:
            counts = connection.execute(
                f"SELECT {column}, count(DISTINCT product_id) AS n FROM products "  # noqa: S608
                f"WHERE {column} IS NOT NULL AND {where(query)} GROUP BY 1 ORDER BY n DESC, {column}::VARCHAR"
            ).fetchall()
            assert [(value["value"], value["count"]) for value in answer["facets"][column]] == counts
        rows = connection.execute(f"SELECT DISTINCT product_id FROM products WHERE {where(query)}").fetchall()  # noqa: S608
    assert set(ids(answer)) == {product_id for (product_id,) in rows}
    assert answer["total_found"] == len(rows)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=FILTERS)
def test_band_counts_equal_the_totals_of_their_filters(rich_client: FlaskClient, query: dict[str, Any]) -> None:
    bands = search(rich_client, **query, facets="price")["facets"]["price"]
    for band in bands:
        narrowed = {**query, "filter_below": [query["filter_below"]] if "filter_below" in query else []}
        if band["below"] is not None:
            narrowed["filter_below"].append(f"price:{band['below']}")
        if band["minimum"] is not None:
            narrowed["filter_min"] = f"price:{band['minimum']}"
        narrowed["present"] = [*([query["present"]] if "present" in query else []), "price"]
        assert search(rich_client, **narrowed)["total_found"] == band["count"] > 0
    priced = search(rich_client, **{**query, "present": [*([query["present"]] if "present" in query else []), "price"]})
    assert sum(band["count"] for band in bands) == priced["total_found"]


def test_bands_meet_at_round_numbers_and_do_not_move_with_filters(rich_client: FlaskClient) -> None:
    bands = search(rich_client, facets="price")["facets"]["price"]
    assert 4 <= len(bands) <= 6
    assert bands[0]["minimum"] is None
    assert bands[-1]["below"] is None
    assert bands[0]["value"] == f"under {bands[0]['below']:g}"
    assert bands[-1]["value"] == f"{bands[-1]['minimum']:g} and more"
    assert all(before["below"] == after["minimum"] for before, after in pairwise(bands))
    narrowed = search(rich_client, facets="price", category="pair")["facets"]["price"]
    limits = {(band["minimum"], band["below"]) for band in bands}
    assert {(band["minimum"], band["below"]) for band in narrowed} <= limits


def test_nearby_counts_all_products_of_a_small_catalog(rich_client: FlaskClient) -> None:
    # All 65 products are among the nearest 200, or 100.
    answer = search(rich_client, facets="colour,price")
    assert all(value["nearby"] == value["count"] for name in ("colour", "price") for value in answer["facets"][name])


def test_nearby_counts_only_the_most_similar_products(
    rich_client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.search.task.PLAIN_WINDOW", 10)
    answer = search(rich_client, q="red", facets="colour", rerank="false", max_per_category=0, limit=10)
    nearby = {value["value"]: value["nearby"] for value in answer["facets"]["colour"]}
    assert nearby["red"] == sum(result["attributes"]["colour"] == "red" for result in answer["results"]) == 10
    assert sum(nearby.values()) == 10


def test_multi_select_ignores_only_the_facets_own_filter(rich_client: FlaskClient) -> None:
    single = search(rich_client, facets="category,colour", category="circle")
    assert [value["value"] for value in single["facets"]["category"]] == ["circle"]
    multiple = search(rich_client, facets="category,colour", category="circle", multi_select="true")
    unfiltered = search(rich_client, facets="category")["facets"]["category"]
    assert [(value["value"], value["count"]) for value in multiple["facets"]["category"]] == [
        (value["value"], value["count"]) for value in unfiltered
    ]
    assert multiple["facets"]["colour"] == single["facets"]["colour"]
    assert multiple["total_found"] == single["total_found"]


def test_integers_with_few_values_are_counted_by_value(rich_client: FlaskClient) -> None:
    assert {value["value"] for value in search(rich_client, facets="size")["facets"]["size"]} == {0, 1, 2, 7, 8}


def test_example_products_of_the_query_are_not_counted(rich_client: FlaskClient) -> None:
    answer = rich_client.get("/v1/products/p004/similar?facets=category,price,colour").get_json()
    for name in ("category", "price"):
        missing = rich_client.get(f"/v1/products/p004/similar?missing={name}").get_json()["total_found"]
        assert sum(value["count"] for value in answer["facets"][name]) + missing == answer["total_found"] == 64
    body = {"like": ["p004"], "filter": ["colour:white"], "multi_select": True, "facets": ["colour"]}
    counts = rich_client.post("/v1/search", json=body).get_json()["facets"]["colour"]
    all_counts = search(rich_client, facets="colour")["facets"]["colour"]
    assert sum(value["count"] for value in counts) == sum(value["count"] for value in all_counts) - 1


def test_filters_accept_band_limits_as_floats(rich_client: FlaskClient) -> None:
    """JSON clients may write the integer 7 as 7.0."""
    assert (
        search(rich_client, filter_min="size:7.0")["total_found"]
        == search(rich_client, filter_min="size:7")["total_found"]
        == 2
    )


@pytest.mark.parametrize(
    ("facets", "detail"),
    [
        ("nothing", "there is no attribute 'nothing'"),
        ("added_at", "holds dates"),
        ("product_id", "there is no attribute"),
        ("category;brand", "there is no attribute"),
        (",".join(f"a{n}" for n in range(21)), "21 attributes; at most 20"),
    ],
)
def test_invalid_facets_are_rejected(rich_client: FlaskClient, facets: str, detail: str) -> None:
    response = rich_client.get("/v1/search/text?" + urlencode({"q": "red", "facets": facets}))
    assert detail in problem(response, 422, "facets")


# ── round edges ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("quantiles", "edges"),
    [
        ([0, 10, 20, 30, 40], (10, 20, 30)),
        ([3.99, 17.2, 31.9, 52.4, 88.0, 140.1, 999], (20, 40, 50, 100, 500)),
        ([5, 5, 5, 5], ()),
        ([1, 2], ()),
        ([], ()),
        ([-30, -10, 0, 10, 30], (-20, 0, 20)),
        ([0.001, 0.002, 0.003, 0.004], (0.002, 0.003)),
    ],
)
def test_edges_are_the_roundest_numbers_between_quantiles(quantiles: list[float], edges: tuple[float, ...]) -> None:
    assert round_edges(quantiles) == pytest.approx(edges)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=8))
def test_edges_are_finite_ascending_and_within_the_quantiles(values: list[float]) -> None:
    quantiles = sorted(values)
    edges = round_edges(quantiles)
    assert list(edges) == sorted(set(edges))
    assert all(math.isfinite(edge) and quantiles[0] < edge <= quantiles[-1] for edge in edges)
    assert len(edges) <= max(0, len(quantiles) - 2)


def test_band_names_keep_all_digits_of_large_numbers() -> None:
    assert band_name(1234567, 1234568) == "1234567 to 1234568"
    assert band_name(None, 0.1) == "under 0.1"
