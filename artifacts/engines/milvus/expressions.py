"""Filters in Milvus' own language."""

from __future__ import annotations

from collections.abc import Sequence

from artifacts.engines.collection import Collection
from artifacts.engines.payloads import payload_value
from artifacts.products.filters import Condition, Filter, Value

#: Milvus has at most 64 fields in a collection, and each column takes two; further columns are not filtered on.
MAX_COLUMNS = 31

#: What may not stand in a literal by itself. Further escapes, such as JSON's, are not known to every Milvus.
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def missing_field(field: str) -> str:
    """Return the name of the boolean field that says whether a row has no value in a field.

    Milvus has nulls from 2.5 on only, and what a comparison with them gives is its own affair: this is the same in all.
    """
    return f"{field}_missing"


def expression(collection: Collection, conditions: Filter) -> str:
    """Return a filter of a collection's rows, empty if all pass."""
    stored = list(collection.columns)[:MAX_COLUMNS]
    parts = [
        part
        for condition in conditions
        if condition.column in stored
        for part in _parts(collection.field(condition.column), condition)
    ]
    return " and ".join(parts)


def rows_expression(rows: Sequence[int]) -> str:
    """Return a filter for rows by their numbers."""
    return f"id in [{', '.join(map(str, rows))}]"


def _parts(name: str, condition: Condition) -> list[str]:
    missing = missing_field(name)
    parts = []
    if condition.missing:
        parts.append(f"{missing} == true")
    if condition.needs_value:
        parts.append(f"{missing} == false")
    if condition.any_of:
        parts.append(f"{name} in {_literals(condition.any_of)}")
    if condition.none_of:
        parts.append(f"({missing} == true or {name} not in {_literals(condition.none_of)})")
    bounds = ((">=", condition.minimum), ("<=", condition.maximum), ("<", condition.below))
    parts += [f"{name} {operator} {_literal(bound)}" for operator, bound in bounds if bound is not None]
    return parts


def _literals(values: Sequence[Value]) -> str:
    return f"[{', '.join(map(_literal, values))}]"


def _literal(value: Value) -> str:
    """Return a value as Milvus reads it. Times are microseconds, and infinity is the largest number."""
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    return str(value).lower() if isinstance(value, bool) else repr(payload_value(value))
