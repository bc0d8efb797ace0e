"""Counts the products of a release: in all, by value, by band, and the quantiles of a numeric column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from artifacts.products.database import FacetCount
from artifacts.products.filters import Filter
from artifacts.release.row_filters import RowFilterCache
from artifacts.segments.segment import Segment


class ProductCounts:
    """Counts over all segments of a release. Safe to use from several threads at once.

    Args:
        segments: of the release, oldest first.
        deleted_rows: for each segment, see `find_deleted_rows`.
        row_filters: of the release.
        columns: the release's columns that can be filtered on, with their Arrow types.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        deleted_rows: Sequence[np.ndarray | None],
        row_filters: RowFilterCache,
        columns: Mapping[str, pa.DataType],
    ) -> None:
        self._segments = segments
        self._deleted_rows = deleted_rows
        self._row_filters = row_filters
        self._columns = columns
        # For each segment a bitmap with one row of each product; None where each product has one row.
        self._first_pictures = [
            None if segment.info.max_pictures <= 1 else segment.row_filter(segment.database.first_pictures()).bitmap
            for segment in segments
        ]

    def count(self, conditions: Filter) -> int:
        """Return the number of products that pass a filter."""
        total = 0
        row_filters = self._row_filters.get(conditions)
        for segment, row_filter, first in zip(self._segments, row_filters, self._first_pictures, strict=True):
            if row_filter is None:
                total += segment.info.products
            elif first is None:
                total += row_filter.count
            else:
                total += int(np.bitwise_count(first & row_filter.bitmap).sum())
        return total

    def facet(
        self, column: str, conditions: Filter, edges: Sequence[float] | None = None, *, limit: int | None = None
    ) -> list[FacetCount]:
        """Count products by value or by band; see `Release.facet`."""
        # Segments may differ in a column's type: values are counted as the release's.
        dtype = self._columns.get(column)
        # A value that is rare in one segment may be frequent in all of them together.
        segment_limit = limit if len(self._segments) == 1 else None
        totals: dict[Any, int] = {}
        for segment, deleted in zip(self._segments, self._deleted_rows, strict=True):
            if edges is None:
                counts = segment.database.facet(column, conditions, deleted, dtype=dtype, limit=segment_limit)
            else:
                counts = segment.database.bands(column, edges, conditions, deleted)
            for facet in counts:
                totals[facet.value] = totals.get(facet.value, 0) + facet.count
        ranked = sorted(totals.items(), key=lambda item: (-item[1], str(item[0])))
        return [FacetCount(value, count) for value, count in ranked[:limit]]

    def quantiles(self, column: str, shares: Sequence[float]) -> list[float]:
        """Return quantiles of a numeric column; see `Release.quantiles`."""
        segments = [segment for segment in self._segments if column in segment.products.columns]
        if not segments:
            return []
        return max(segments, key=lambda segment: segment.info.rows).database.quantiles(column, shares)
