"""Filters: SQL says what plain Python says, and nothing that a caller writes becomes SQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.errors import QueryError
from artifacts.products.filters import Condition, Filter, parse_condition
from artifacts.products.sql import quoted, to_sql
from artifacts.products.table import Products
from artifacts.products.writer import write_products
from artifacts.schema import TIMESTAMP
from tests.artifacts.building import product_table

ATTRIBUTES = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "yes": pa.bool_(), "when": TIMESTAMP}
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

#: Values of each column, few enough that conditions meet them, with the edges of each type.
POOLS: dict[str, list[Any]] = {
    "text": ["", " ", "red", "Red", "grün", "' OR 1=1 --", 'a"b', "%", "_", "NULL", "true", "1", "\U0001f600", "a\nb"],
    "whole": [0, 1, -1, 7, 2**53 + 1, 2**63 - 1, -(2**63)],
    "number": [0.0, -0.0, 0.1, 1.0, -1.5, 1e300, 5e-324, float("inf"), float("-inf")],
    "yes": [True, False],
    "when": [
        EPOCH,
        EPOCH + timedelta(microseconds=1),
        EPOCH - timedelta(days=99_999),
        datetime(9999, 12, 31, tzinfo=UTC),
    ],
}
RNG = np.random.default_rng(0)
ROWS = 300
COLUMNS = {
    name: [None if RNG.random() < 0.2 else pool[RNG.integers(len(pool))] for _ in range(ROWS)]
    for name, pool in POOLS.items()
}


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Products:
    folder = tmp_path_factory.mktemp("products")
    write_products(product_table([f"p{row}" for row in range(ROWS)], attributes=ATTRIBUTES, **COLUMNS), folder)
    return Products(folder)


def meets(value: Any, condition: Condition) -> bool:
    """What a condition means, in plain Python."""
    if condition.any_of and (value is None or value not in condition.any_of):
        return False
    if condition.none_of and value is not None and value in condition.none_of:
        return False
    if condition.minimum is not None and (value is None or value < condition.minimum):
        return False
    if condition.maximum is not None and (value is None or value > condition.maximum):
        return False
    if condition.below is not None and (value is None or value >= condition.below):
        return False
    return condition.missing is None or condition.missing == (value is None)


def passing(conditions: Filter) -> list[int]:
    return [row for row in range(ROWS) if all(meets(COLUMNS[each.column][row], each) for each in conditions)]


@st.composite
def one_condition(draw: st.DrawFn) -> Condition:
    column = draw(st.sampled_from(sorted(POOLS)))
    value = st.sampled_from(POOLS[column])
    several = st.lists(value, max_size=4).map(tuple)
    bounds = [draw(st.none() | value) for _ in range(3)]
    return Condition(
        column, draw(several), draw(several), *bounds, missing=draw(st.sampled_from([None, None, True, False]))
    )


@given(conditions=st.lists(one_condition(), max_size=4).map(tuple))
@settings(max_examples=200, deadline=None)
def test_sql_says_what_python_says(products: Products, conditions: Filter):
    rows = products.matching_rows(conditions)
    assert rows.dtype == np.int64
    assert rows.tolist() == passing(conditions)


def test_a_missing_value_meets_only_a_negation(products: Products):
    missing = {row for row, value in enumerate(COLUMNS["text"]) if value is None}
    assert missing
    every = tuple(POOLS["text"])
    assert not missing & set(products.matching_rows((Condition("text", any_of=every),)))
    assert set(products.matching_rows((Condition("text", none_of=every),))) == missing
    assert not missing & set(products.matching_rows((Condition("text", minimum=""),)))


def test_the_empty_filter_allows_everything(products: Products):
    assert to_sql(()) == ("TRUE", [])
    assert products.matching_rows(()).tolist() == list(range(ROWS))
    assert products.matching_rows((Condition("text"),)).tolist() == list(range(ROWS))


def test_values_that_are_missing_can_be_asked_for(products: Products):
    missing = {row for row, value in enumerate(COLUMNS["when"]) if value is None}
    assert set(products.matching_rows((Condition("when", missing=True),))) == missing
    assert set(products.matching_rows((Condition("when", missing=False),))) == set(range(ROWS)) - missing


def test_below_leaves_its_bound_out():
    assert to_sql((Condition("price", below=0.0),)) == ('TRY_CAST("price" AS DOUBLE) < ?::DOUBLE', [0.0])


def test_zero_is_a_bound():
    assert to_sql((Condition("price", minimum=0.0),))[1] == [0.0]
    assert to_sql((Condition("price", maximum=0),))[1] == [0]
    assert to_sql((Condition("yes", any_of=(False,)),))[1] == [[False]]


# ── what a caller writes ─────────────────────────────────────────────────────────────────────────────────────────

INJECTIONS = [
    "' OR '1'='1",
    "'; DROP TABLE products; --",
    "x'); COPY products TO '/tmp/out.csv'; --",
    '" OR 1=1 --',
    "?",
    "$1",
    "{0}",
    "red' UNION SELECT row FROM products --",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_values_are_never_sql(products: Products, text: str):
    columns = products.columns
    for place in (lambda value: {"any_of": [value]}, lambda value: {"minimum": value, "maximum": value}):
        condition, harmless = (parse_condition(columns, "filter", "text", **place(value)) for value in (text, "blue"))
        assert to_sql((condition,))[0] == to_sql((harmless,))[0]
        assert products.matching_rows((condition,)).tolist() == []
    assert len(products.matching_rows((parse_condition(columns, "filter", "text", none_of=[text]),))) == ROWS


@pytest.mark.parametrize(
    "column", [*INJECTIONS, "row", "first_picture", "attribute_5", "product_id", "TEXT", "text ", ""]
)
def test_columns_are_those_of_the_segment(products: Products, column: str):
    with pytest.raises(QueryError, match="there is no attribute") as caught:
        parse_condition(products.columns, "filter", column, any_of=["x"])
    assert caught.value.field == "filter"


def test_an_identifier_is_quoted():
    assert quoted('a"b; --') == '"a""b; --"'


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("number", "nan"),
        ("number", float("nan")),
        ("number", "cheap"),
        ("number", ""),
        ("number", "1,5"),
        ("number", 10**400),
        ("number", None),
        ("number", [1]),
        ("number", {"a": 1}),
        ("number", b"1"),
        ("whole", "1.5"),
        ("whole", 1.5),
        ("whole", float("nan")),
        ("whole", float("inf")),
        ("whole", 2**63),
        ("whole", "-9223372036854775809"),
        ("whole", "9" * 10_000),
        ("whole", [1]),
        ("yes", "ja"),
        ("yes", 2),
        ("yes", ""),
        ("yes", []),
        ("when", "yesterday"),
        ("when", "2026-13-01"),
        ("when", 5),
        ("when", []),
        ("text", "a\x00b"),
        ("text", "\ud800"),
        ("text", ["a"]),
        ("text", {"a": "b"}),
        ("text", b"a"),
    ],
)
def test_values_of_the_wrong_type_are_refused_by_field(products: Products, column: str, value: Any):
    for place in ({"any_of": [value]}, {"none_of": [value]}, {"minimum": value}, {"maximum": value}, {"below": value}):
        if value is None and None in place.values():
            continue  # no bound
        with pytest.raises(QueryError) as caught:
            parse_condition(products.columns, "filter[3]", column, **place)
        assert caught.value.field == "filter[3]"
        assert column in caught.value.detail
        assert len(caught.value.detail) < 200


@pytest.mark.parametrize(
    ("column", "written", "meant"),
    [
        ("number", "1e3", 1000.0),
        ("number", 7, 7.0),
        ("number", "-Infinity", float("-inf")),
        ("whole", "12", 12),
        ("whole", "12.0", 12),
        ("whole", 12.0, 12),
        ("whole", -(2**63), -(2**63)),
        ("yes", "TRUE", True),
        ("yes", False, False),
        ("when", "2026-01-01", EPOCH),
        ("when", "2026-01-01T02:00:00+02:00", EPOCH),
        ("when", "2026-01-01T00:00:00Z", EPOCH),
        ("text", 5, "5"),
        ("text", "x" * 10_000, "x" * 10_000),
    ],
)
def test_values_get_the_type_of_their_column(products: Products, column: str, written: Any, meant: Any):
    condition = parse_condition(products.columns, "filter", column, any_of=[written], minimum=written)
    assert condition == Condition(column, any_of=(meant,), minimum=meant)
    assert type(condition.any_of[0]) is type(meant)
    hash(condition)


@pytest.mark.parametrize("offset", [timedelta(hours=23, minutes=59), -timedelta(hours=23, minutes=59)])
@pytest.mark.parametrize("year", [1, 9999])
def test_moments_at_the_edge_of_time(products: Products, year: int, offset: timedelta):
    text = datetime(
        year, *((1, 1) if year == 1 else (12, 31, 23, 59, 59, 999_999)), tzinfo=timezone(offset)
    ).isoformat()
    condition = parse_condition(products.columns, "filter", "when", minimum=text)
    found = products.matching_rows((condition,)).tolist()
    assert found == ([row for row, value in enumerate(COLUMNS["when"]) if value] if year == 1 else [])


def test_many_values(products: Products):
    condition = parse_condition(products.columns, "filter", "text", any_of=[*map(str, range(1000)), "red"])
    assert products.matching_rows((condition,)).tolist() == passing((Condition("text", any_of=("red", "1")),))


def test_the_path_of_the_file_is_no_secret_of_the_filter(products: Products, tmp_path: Path):
    """A value that names a file is a text like any other."""
    (tmp_path / "x.csv").write_text("row\n1\n")
    condition = parse_condition(products.columns, "filter", "text", any_of=[str(tmp_path / "x.csv")])
    assert products.matching_rows((condition,)).tolist() == []
