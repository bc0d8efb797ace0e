"""SQL text for the DuckDB file: names of columns, and filters as WHERE expressions with bound parameters.

Nothing that a caller writes becomes SQL text: columns are those of the segment's schema, and values are bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from artifacts.products.columns import type_of_value
from artifacts.products.filters import Filter, Value
from artifacts.schema import CATALOG_COLUMNS

#: Up to this many values are listed one by one. A subquery takes 0.4 ms more to plan, but any number of values.
_MAX_LISTED = 32


def sql_name(schema: pa.Schema, column: str) -> str:
    """Return the name of a segment's column in the DuckDB file.

    The catalog's own columns are named by position: SQL does not distinguish Color from color, and `row` is taken.
    """
    known = column in CATALOG_COLUMNS or column == "picture"
    return column if known else f"attribute_{schema.get_field_index(column)}"


def quoted(name: str) -> str:
    """Return a name quoted as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(text: str) -> str:
    """Return a text as an SQL literal, for statements that take no parameters: paths of files, views and tables."""
    return "'" + text.replace("'", "''") + "'"


def where(conditions: Filter) -> tuple[str, list[Any]]:
    """Return a WHERE expression and its parameters; TRUE for the empty filter.

    Args:
        conditions: with columns under their names in the DuckDB file.
    """
    parts: list[str] = []
    parameters: list[Any] = []
    for condition in conditions:
        if condition.any_of:
            column, values = _values(condition.column, condition.any_of, parameters)
            parts.append(f"{column} IN ({values})")
        if condition.none_of:
            column, values = _values(condition.column, condition.none_of, parameters)
            parts.append(f"({column} IS NULL OR {column} NOT IN ({values}))")
        for operator, bound in ((">=", condition.minimum), ("<=", condition.maximum), ("<", condition.below)):
            if bound is not None:
                column, sql_type = _comparable(condition.column, bound)
                parts.append(f"{column} {operator} ?::{sql_type}")
                parameters.append(bound)
        if condition.missing is not None:
            parts.append(f"{quoted(condition.column)} IS {'' if condition.missing else 'NOT '}NULL")
    return " AND ".join(parts) or "TRUE", parameters


def _values(column: str, values: Sequence[Value], parameters: list[Any]) -> tuple[str, str]:
    """Return a column and a list of values as SQL, and append the values to the parameters."""
    comparable, sql_type = _comparable(column, values[0])
    if len(values) > _MAX_LISTED:
        parameters.append(list(values))
        return comparable, f"SELECT unnest(?::{sql_type}[])"
    parameters.extend(values)
    return comparable, ", ".join([f"?::{sql_type}"] * len(values))


def _comparable(column: str, value: Value) -> tuple[str, str]:
    """Return a column as SQL that can be compared with a value, and the value's SQL type.

    Segments of one release may differ in a column's type (sizes were numbers, then texts came). A value that cannot be
    cast counts as missing; a cast to the type that a column already has is no cast, and costs nothing.
    """
    sql_type = type_of_value(value).sql
    return f"TRY_CAST({quoted(column)} AS {sql_type})", sql_type
