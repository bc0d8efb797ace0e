"""Counts of a filter rail: exact over the filtered set, and how many of these are near."""

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


def ask(client: FlaskClient, **query: Any) -> dict[str, Any]:
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
    """The same filter as plain SQL, written by hand."""

    def texts(values: list[str]) -> str:
        return ", ".join("'" + value.replace("'", "''") + "'" for value in values)

    parts = ["TRUE", *(f"{name} IN ({texts(query[name])})" for name in ("category", "brand") if name in query)]
    if "category_not" in query:
        parts.append(f"(category IS NULL OR category NOT IN ({texts(query['category_not'])}))")
    if "price_min" in query:
        parts.append(f"price >= {query['price_min']}")
    if "price_max" in query:
        parts.append(f"price <= {query['price_max']}")
    for name in ("colour", "size"):
        values = [pair.split(":")[1] for pair in query.get("filter", ()) if pair.startswith(name)]
        if values:
            parts.append(f"{name}::VARCHAR IN ({texts(values)})")
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
def test_counts_are_those_of_plain_sql(rich_client: FlaskClient, products: pa.Table, query: dict[str, Any]) -> None:
    answer = ask(rich_client, **query, facets=",".join(COLUMNS), limit=100)
    with duckdb.connect() as connection:
        connection.register("products", products)
        for column in COLUMNS:
            counts = connection.execute(
                f"SELECT {column}, count(DISTINCT product_id) AS n FROM products "  # noqa: S608
                f"WHERE {column} IS NOT NULL AND {where(query)} GROUP BY 1 ORDER BY n DESC, {column}::VARCHAR"
            ).fetchall()
            assert [(each["value"], each["count"]) for each in answer["facets"][column]] == counts
        found = connection.execute(f"SELECT DISTINCT product_id FROM products WHERE {where(query)}").fetchall()  # noqa: S608
    assert set(ids(answer)) == {product_id for (product_id,) in found}
    assert answer["total_found"] == len(found)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=FILTERS)
def test_bands_hold_what_their_filters_find(rich_client: FlaskClient, query: dict[str, Any]) -> None:
    bands = ask(rich_client, **query, facets="price")["facets"]["price"]
    for band in bands:
        narrowed = {**query, "filter_below": [query["filter_below"]] if "filter_below" in query else []}
        if band["below"] is not None:
            narrowed["filter_below"].append(f"price:{band['below']}")
        if band["minimum"] is not None:
            narrowed["filter_min"] = f"price:{band['minimum']}"
        narrowed["present"] = [*([query["present"]] if "present" in query else []), "price"]
        assert ask(rich_client, **narrowed)["total_found"] == band["count"] > 0
    priced = ask(rich_client, **{**query, "present": [*([query["present"]] if "present" in query else []), "price"]})
    assert sum(band["count"] for band in bands) == priced["total_found"]


def test_bands_meet_at_round_numbers_and_stay_where_they_are(rich_client: FlaskClient) -> None:
    bands = ask(rich_client, facets="price")["facets"]["price"]
    assert 4 <= len(bands) <= 6
    assert bands[0]["minimum"] is None
    assert bands[-1]["below"] is None
    assert bands[0]["value"] == f"under {bands[0]['below']:g}"
    assert bands[-1]["value"] == f"{bands[-1]['minimum']:g} and more"
    assert all(before["below"] == after["minimum"] for before, after in pairwise(bands))
    few = ask(rich_client, facets="price", category="pair")["facets"]["price"]
    limits = {(band["minimum"], band["below"]) for band in bands}
    assert {(band["minimum"], band["below"]) for band in few} <= limits


def test_the_neighbourhood_is_counted_apart(rich_client: FlaskClient) -> None:
    # All 65 products are among the nearest 200, or 100.
    answer = ask(rich_client, facets="colour,price")
    assert all(each["nearby"] == each["count"] for name in ("colour", "price") for each in answer["facets"][name])


def test_only_the_most_similar_are_near(rich_client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.search.task.PLAIN_WINDOW", 10)
    answer = ask(rich_client, q="red", facets="colour", rerank="false", max_per_category=0, limit=10)
    near = {each["value"]: each["nearby"] for each in answer["facets"]["colour"]}
    assert near["red"] == sum(result["attributes"]["colour"] == "red" for result in answer["results"]) == 10
    assert sum(near.values()) == 10


def test_with_multi_select_a_facet_ignores_its_own_filter_alone(rich_client: FlaskClient) -> None:
    one = ask(rich_client, facets="category,colour", category="circle")
    assert [each["value"] for each in one["facets"]["category"]] == ["circle"]
    several = ask(rich_client, facets="category,colour", category="circle", multi_select="true")
    unfiltered = ask(rich_client, facets="category")["facets"]["category"]
    assert [(each["value"], each["count"]) for each in several["facets"]["category"]] == [
        (each["value"], each["count"]) for each in unfiltered
    ]
    assert several["facets"]["colour"] == one["facets"]["colour"]
    assert several["total_found"] == one["total_found"]


def test_whole_numbers_of_few_values_are_counted_one_by_one(rich_client: FlaskClient) -> None:
    assert {each["value"] for each in ask(rich_client, facets="size")["facets"]["size"]} == {0, 1, 2, 7, 8}


def test_products_of_the_query_are_not_counted(rich_client: FlaskClient) -> None:
    answer = rich_client.get("/v1/products/p004/similar?facets=category,price,colour").get_json()
    for name in ("category", "price"):
        missing = rich_client.get(f"/v1/products/p004/similar?missing={name}").get_json()["total_found"]
        assert sum(each["count"] for each in answer["facets"][name]) + missing == answer["total_found"] == 64
    body = {"like": ["p004"], "filter": ["colour:white"], "multi_select": True, "facets": ["colour"]}
    counts = rich_client.post("/v1/search", json=body).get_json()["facets"]["colour"]
    whole = ask(rich_client, facets="colour")["facets"]["colour"]
    assert sum(each["count"] for each in counts) == sum(each["count"] for each in whole) - 1


def test_limits_of_bands_are_numbers_that_filters_take(rich_client: FlaskClient) -> None:
    """A caller may write the whole number 7 as 7.0."""
    assert (
        ask(rich_client, filter_min="size:7.0")["total_found"]
        == ask(rich_client, filter_min="size:7")["total_found"]
        == 2
    )


@pytest.mark.parametrize(
    ("facets", "says"),
    [
        ("nothing", "there is no attribute 'nothing'"),
        ("added_at", "holds dates"),
        ("product_id", "there is no attribute"),
        ("category;brand", "there is no attribute"),
        (",".join(f"a{n}" for n in range(21)), "21 attributes; at most 20"),
    ],
)
def test_facets_that_are_none(rich_client: FlaskClient, facets: str, says: str) -> None:
    response = rich_client.get("/v1/search/text?" + urlencode({"q": "red", "facets": facets}))
    assert says in problem(response, 422, "facets")


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
def test_edges_are_as_round_as_there_is_room_for(quantiles: list[float], edges: tuple[float, ...]) -> None:
    assert round_edges(quantiles) == pytest.approx(edges)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=8))
def test_edges_rise_and_cut_something_off(values: list[float]) -> None:
    quantiles = sorted(values)
    edges = round_edges(quantiles)
    assert list(edges) == sorted(set(edges))
    assert all(math.isfinite(edge) and quantiles[0] < edge <= quantiles[-1] for edge in edges)
    assert len(edges) <= max(0, len(quantiles) - 2)


def test_band_names_keep_all_digits_of_large_numbers() -> None:
    assert band_name(1234567, 1234568) == "1234567 to 1234568"
    assert band_name(None, 0.1) == "under 0.1"
