"""Product rows brought to another schema: columns come, go, and change their types."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from artifacts.products.conform import conform, merged_schema
from artifacts.schema import TIMESTAMP

TEXT = pa.large_string()


def test_rows_get_the_columns_of_the_schema() -> None:
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    schema = pa.schema([("b", TEXT), ("c", pa.float64()), ("a", pa.float64())])
    assert conform(table, schema).to_pylist() == [{"b": "x", "c": None, "a": 1.0}, {"b": "y", "c": None, "a": 2.0}]


def test_values_that_cannot_be_cast_are_null() -> None:
    table = pa.table({"a": ["1", "one", None]})
    assert conform(table, pa.schema([("a", pa.int64())]))["a"].to_pylist() == [1, None, None]


def test_times_are_cast_in_utc() -> None:
    table = pa.table({"a": pa.array([datetime(2026, 3, 1, 12, tzinfo=UTC)], TIMESTAMP)})
    assert conform(table, pa.schema([("a", TEXT)]))["a"].to_pylist() == ["2026-03-01 12:00:00+00"]


@pytest.mark.parametrize(
    ("newer", "older", "merged"),
    [
        (pa.int64(), pa.int64(), pa.int64()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.float64(), pa.int64(), pa.float64()),
        (pa.int64(), TEXT, TEXT),
        (TEXT, pa.bool_(), TEXT),
        (pa.bool_(), pa.int64(), TEXT),
        (TIMESTAMP, pa.float64(), TEXT),
    ],
)
def test_merged_column_holds_the_values_of_both(newer: pa.DataType, older: pa.DataType, merged: pa.DataType) -> None:
    schema = merged_schema(pa.schema([("a", newer)]), pa.schema([("b", TEXT), ("a", older)]))
    assert schema == pa.schema([("a", merged), ("b", TEXT)])
