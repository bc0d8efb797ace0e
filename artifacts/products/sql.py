"""TODO."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from artifacts.products.filters import Filter, Value

#: SQL types by Python type; bool before int, of which it is a subclass.
_SQL_TYPES = ((bool, "BOOLEAN"), (int, "BIGINT"), (float, "DOUBLE"), (str, "VARCHAR"), (datetime, "TIMESTAMPTZ"))


def to_sql(conditions: Filter) -> tuple[str, list[Any]]:
    """A WHERE expression and its parameters; TRUE for the empty filter."""
    parts: list[str] = []
    parameters: list[Any] = []
    for condition in conditions:
        if condition.any_of:
            column, sql_type = _compared(condition.column, condition.any_of[0])
            parts.append(f"{column} IN (SELECT unnest(?::{sql_type}[]))")
            parameters.append(list(condition.any_of))
        if condition.none_of:
            column, sql_type = _compared(condition.column, condition.none_of[0])
            parts.append(f"({column} IS NULL OR {column} NOT IN (SELECT unnest(?::{sql_type}[])))")
            parameters.append(list(condition.none_of))
        for operator, bound in ((">=", condition.minimum), ("<=", condition.maximum), ("<", condition.below)):
            if bound is not None:
                column, sql_type = _compared(condition.column, bound)
                parts.append(f"{column} {operator} ?::{sql_type}")
                parameters.append(bound)
        if condition.missing is not None:
            parts.append(f"{quoted(condition.column)} IS {'' if condition.missing else 'NOT '}NULL")
    return " AND ".join(parts) or "TRUE", parameters


def _compared(column: str, value: Value) -> tuple[str, str]:
    """A column as SQL that can be compared with a value, and the value's SQL type.

    Segments of one release may disagree on a column's type (sizes were numbers, then texts came). What cannot be cast
    is as if there were no value; a cast to the type that a column has already is no cast, and costs nothing.
    """
    sql_type = next(name for python, name in _SQL_TYPES if isinstance(value, python))
    return f"TRY_CAST({quoted(column)} AS {sql_type})", sql_type


def quoted(column: str) -> str:
    """A column's name as an SQL identifier."""
    return '"' + column.replace('"', '""') + '"'
