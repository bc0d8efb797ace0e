"""Filters: conditions on columns, all of which a product has to meet, and their parsing from a caller's values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from artifacts.errors import QueryError
from artifacts.products.columns import BOOLEAN, INTEGER, NUMBER, TEXT, TIME, ColumnType, type_of_column

Value = str | int | float | bool | datetime

#: Characters of a caller's value or column name that a message repeats.
_QUOTED = 80


@dataclass(frozen=True)
class Condition:
    """One condition on one column. A product without a value in the column meets only `none_of` and `missing`.

    Attributes:
        column: name of a column of the segment.
        any_of: the value is one of these.
        none_of: the value is none of these.
        minimum, maximum: the value lies in this closed range.
        below: the value is less than this.
        missing: True for products without a value, False for those with one.
    """

    column: str
    any_of: tuple[Value, ...] = ()
    none_of: tuple[Value, ...] = ()
    minimum: Value | None = None
    maximum: Value | None = None
    below: Value | None = None
    missing: bool | None = None

    @property
    def needs_value(self) -> bool:
        """Whether a product without a value in the column fails."""
        bounds = (self.minimum, self.maximum, self.below)
        return bool(self.any_of) or any(bound is not None for bound in bounds) or self.missing is False


#: All conditions hold. Hashable, so it is a cache key; the empty filter passes every product.
Filter = tuple[Condition, ...]


def column_type(columns: Mapping[str, pa.DataType], field: str, column: str) -> pa.DataType:
    """Return the Arrow type of a column.

    Args:
        columns: the columns that can be filtered on.
        field: the request's parameter, for the error.

    Raises:
        QueryError: there is no such column.
    """
    if column not in columns:
        names = ", ".join(sorted(columns))
        raise QueryError(field, f"there is no attribute {column[:_QUOTED]!r}; use one of {names}")
    return columns[column]


def parse_condition(
    columns: Mapping[str, pa.DataType],
    field: str,
    column: str,
    *,
    any_of: Sequence[str] = (),
    none_of: Sequence[str] = (),
    minimum: str | float | None = None,
    maximum: str | float | None = None,
    below: str | float | None = None,
    missing: bool | None = None,
) -> Condition:
    """Make a Condition of a caller's values, converted to the column's type.

    Args:
        columns: the columns that can be filtered on, with their Arrow types.
        field: the request's parameter, for errors.

    Raises:
        QueryError: there is no such column, or a value is not of its type.
    """
    dtype = type_of_column(column_type(columns, field, column))

    def convert(value: str | float) -> Value:
        return _convert(field, column, dtype, value)

    def bound(value: str | float | None) -> Value | None:
        return None if value is None else convert(value)

    return Condition(
        column,
        any_of=_normalize(map(convert, any_of)),
        none_of=_normalize(map(convert, none_of)),
        minimum=bound(minimum),
        maximum=bound(maximum),
        below=bound(below),
        missing=missing,
    )


def _normalize(values: Iterable[Value]) -> tuple[Value, ...]:
    """Drop duplicates and sort: filters that mean the same are then the same cache key."""
    return tuple(sorted(set(values), key=repr))


def _convert(field: str, column: str, dtype: ColumnType, value: str | float) -> Value:
    try:
        if not isinstance(value, str | int | float):  # bool is an int
            raise TypeError("not a single value")
        converted = _PARSERS[dtype](value)
    except (TypeError, ValueError, KeyError, OverflowError):
        raise QueryError(field, f"{column}: {str(value)[:_QUOTED]!r} is not {dtype.description}") from None
    if isinstance(converted, str) and "\x00" in converted:
        raise QueryError(field, f"{column}: a value contains a NUL character; remove it")
    return converted


def _parse_number(value: str | float) -> float:
    number = float(value)
    if number != number:
        raise ValueError("not a number")
    return number


def _parse_integer(value: str | float) -> int:
    try:
        number = int(value)
    except ValueError:
        number, value = int(float(value)), float(value)  # "10.0", as some languages write it
    if isinstance(value, float) and number != value:
        raise ValueError("not an integer")
    if not -(2**63) <= number < 2**63:
        raise ValueError("out of range")
    return number


def _parse_boolean(value: str | float) -> bool:
    return {"true": True, "false": False}[str(value).lower()]


def _parse_time(value: str | float) -> datetime:
    time = datetime.fromisoformat(str(value))
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _parse_text(value: str | float) -> str:
    text = str(value)
    text.encode()  # fails for half of a surrogate pair, which JSON can spell and no text contains
    return text


_PARSERS: dict[ColumnType, Callable[[Any], Value]] = {
    NUMBER: _parse_number,
    INTEGER: _parse_integer,
    BOOLEAN: _parse_boolean,
    TIME: _parse_time,
    TEXT: _parse_text,
}
