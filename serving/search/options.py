"""From what a caller sent to what `search` takes: options, filters and queries, refused by field where wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from artifacts.config import QueryLimits
from artifacts.errors import QueryError
from artifacts.products.filters import Condition, Filter, column_type, parse_condition
from artifacts.schema import TIMESTAMP
from serving.releases.snapshot import Snapshot
from serving.schemas import Common
from serving.search.paging import Cursor
from serving.search.ranking import start_of_day


@dataclass(frozen=True)
class SearchOptions:
    """How a search is filtered, ranked and cut."""

    today: datetime  # the day that ages are counted from
    conditions: Filter = ()
    categories: tuple[str, ...] = ()  # that the caller asked for: the cap leaves them alone
    limit: int = 20
    offset: int = 0
    rerank: bool = True
    sort: tuple[str, bool] | None = None  # attribute, and whether the highest come first
    max_per_category: int = 0
    diversity: float = 0.0
    collapse: float | None = None
    facets: tuple[str, ...] = ()
    multi_select: bool = False
    recall: float = 1.0
    explain: bool = False

    @property
    def plain(self) -> bool:
        """Similarity alone says what is shown, and in which order."""
        changed = self.rerank or self.sort or self.max_per_category or self.diversity or self.collapse is not None
        return not changed

    @property
    def order(self) -> str:
        """All that the order of the results depends on, beside the query and the release: what pages must share."""
        parts = (
            self.conditions, self.categories, self.rerank, self.sort, self.max_per_category, self.diversity,
            self.collapse, self.recall,
        )  # fmt: skip
        return repr(parts)


def options_from(
    asked: Common, snapshot: Snapshot, limits: QueryLimits, max_per_category: int, cursor: Cursor | None = None
) -> SearchOptions:
    """The options of a search.

    Raises:
        QueryError: a filter or facet names what is not there, or asks for too much.
    """
    if cursor is not None and "offset" in asked.model_fields_set:
        raise QueryError("offset", "goes without a cursor: the cursor says where to go on")
    offset = asked.offset if cursor is None else cursor.offset
    if offset > limits.max_offset:
        raise QueryError("offset", f"at most {limits.max_offset}; narrow the search with filters instead")
    cap = max_per_category if asked.max_per_category is None else asked.max_per_category
    facets = tuple(dict.fromkeys(name.strip() for each in asked.facets for name in each.split(",") if name.strip()))
    if len(facets) > limits.max_facets:
        raise QueryError("facets", f"{len(facets)} attributes; at most {limits.max_facets} are counted in one request")
    columns = snapshot.release.columns
    for name in facets:
        if column_type(columns, "facets", name) == TIMESTAMP:
            raise QueryError("facets", f"{name} holds dates, not values to count; filter by filter_min and filter_max")
    conditions = filter_from(asked, snapshot, limits)
    return SearchOptions(
        conditions=conditions,
        categories=tuple(str(name) for each in conditions if each.column == "category" for name in each.any_of),
        limit=asked.limit,
        offset=offset,
        rerank=asked.rerank,
        sort=None if asked.sort is None else sort_from(asked.sort, columns),
        # The cap is a part of ranking: an order by similarity alone is just that, unless a cap is asked for.
        max_per_category=cap if asked.rerank or asked.max_per_category is not None else 0,
        diversity=asked.diversity,
        collapse=asked.collapse,
        facets=facets,
        multi_select=asked.multi_select,
        recall=asked.recall,
        explain=asked.explain,
        today=start_of_day() if cursor is None else cursor.today,
    )


def sort_from(sort: str, columns: Mapping[str, pa.DataType]) -> tuple[str, bool]:
    """Attribute to sort by, and whether its highest values come first.

    Raises:
        QueryError: there is no such attribute.
    """
    highest = sort.startswith("-") and sort not in columns
    column = sort[1:] if highest else sort
    column_type(columns, "sort", column)
    return column, highest


def filter_from(asked: Common, snapshot: Snapshot, limits: QueryLimits) -> Filter:
    """The conditions that a request sets, in one order however it wrote them: a filter is a cache key."""
    lists = (
        asked.category, asked.category_not, asked.brand, asked.brand_not, asked.filter, asked.filter_not,
        asked.filter_min, asked.filter_max, asked.filter_below, asked.missing, asked.present,
    )  # fmt: skip
    if sum(map(len, lists)) > limits.max_filter_values:
        raise QueryError("filter", f"more than {limits.max_filter_values} values in one request")
    if asked.price_min is not None and asked.price_max is not None and asked.price_min > asked.price_max:
        raise QueryError("price_min", f"{asked.price_min} is above price_max {asked.price_max}")
    columns = snapshot.release.columns
    conditions: list[Condition] = []
    for column, wanted, unwanted in (
        ("category", asked.category, asked.category_not),
        ("brand", asked.brand, asked.brand_not),
    ):
        if wanted or unwanted:
            field = column if wanted else f"{column}_not"
            conditions.append(parse_condition(columns, field, column, any_of=wanted, none_of=unwanted))
    if asked.price_min is not None or asked.price_max is not None:
        field = "price_max" if asked.price_min is None else "price_min"
        conditions.append(parse_condition(columns, field, "price", minimum=asked.price_min, maximum=asked.price_max))

    def named(field: str, pairs: Sequence[str]) -> list[tuple[str, list[str]]]:
        return list(_by_name(field, pairs, columns).items())

    for name, values in named("filter", asked.filter):
        conditions.append(parse_condition(columns, "filter", name, any_of=values))
    for name, values in named("filter_not", asked.filter_not):
        conditions.append(parse_condition(columns, "filter_not", name, none_of=values))
    for name, values in named("filter_min", asked.filter_min):
        conditions += [parse_condition(columns, "filter_min", name, minimum=value) for value in values]
    for name, values in named("filter_max", asked.filter_max):
        conditions += [parse_condition(columns, "filter_max", name, maximum=value) for value in values]
    for name, values in named("filter_below", asked.filter_below):
        conditions += [parse_condition(columns, "filter_below", name, below=value) for value in values]
    conditions += [parse_condition(columns, "missing", name, missing=True) for name in asked.missing]
    conditions += [parse_condition(columns, "present", name, missing=False) for name in asked.present]
    return tuple(sorted(set(conditions), key=repr))


def _by_name(field: str, pairs: Sequence[str], columns: Collection[str]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        name, colon, value = pair.partition(":")
        if not colon or not name:
            raise QueryError(field, f"{pair[:80]!r} is not of the form name:value")
        # A column's name may hold colons itself; the longest name that is one is meant.
        known = max((each for each in columns if pair.startswith(f"{each}:")), key=len, default=None)
        if known is not None:
            name, value = known, pair[len(known) + 1 :]
        values[name].append(value)
    return values
