"""Counts for a page's filter rail: by value, or by band where an attribute holds numbers.

They are exact, over all products that pass the filters, from SQL; `nearby` counts the most similar of these alone.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from cachetools import LRUCache, cached
from cachetools.keys import hashkey

from artifacts.products.database import FacetCount
from artifacts.products.filters import Filter
from serving.releases.snapshot import Snapshot

#: Values of one facet that are returned, the most frequent first. Whole numbers with more than that come in bands.
FACET_VALUES = 100
_BANDS = 6

_lock = threading.RLock()
_cache: LRUCache[Any, Any] = LRUCache(2048)


def _of_release(snapshot: Snapshot, *parts: object) -> Any:
    return hashkey(snapshot.manifest.version, *parts)


def facet(
    snapshot: Snapshot,
    column: str,
    conditions: Filter,
    nearby: Sequence[Any],
    left_out: Sequence[Any] = (),
) -> list[dict[str, Any]]:
    """Values of a column with their numbers of products, the most frequent first; bands in their order.

    Args:
        nearby: values of the most similar products.
        left_out: values of the products that pass the conditions and are not counted, being part of the query.
    """
    edges = _edges(snapshot, column)
    if edges is None:
        near, less = Counter(nearby), Counter(left_out)
        counts = _counts(snapshot, column, conditions, None)[:FACET_VALUES]
        values = [
            {"value": each.value, "count": each.count - less[each.value], "nearby": near[each.value]} for each in counts
        ]
        return sorted((each for each in values if each["count"]), key=lambda each: -each["count"])
    near, less = (
        Counter(bisect_right(edges, value) for value in values if isinstance(value, int | float))
        for values in (nearby, left_out)
    )
    found = _counts(snapshot, column, conditions, edges)
    counts = {each.value: each.count - less[each.value] for each in found if each.count > less[each.value]}
    return [
        {"value": _words(below, above), "count": counts[band], "nearby": near[band], "minimum": below, "below": above}
        for band, (below, above) in enumerate(pairwise((None, *edges, None)))
        if band in counts
    ]


@cached(_cache, key=lambda *parts: _of_release(*parts), lock=_lock)
def _counts(snapshot: Snapshot, column: str, conditions: Filter, edges: tuple[float, ...] | None) -> list[FacetCount]:
    # One more than is shown tells that there are more; a column of a million values would be a cache's whole memory.
    return snapshot.release.facet(column, conditions, edges, limit=FACET_VALUES + 1)


@cached(_cache, key=lambda snapshot, column: _of_release(snapshot, column), lock=_lock)
def _edges(snapshot: Snapshot, column: str) -> tuple[float, ...] | None:
    """Where the bands of a column of numbers meet; None if its values are counted one by one.

    They are those of the whole release, so that they stay where they are while filters come and go.
    """
    kind = str(snapshot.release.columns[column])
    if kind == "int64" and len(_counts(snapshot, column, (), None)) <= FACET_VALUES:
        return None
    if kind not in ("int64", "double"):
        return None
    return round_edges(snapshot.release.quantiles(column, [band / _BANDS for band in range(_BANDS + 1)]))


def round_edges(quantiles: Sequence[float]) -> tuple[float, ...]:
    """For each inner quantile the roundest number nearer to it than to its neighbours, ascending."""
    edges: list[float] = []
    for before, here, after in zip(quantiles, quantiles[1:], quantiles[2:], strict=False):
        edge = _roundest(before / 2 + here / 2, here / 2 + after / 2)
        if quantiles[0] < edge <= quantiles[-1] and (not edges or edge > edges[-1]):
            edges.append(edge)
    return tuple(edges)


def _roundest(low: float, high: float) -> float:
    """The number from `low` to `high` that is a multiple of the largest of …, 100, 50, 20, 10, 5, 2, 1, 0.5, …"""
    if high <= low:
        return low
    power = min(307, math.floor(math.log10(max(abs(low), abs(high)))) + 1)
    while True:
        for step in (5, 2, 1):
            unit = step * 10.0**power
            if unit == 0:  # nothing is rounder than numbers as small as these
                return high
            multiple = math.floor(high / unit) * unit
            if multiple >= low:
                return float(f"{multiple:.12g}")
        power -= 1


def _words(minimum: float | None, below: float | None) -> str:
    if minimum is None and below is None:
        return "all"
    if minimum is None:
        return f"under {below:.12g}"
    if below is None:
        return f"{minimum:.12g} and more"
    return f"{minimum:.12g} to {below:.12g}"
