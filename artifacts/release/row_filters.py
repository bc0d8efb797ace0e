"""The rows of each segment that a search may return: those that pass the filter and are not deleted."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from cachetools import LRUCache

from artifacts.products.filters import Filter
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.segment import Segment

#: Memory in bytes for the prepared filters of one release.
_CACHE_BYTES = 256 * 2**20

#: Memory in bytes of a cached entry, beside its arrays.
_ENTRY_BYTES = 1000


def find_deleted_rows(segments: Sequence[Segment]) -> list[np.ndarray | None]:
    """Find the rows of each segment whose product a newer segment has replaced or deleted.

    Args:
        segments: oldest first.

    Returns:
        Row numbers int64 for each segment, ascending; None where there are none.
    """
    return [_deleted_rows(segment, newer=segments[position + 1 :]) for position, segment in enumerate(segments)]


def _deleted_rows(segment: Segment, newer: Sequence[Segment]) -> np.ndarray | None:
    ids = {product_id for other in newer for product_id in other.tombstones}
    for other in newer:
        ids.update(other.column("product_id").to_pylist())
    if not ids:
        return None
    rows = segment.database.rows_of(sorted(ids))
    return rows if len(rows) else None


class RowFilterCache:
    """Prepares filters for searching, and keeps the most recent ones. Safe to use from several threads at once.

    Args:
        segments: of the release.
        deleted_rows: for each segment, see `find_deleted_rows`.
        max_bytes: memory limit of the kept filters; a larger filter is prepared for each search.
    """

    def __init__(
        self, segments: Sequence[Segment], deleted_rows: Sequence[np.ndarray | None], max_bytes: int = _CACHE_BYTES
    ) -> None:
        self._segments = segments
        self._deleted_rows = deleted_rows
        self._cache: LRUCache[Filter, list[RowFilter | None]] = LRUCache(max_bytes, getsizeof=_bytes_of)
        self._lock = threading.Lock()

    def get(self, conditions: Filter) -> list[RowFilter | None]:
        """Return for each segment the rows that pass a filter and are not deleted; None where that is all rows."""
        with self._lock:
            cached = self._cache.get(conditions)
        if cached is not None:
            return cached
        prepared = [
            self._prepare(segment, deleted, conditions)
            for segment, deleted in zip(self._segments, self._deleted_rows, strict=True)
        ]
        with self._lock:
            if _bytes_of(prepared) <= self._cache.maxsize:
                self._cache[conditions] = prepared
        return prepared

    @staticmethod
    def _prepare(segment: Segment, deleted: np.ndarray | None, conditions: Filter) -> RowFilter | None:
        if not conditions and deleted is None:
            return None
        return segment.row_filter(segment.database.matching_rows(conditions) if conditions else None, excluded=deleted)


def _bytes_of(row_filters: list[RowFilter | None]) -> int:
    return _ENTRY_BYTES + sum(0 if row_filter is None else row_filter.nbytes for row_filter in row_filters)
