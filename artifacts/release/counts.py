"""Counts the products of a release: in all, by value, by band, and the quantiles of a numeric column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from artifacts.products.database import FacetCount, ProductDatabase
from artifacts.products.filters import Filter
from artifacts.release.row_filters import ReleaseFilters
from artifacts.segments.info import totals
from artifacts.segments.segment import Segment


class ProductCounts:
    """Counts over a base and its delta. Safe to use from several threads at once.

    Args:
        base: open.
        delta: of this base, open; None if there is none.
        filters: of both.
        database: of both.
        columns: the release's columns that can be filtered on, with their Arrow types.
    """

    def __init__(
        self,
        base: Segment,
        delta: Segment | None,
        filters: ReleaseFilters,
        database: ProductDatabase,
        columns: Mapping[str, pa.DataType],
    ) -> None:
        self._filters, self._database, self._columns = filters, database, columns
        self.products, self.pictures = totals([segment.info for segment in (base, delta) if segment is not None])
        # For each segment a bitmap with one row of each product; None where each product has one row.
        self._first_pictures = [segment.first_pictures for segment in (base, delta) if segment is not None]

    def count(self, conditions: Filter) -> int:
        """Return the number of products that pass a filter."""
        row_filter = self._filters.get(conditions)
        if row_filter is None:
            return self.products
        if all(first is None for first in self._first_pictures):
            return row_filter.count
        return sum(
            int(np.bitwise_count(bitmap if first is None else first & bitmap).sum())
            for first, bitmap in zip(self._first_pictures, row_filter.bitmaps, strict=True)
        )

    def facet(
        self, column: str, conditions: Filter, edges: Sequence[float] | None = None, *, limit: int | None = None
    ) -> list[FacetCount]:
        """Count products by value or by band; see `Release.facet`."""
        if column not in self._columns:
            return []
        if edges is not None:
            return self._database.bands(column, edges, conditions)[:limit]
        # Base and delta may differ in a column's type: values are counted as the release's.
        return self._database.facet(column, conditions, dtype=self._columns[column], limit=limit)

    def quantiles(self, column: str, shares: Sequence[float]) -> list[float]:
        """Return quantiles of a numeric column; see `Release.quantiles`."""
        return self._database.quantiles(column, shares)
