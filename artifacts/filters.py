"""What a filter is: conditions on columns, all of which a product has to meet, and their SQL with bound parameters.

Nothing of what a caller writes ever becomes SQL text: column names are looked up among the segment's own columns, and
values are bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from artifacts.errors import QueryError
from artifacts.schema import TIMESTAMP

Value = str | int | float | bool | datetime


@dataclass(frozen=True)
class Condition:
    """One condition on one column. A product without a value in the column meets only a negated `any_of`.

    Attributes:
        column: name of a column of the segment.
        any_of: the value is one of these.
        none_of: the value is none of these.
        minimum, maximum: the value lies in this closed range.
    """

    column: str
    any_of: tuple[Value, ...] = ()
    none_of: tuple[Value, ...] = ()
    minimum: Value | None = None
    maximum: Value | None = None


#: All conditions hold. Hashable, so it is a cache key; the empty filter allows everything.
Filter = tuple[Condition, ...]


def to_sql(conditions: Filter) -> tuple[str, list[Any]]:
    """A WHERE expression and its parameters; TRUE for the empty filter."""
    parts: list[str] = []
    parameters: list[Any] = []
    for condition in conditions:
        column = quoted(condition.column)
        if condition.any_of:
            parts.append(f"{column} IN (SELECT unnest(?))")
            parameters.append(list(condition.any_of))
        if condition.none_of:
            parts.append(f"({column} IS NULL OR {column} NOT IN (SELECT unnest(?)))")
            parameters.append(list(condition.none_of))
        if condition.minimum is not None:
            parts.append(f"{column} >= ?")
            parameters.append(condition.minimum)
        if condition.maximum is not None:
            parts.append(f"{column} <= ?")
            parameters.append(condition.maximum)
    return " AND ".join(parts) or "TRUE", parameters


def quoted(column: str) -> str:
    """A column's name as an SQL identifier."""
    return '"' + column.replace('"', '""') + '"'


def make_condition(
    columns: Mapping[str, pa.DataType],
    field: str,
    column: str,
    *,
    any_of: Sequence[str] = (),
    none_of: Sequence[str] = (),
    minimum: str | float | None = None,
    maximum: str | float | None = None,
) -> Condition:
    """A Condition from what a caller wrote, with the values in the column's type.

    Args:
        columns: the columns there are, with their Arrow types.
        field: the request's parameter, for error messages.

    Raises:
        QueryError: no such column, or a value that is not of its type.
    """
    kind = columns.get(column)
    if kind is None:
        raise QueryError(field, f"there is no attribute {column[:80]!r}; there are {', '.join(sorted(columns))}")
    return Condition(
        column,
        any_of=tuple(_typed(field, column, kind, value) for value in any_of),
        none_of=tuple(_typed(field, column, kind, value) for value in none_of),
        minimum=None if minimum is None else _typed(field, column, kind, minimum),
        maximum=None if maximum is None else _typed(field, column, kind, maximum),
    )


def _typed(field: str, column: str, kind: pa.DataType, value: str | float) -> Value:
    try:
        if pa.types.is_floating(kind):
            number = float(value)
            if number != number:
                raise ValueError("not a number")
            return number
        if pa.types.is_integer(kind):
            return _int64(value)
        if pa.types.is_boolean(kind):
            return {"true": True, "false": False}[str(value).lower()]
        if kind == TIMESTAMP:
            moment = datetime.fromisoformat(str(value))
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, KeyError, OverflowError):
        what = {"double": "a number", "int64": "a whole number", "bool": "true or false"}.get(str(kind), "an ISO date")
        raise QueryError(field, f"{column}: {str(value)[:80]!r} is not {what}") from None
    text = str(value)
    if "\x00" in text:
        raise QueryError(field, f"{column}: a value holds a NUL character")
    return text


def _int64(value: str | float) -> int:
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError("out of range")
    return number
