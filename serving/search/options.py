"""How a search is filtered, ranked and cut into pages, parsed from a request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from artifacts.config import QueryLimits
from artifacts.errors import QueryError
from artifacts.products.filters import Condition, Filter, column_type, parse_condition
from artifacts.schema import TIMESTAMP
from serving.schemas import Common
from serving.search.paging import Cursor

#: Columns of the release that can be filtered on, with their Arrow types.
Columns = Mapping[str, pa.DataType]


@dataclass(frozen=True)
class SearchOptions:
    """The options of one search, validated.

    Attributes:
        today: the day that ages are counted from.
        categories: that the caller filtered on: the cap leaves them alone.
        sort: an attribute, and whether its highest values come first.
    """

    today: datetime
    conditions: Filter = ()
    categories: tuple[str, ...] = ()
    limit: int = 20
    offset: int = 0
    rerank: bool = True
    sort: tuple[str, bool] | None = None
    max_per_category: int = 0
    diversity: float = 0.0
    collapse: float | None = None
    facets: tuple[str, ...] = ()
    multi_select: bool = False
    recall: float = 1.0
    explain: bool = False

    @property
    def plain(self) -> bool:
        """Whether results are ordered by similarity alone."""
        changed = self.rerank or self.sort or self.max_per_category or self.diversity or self.collapse is not None
        return not changed

    @property
    def order(self) -> str:
        """Everything that the order of the results depends on beside the query and the release; pages must share it."""
        parts = (
            self.conditions, self.categories, self.rerank, self.sort, self.max_per_category, self.diversity,
            self.collapse, self.recall,
        )  # fmt: skip
        return repr(parts)


def parse_options(
    request: Common, columns: Columns, limits: QueryLimits, max_per_category: int, cursor: Cursor | None = None
) -> SearchOptions:
    """Return the options of a request.

    Args:
        max_per_category: the cap where the request does not give one.

    Raises:
        QueryError: a filter or facet names an unknown attribute, or the request exceeds a limit.
    """
    if cursor is not None and "offset" in request.model_fields_set:
        raise QueryError("offset", "cannot be combined with a cursor, which sets the offset itself")
    offset = request.offset if cursor is None else cursor.offset
    if offset > limits.max_offset:
        raise QueryError("offset", f"at most {limits.max_offset}; narrow the search with filters instead")
    cap = max_per_category if request.max_per_category is None else request.max_per_category
    facets = _parse_facets(request.facets, columns, limits)
    conditions = parse_filter(request, columns, limits)
    return SearchOptions(
        conditions=conditions,
        categories=tuple(
            str(value) for condition in conditions if condition.column == "category" for value in condition.any_of
        ),
        limit=request.limit,
        offset=offset,
        rerank=request.rerank,
        sort=None if request.sort is None else _parse_sort(request.sort, columns),
        # The cap is a part of ranking: an order by similarity alone has none, unless the request sets one.
        max_per_category=cap if request.rerank or request.max_per_category is not None else 0,
        diversity=request.diversity,
        collapse=request.collapse,
        facets=facets,
        multi_select=request.multi_select,
        recall=request.recall,
        explain=request.explain,
        today=start_of_day() if cursor is None else cursor.today,
    )


def start_of_day() -> datetime:
    """Today's first moment, UTC: answers change with the day at most, not from one second to the next."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _parse_facets(values: Sequence[str], columns: Columns, limits: QueryLimits) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))
    if len(names) > limits.max_facets:
        raise QueryError("facets", f"{len(names)} attributes; at most {limits.max_facets} are counted in one request")
    for name in names:
        if column_type(columns, "facets", name) == TIMESTAMP:
            raise QueryError("facets", f"{name} holds dates, not values to count; filter by filter_min and filter_max")
    return names


def _parse_sort(sort: str, columns: Columns) -> tuple[str, bool]:
    """Return the attribute to sort by, and whether its highest values come first."""
    highest = sort.startswith("-") and sort not in columns
    column = sort[1:] if highest else sort
    column_type(columns, "sort", column)
    return column, highest


def parse_filter(request: Common, columns: Columns, limits: QueryLimits) -> Filter:
    """Return the conditions of a request, in one order however they were written: a filter is a cache key.

    Raises:
        QueryError: an unknown attribute, a value that is not of its type, or too many values.
    """
    lists = (
        request.category, request.category_not, request.brand, request.brand_not, request.filter, request.filter_not,
        request.filter_min, request.filter_max, request.filter_below, request.missing, request.present,
    )  # fmt: skip
    if sum(map(len, lists)) > limits.max_filter_values:
        raise QueryError("filter", f"more than {limits.max_filter_values} values in one request")
    if request.price_min is not None and request.price_max is not None and request.price_min > request.price_max:
        raise QueryError("price_min", f"{request.price_min} is above price_max {request.price_max}")
    conditions: list[Condition] = []
    for column, included, excluded in (
        ("category", request.category, request.category_not),
        ("brand", request.brand, request.brand_not),
    ):
        if included or excluded:
            field = column if included else f"{column}_not"
            conditions.append(parse_condition(columns, field, column, any_of=included, none_of=excluded))
    if request.price_min is not None or request.price_max is not None:
        field = "price_max" if request.price_min is None else "price_min"
        conditions.append(
            parse_condition(columns, field, "price", minimum=request.price_min, maximum=request.price_max)
        )
    for name, values in _by_name("filter", request.filter, columns):
        conditions.append(parse_condition(columns, "filter", name, any_of=values))
    for name, values in _by_name("filter_not", request.filter_not, columns):
        conditions.append(parse_condition(columns, "filter_not", name, none_of=values))
    for name, values in _by_name("filter_min", request.filter_min, columns):
        conditions += [parse_condition(columns, "filter_min", name, minimum=value) for value in values]
    for name, values in _by_name("filter_max", request.filter_max, columns):
        conditions += [parse_condition(columns, "filter_max", name, maximum=value) for value in values]
    for name, values in _by_name("filter_below", request.filter_below, columns):
        conditions += [parse_condition(columns, "filter_below", name, below=value) for value in values]
    conditions += [parse_condition(columns, "missing", name, missing=True) for name in request.missing]
    conditions += [parse_condition(columns, "present", name, missing=False) for name in request.present]
    return tuple(sorted(set(conditions), key=repr))


def _by_name(field: str, pairs: Sequence[str], columns: Collection[str]) -> list[tuple[str, list[str]]]:
    """Return the values of `name:value` pairs, by name."""
    values: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        name, colon, value = pair.partition(":")
        if not colon or not name:
            raise QueryError(field, f"{pair[:80]!r} is not of the form name:value")
        # A column's name may contain colons itself: the longest name that fits is meant.
        column = max((column for column in columns if pair.startswith(f"{column}:")), key=len, default=None)
        if column is not None:
            name, value = column, pair[len(column) + 1 :]
        values[name].append(value)
    return list(values.items())
