"""Counts for a page's filters: by value, or by band where an attribute is numeric.

Counts are exact, over all products that pass the filters, and come from SQL. `nearby` counts only the most similar of
these.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Any

from cachetools import LRUCache, cachedmethod
from cachetools.keys import hashkey

from artifacts.products.database import FacetCount
from artifacts.products.filters import Filter
from serving.releases.snapshot import Snapshot

#: Values of one facet that are returned, most frequent first. Integers with more values than that are put in bands.
FACET_VALUES = 100
_BANDS = 6
_CACHED = 2048


def _release_key(_counter: FacetCounter, snapshot: Snapshot, *parts: Hashable) -> Any:
    return hashkey(snapshot.manifest.version, *parts)


class FacetCounter:
    """Counts facets, and remembers counts of recent filters. Safe to use from several threads at once."""

    def __init__(self) -> None:
        self._counts_cache: LRUCache[Any, list[FacetCount]] = LRUCache(_CACHED)
        self._edges_cache: LRUCache[Any, tuple[float, ...] | None] = LRUCache(_CACHED)
        self._lock = threading.RLock()

    def count(
        self, snapshot: Snapshot, column: str, conditions: Filter, nearby: Sequence[Any], excluded: Sequence[Any] = ()
    ) -> list[dict[str, Any]]:
        """Number of products for each value of a column, most frequent first; for bands, in their order.

        Args:
            nearby: values of the most similar products.
            excluded: values of products that pass the conditions but are part of the query, and so are not counted.
        """
        edges = self._edges(snapshot, column)
        if edges is None:
            return _value_facet(self._counts(snapshot, column, conditions, None), nearby, excluded)
        return _band_facet(self._counts(snapshot, column, conditions, edges), edges, nearby, excluded)

    @cachedmethod(lambda self: self._counts_cache, key=_release_key, lock=lambda self: self._lock)
    def _counts(
        self, snapshot: Snapshot, column: str, conditions: Filter, edges: tuple[float, ...] | None
    ) -> list[FacetCount]:
        # One more than is returned, to know whether there are more; all values of a column could fill the memory.
        return snapshot.release.facet(column, conditions, edges, limit=FACET_VALUES + 1)

    @cachedmethod(lambda self: self._edges_cache, key=_release_key, lock=lambda self: self._lock)
    def _edges(self, snapshot: Snapshot, column: str) -> tuple[float, ...] | None:
        """Limits between the bands of a numeric column; None if its values are counted one by one.

        They are computed over the whole release, so that they do not move when filters change.
        """
        dtype = str(snapshot.release.columns[column])
        if dtype == "int64" and len(self._counts(snapshot, column, (), None)) <= FACET_VALUES:
            return None
        if dtype not in ("int64", "double"):
            return None
        return round_edges(snapshot.release.quantiles(column, [band / _BANDS for band in range(_BANDS + 1)]))


def _value_facet(counts: list[FacetCount], nearby: Sequence[Any], excluded: Sequence[Any]) -> list[dict[str, Any]]:
    near, minus = Counter(nearby), Counter(excluded)
    values = [
        {
            "value": facet.value,
            "count": facet.count - minus[facet.value],
            "nearby": near[facet.value],
        }
        for facet in counts[:FACET_VALUES]
    ]
    return sorted((value for value in values if value["count"]), key=lambda value: -value["count"])


def _band_facet(
    counts: list[FacetCount], edges: tuple[float, ...], nearby: Sequence[Any], excluded: Sequence[Any]
) -> list[dict[str, Any]]:
    near, minus = (
        Counter(bisect_right(edges, value) for value in values if isinstance(value, int | float))
        for values in (nearby, excluded)
    )
    remaining = {facet.value: facet.count - minus[facet.value] for facet in counts if facet.count > minus[facet.value]}
    return [
        {
            "value": band_name(low, high),
            "count": remaining[band],
            "nearby": near[band],
            "minimum": low,
            "below": high,
        }
        for band, (low, high) in enumerate(pairwise((None, *edges, None)))
        if band in remaining
    ]


def round_edges(quantiles: Sequence[float]) -> tuple[float, ...]:
    """Return, for each inner quantile, the roundest number that is nearer to it than to its neighbours; ascending."""
    edges: list[float] = []
    for lower, quantile, upper in zip(quantiles, quantiles[1:], quantiles[2:], strict=False):
        edge = _roundest(lower / 2 + quantile / 2, quantile / 2 + upper / 2)
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
            if unit == 0:  # underflow: no rounder number exists
                return high
            multiple = math.floor(high / unit) * unit
            if multiple >= low:
                return float(f"{multiple:.12g}")
        power -= 1


def band_name(minimum: float | None, below: float | None) -> str:
    """Return the limits of a band in words."""
    if minimum is None and below is None:
        return "all"
    if minimum is None:
        return f"under {below:.12g}"
    if below is None:
        return f"{minimum:.12g} and more"
    return f"{minimum:.12g} to {below:.12g}"
