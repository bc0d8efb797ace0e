"""Parsing of conditions: values are converted to their column's type, or refused with the request's field."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from artifacts.errors import QueryError
from artifacts.products.columns import filterable_columns
from artifacts.products.filters import Condition, column_type, parse_condition
from tests.artifacts.products.product_building import EPOCH, every_type_table

COLUMNS = filterable_columns(every_type_table().schema)


@pytest.mark.parametrize(
    "column",
    ["' OR 1=1 --", '" OR 1=1 --', "?", "row", "first_picture", "attribute_5", "product_id", "TEXT", "text ", ""],
)
def test_unknown_columns_are_refused(column: str):
    with pytest.raises(QueryError, match="there is no attribute") as caught:
        parse_condition(COLUMNS, "filter", column, any_of=["x"])
    assert caught.value.field == "filter"
    assert "whole, yes" in caught.value.detail


def test_column_type_is_the_arrow_type():
    assert column_type(COLUMNS, "sort", "price") == pa.float64()


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
def test_values_of_the_wrong_type_are_refused_by_field(column: str, value: Any):
    for values in ({"any_of": [value]}, {"none_of": [value]}, {"minimum": value}, {"maximum": value}, {"below": value}):
        if value is None and None in values.values():
            continue  # no bound
        with pytest.raises(QueryError) as caught:
            parse_condition(COLUMNS, "filter[3]", column, **values)
        assert caught.value.field == "filter[3]"
        assert column in caught.value.detail
        assert len(caught.value.detail) < 200


@pytest.mark.parametrize(
    ("column", "value", "converted"),
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
def test_values_are_converted_to_the_type_of_their_column(column: str, value: Any, converted: Any):
    condition = parse_condition(COLUMNS, "filter", column, any_of=[value], minimum=value)
    assert condition == Condition(column, any_of=(converted,), minimum=converted)
    assert type(condition.any_of[0]) is type(converted)
    hash(condition)


def test_the_order_and_number_of_equal_values_does_not_matter():
    one = parse_condition(COLUMNS, "filter", "text", any_of=["b", "a", "b"], none_of=["d", "c"])
    other = parse_condition(COLUMNS, "filter", "text", any_of=["a", "b"], none_of=["c", "d", "d"])
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("condition", "needs_value"),
    [
        (Condition("x"), False),
        (Condition("x", any_of=(1,)), True),
        (Condition("x", none_of=(1,)), False),
        (Condition("x", minimum=0), True),
        (Condition("x", maximum=0), True),
        (Condition("x", below=0), True),
        (Condition("x", missing=False), True),
        (Condition("x", missing=True), False),
    ],
)
def test_needs_value_is_whether_a_missing_value_fails(condition: Condition, needs_value: bool):
    assert condition.needs_value == needs_value
