"""What a filter is: conditions on columns, all of which a product has to meet, and their SQL with bound parameters.

Nothing of what a caller writes ever becomes SQL text: column names are looked up among the segment's own columns, and
values are bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from artifacts.errors import QueryError
from artifacts.schema import TIMESTAMP

Value = str | int | float | bool | datetime


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
    def needs_a_value(self) -> bool:
        """Whether a product without a value fails."""
        ranges = (self.minimum, self.maximum, self.below)
        return bool(self.any_of) or any(bound is not None for bound in ranges) or self.missing is False


#: All conditions hold. Hashable, so it is a cache key; the empty filter allows everything.
Filter = tuple[Condition, ...]


def column_type(columns: Mapping[str, pa.DataType], field: str, column: str) -> pa.DataType:
    """The type of a column.

    Raises:
        QueryError: there is no such column.
    """
    if column not in columns:
        raise QueryError(field, f"there is no attribute {column[:80]!r}; there are {', '.join(sorted(columns))}")
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
    """A Condition from what a caller wrote, with the values in the column's type.

    Args:
        columns: the columns there are, with their Arrow types.
        field: the request's parameter, for error messages.

    Raises:
        QueryError: no such column, or a value that is not of its type.
    """
    dtype = column_type(columns, field, column)

    def bound(value: str | float | None) -> Value | None:
        return None if value is None else _typed(field, column, dtype, value)

    return Condition(
        column,
        any_of=_several(_typed(field, column, dtype, value) for value in any_of),
        none_of=_several(_typed(field, column, dtype, value) for value in none_of),
        minimum=bound(minimum),
        maximum=bound(maximum),
        below=bound(below),
        missing=missing,
    )


def _several(values: Iterable[Value]) -> tuple[Value, ...]:
    """Each once, in one order however they were written: a filter is a cache key."""
    return tuple(sorted(set(values), key=repr))


def _typed(field: str, column: str, dtype: pa.DataType, value: str | float) -> Value:
    try:
        if not isinstance(value, str | int | float):  # bool is an int
            raise TypeError("not a single value")
        if pa.types.is_floating(dtype):
            number = float(value)
            if number != number:
                raise ValueError("not a number")
            return number
        if pa.types.is_integer(dtype):
            return _int64(value)
        if pa.types.is_boolean(dtype):
            return {"true": True, "false": False}[str(value).lower()]
        if dtype == TIMESTAMP:
            moment = datetime.fromisoformat(str(value))
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        text = str(value)
        text.encode()  # half of a surrogate pair, which JSON can spell, is no character
    except (TypeError, ValueError, KeyError, OverflowError):
        raise QueryError(field, f"{column}: {str(value)[:80]!r} is not {_described(dtype)}") from None
    if "\x00" in text:
        raise QueryError(field, f"{column}: a value holds a NUL character")
    return text


def _described(dtype: pa.DataType) -> str:
    names = {"double": "a number", "int64": "a whole number", "bool": "true or false", str(TIMESTAMP): "an ISO date"}
    return names.get(str(dtype), "a text")


def _int64(value: str | float) -> int:
    try:
        number = int(value)
    except ValueError:
        number, value = int(float(value)), float(value)  # "10.0", as some languages write it
    if isinstance(value, float) and number != value:
        raise ValueError("not a whole number")
    if not -(2**63) <= number < 2**63:
        raise ValueError("out of range")
    return number
