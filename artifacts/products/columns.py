"""The columns of product rows: their types, and which of them can be filtered on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from artifacts.schema import TIMESTAMP

#: Columns of a segment that cannot be filtered on.
_UNFILTERABLE = ("product_id", "picture", "image_url", "title")


@dataclass(frozen=True)
class ColumnType:
    """A type of column, as Arrow, Python, DuckDB and people name it."""

    matches: Callable[[pa.DataType], bool]
    python: type
    sql: str
    description: str  # for messages: "'x' is not a number"


NUMBER = ColumnType(pa.types.is_floating, float, "DOUBLE", "a number")
INTEGER = ColumnType(pa.types.is_integer, int, "BIGINT", "an integer")
BOOLEAN = ColumnType(pa.types.is_boolean, bool, "BOOLEAN", "true or false")
TIME = ColumnType(lambda dtype: dtype == TIMESTAMP, datetime, "TIMESTAMPTZ", "an ISO 8601 date or time")
TEXT = ColumnType(lambda _: True, str, "VARCHAR", "text")

#: The first that matches is a column's type. Booleans precede integers: Python's bool is a subclass of int.
_TYPES = (BOOLEAN, NUMBER, INTEGER, TIME, TEXT)


def type_of_column(dtype: pa.DataType) -> ColumnType:
    """Return the type of an Arrow column."""
    return next(column_type for column_type in _TYPES if column_type.matches(dtype))


def type_of_value(value: object) -> ColumnType:
    """Return the type of the columns that hold such Python values."""
    return next(column_type for column_type in _TYPES if isinstance(value, column_type.python))


def filterable_columns(schema: pa.Schema) -> dict[str, pa.DataType]:
    """Return the columns of a segment that can be filtered on, with their Arrow types."""
    return {field.name: field.type for field in schema if field.name not in _UNFILTERABLE}
