"""Which conditions of a filter an engine applies itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from artifacts.engines.base import ConditionKind
from artifacts.products.columns import TEXT, type_of_column, type_of_value
from artifacts.products.filters import Condition, Filter


def pushed_down(conditions: Filter, columns: Mapping[str, pa.DataType], kinds: frozenset[ConditionKind]) -> Filter:
    """Return the conditions, or parts of them, that an engine can apply. All rows that pass the filter pass these.

    Args:
        conditions: of a search.
        columns: of the collection. A delta may have given a column another type than its base's; such a column's
            conditions are left out, as are those of columns that the collection lacks.
        kinds: that the engine knows.
    """
    pushed = (_part(condition, columns, kinds) for condition in conditions if condition.column in columns)
    return tuple(condition for condition in pushed if condition != Condition(condition.column))


def _part(condition: Condition, columns: Mapping[str, pa.DataType], kinds: frozenset[ConditionKind]) -> Condition:
    dtype = type_of_column(columns[condition.column])
    bounds = (condition.minimum, condition.maximum, condition.below)
    values = [*condition.any_of, *condition.none_of, *(bound for bound in bounds if bound is not None)]
    if any(type_of_value(value) != dtype for value in values):
        return Condition(condition.column)
    ranges: ConditionKind = "text_range" if dtype == TEXT else "range"
    return replace(
        condition,
        any_of=condition.any_of if "any_of" in kinds else (),
        none_of=condition.none_of if "none_of" in kinds else (),
        **({} if ranges in kinds else {"minimum": None, "maximum": None, "below": None}),
        missing=condition.missing if "missing" in kinds else None,
    )
