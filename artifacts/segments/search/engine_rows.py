"""The rows of a base and its delta in an engine: candidates for a search."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from artifacts.engines.base import Capabilities, CollectionSearch, Found
from artifacts.engines.collection import Collection
from artifacts.engines.pushdown import pushed_down
from artifacts.errors import EngineUnavailable
from artifacts.products.filters import Filter
from artifacts.segments.segment import Segment

#: Threads that ask the collections of deltas; more searches than these at once wait for each other.
_THREADS = 32


@dataclass(frozen=True)
class FoundInSegments(Found):
    """Rows of all segments for one query.

    Attributes:
        may_have_more: a segment has returned as many rows as it was asked for, and has others.
    """

    may_have_more: bool


@dataclass(frozen=True)
class _SegmentRows:
    """One segment's rows; the release numbers them from `first_row`."""

    collection: Collection
    search: CollectionSearch
    first_row: int


class EngineRows:
    """The rows of a base and its delta, by the release's row numbers. Safe to use from several threads at once.

    Args:
        segments: the base and its delta, open.

    Attributes:
        capabilities: of the engine.

    Raises:
        EngineError: the engine cannot be opened, or lacks a segment.
    """

    def __init__(self, segments: list[Segment]) -> None:
        self.capabilities: Capabilities = segments[0].engine.capabilities
        self._segments: list[_SegmentRows] = []
        first_row = 0
        for segment in segments:
            if segment.info.rows:
                self._segments.append(_SegmentRows(segment.collection, segment.engine_search, first_row))
            first_row += segment.info.rows
        # Threads are started by the first search, after a server has forked.
        self._pool = ThreadPoolExecutor(_THREADS, "engine-search") if len(self._segments) > 1 else None

    @property
    def max_effort(self) -> int:
        """The greatest effort of use; 1 where there is nothing to choose."""
        return max(self.capabilities.efforts, default=1)

    def close(self) -> None:
        """End the threads; a search in progress may fail."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def candidates(
        self, queries: np.ndarray, k: int, effort: int, conditions: Filter, seconds: float
    ) -> list[FoundInSegments]:
        """Find the nearest rows of each query in every segment, all that pass the conditions that the engine knows.

        Args:
            queries: float32[n, dim].
            k: rows of each segment for each query, at most `capabilities.max_results`.
            conditions: of the search.
            seconds: after which it is given up.

        Returns:
            For each query the rows of all segments, by descending score; some may not pass the filter.

        Raises:
            EngineUnavailable: the engine does not answer in time.
        """
        ends = time.monotonic() + seconds
        effort = min(effort, self.max_effort)

        def search(segment: _SegmentRows) -> list[Found]:
            pushed = pushed_down(conditions, segment.collection.columns, self.capabilities.conditions)
            found = segment.search.search(queries, min(k, segment.collection.rows), effort, pushed, _left(ends))
            return [Found(each.rows + segment.first_row, each.scores) for each in found]

        base, *others = self._segments
        waiting = [] if self._pool is None else [self._pool.submit(search, other) for other in others]
        results = [search(base)]
        for future in waiting:
            try:
                results.append(future.result(_left(ends)))
            except TimeoutError:
                raise EngineUnavailable("the engine has not answered in time for the delta") from None
        larger = [segment.collection.rows > k for segment in self._segments]
        return [_merged(found, k, larger) for found in zip(*results, strict=True)]


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise EngineUnavailable("there is no time left to ask the engine")
    return left


def _merged(found: tuple[Found, ...], k: int, larger: list[bool]) -> FoundInSegments:
    """Return the rows of all segments.

    Args:
        found: for one query, of each segment.
        k: rows that each was asked for.
        larger: whether each has more rows than that.
    """
    rows = np.concatenate([each.rows for each in found])
    scores = np.concatenate([each.scores for each in found])
    order = np.lexsort((rows, -scores))
    may_have_more = any(len(each.rows) >= k and more for each, more in zip(found, larger, strict=True))
    return FoundInSegments(rows[order], scores[order], may_have_more)
