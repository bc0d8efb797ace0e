"""Opens a release, searches it, and knows its products."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from artifacts.index.params import SearchParams
from artifacts.products.database import FacetCount
from artifacts.products.filters import Filter
from artifacts.release.counts import ProductCounts
from artifacts.release.hits import Hit, Picture
from artifacts.release.opening import close_unshared, open_segments
from artifacts.release.row_filters import RowFilterCache, find_deleted_rows
from artifacts.release.search import search_segments, validate_queries
from artifacts.schema import is_http
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.segment import Plan, Segment
from artifacts.store.manifest import Manifest

T = TypeVar("T")


class Release:
    """All segments of a version. Safe to use from several threads at once.

    Args:
        manifest: of the version.
        folders: the segments' folders on this machine, in the manifest's order.
        verify: check every file's digest before it is mapped; see Segment.
        threads: threads of one SQL statement.
        opened: segments of other releases. Those that this release has too are shared, not opened again.

    Attributes:
        segments: oldest first.
        columns: the columns of any segment that can be filtered on, with their Arrow types; where segments differ, the
            newest segment's type.

    Raises:
        CorruptFile, IncompatibleRelease: see Segment; also if segments do not fit the manifest or each other. Nothing
            is left open then.
        ValueError: the folders are not as many as the segments.
    """

    def __init__(
        self,
        manifest: Manifest,
        folders: Sequence[Path],
        *,
        verify: bool = True,
        threads: int = 1,
        opened: Collection[Segment] = (),
    ) -> None:
        self.manifest = manifest
        self.segments = open_segments(manifest, folders, opened, verify=verify, threads=threads)
        try:
            self.columns = _merge(segment.products.columns for segment in self.segments)
            self._null_values = _merge(segment.products.null_values for segment in self.segments)
            self._deleted_rows = find_deleted_rows(self.segments)
            self._row_filters = RowFilterCache(self.segments, self._deleted_rows)
            self._counts = ProductCounts(self.segments, self._deleted_rows, self._row_filters, self.columns)
        except BaseException:
            close_unshared(self.segments, opened)
            raise

    def close(self) -> None:
        """Close all segments, also those that are shared with other releases."""
        for segment in self.segments:
            segment.close()

    @property
    def _dim(self) -> int:
        """Length of the stored vectors; 0 for a release without segments."""
        return self.segments[0].info.dim if self.segments else 0

    # ── searching ────────────────────────────────────────────────────────────────────────────────────────────────

    def search(
        self,
        queries: np.ndarray,
        k: int,
        params: SearchParams,
        conditions: Filter = (),
        *,
        excluded: Sequence[Collection[str]] = (),
        exact: bool = False,
    ) -> tuple[list[list[Hit]], list[Plan]]:
        """Find the best `k` products for each query. The hits of one query do not depend on the other queries.

        Args:
            queries: float32[n, dim], L2-normalised.
            k: hits for each query; as many are returned whenever so many products pass the filter.
            conditions: only products that pass them.
            excluded: for each query the ids of products to leave out; none for any query if empty.
            exact: score every allowed row, whatever it costs.

        Returns:
            For each query its hits, by descending score (equal scores by segment and row); the plan of each segment.

        Raises:
            QueryError: a vector has another length, or no direction (NaN, infinity, zeros).
        """
        queries = validate_queries(queries, self._dim)
        return search_segments(
            self.segments,
            self._row_filters.get(conditions),
            queries,
            k,
            params,
            excluded=excluded or [()] * len(queries),
            exact=exact,
        )

    def row_filters(self, conditions: Filter) -> list[RowFilter | None]:
        """Return for each segment the rows that pass a filter and are not deleted; None where that is all rows."""
        return self._row_filters.get(conditions)

    # ── products ─────────────────────────────────────────────────────────────────────────────────────────────────

    def locate(self, product_id: str) -> tuple[int, np.ndarray] | None:
        """Return the position of a product's segment and the rows of its pictures; None if it is not in the release."""
        for position in reversed(range(len(self.segments))):
            rows = self.segments[position].database.rows_of([product_id])
            if len(rows):
                return position, rows
            if product_id in self.segments[position].tombstones:
                return None
        return None

    def __contains__(self, product_id: str) -> bool:
        return self.locate(product_id) is not None

    def product(self, product_id: str) -> list[dict[str, Any]] | None:
        """Return a product's results, one for each picture in the catalog's order; None if it is not in the release."""
        location = self.locate(product_id)
        return None if location is None else self.segments[location[0]].products.to_results(location[1])

    def picture(self, product_id: str, number: int) -> Picture | None:
        """Return a picture of a product; None if the product or the picture is not in the release.

        Args:
            number: position in the product's list of pictures, from 0.
        """
        location = self.locate(product_id)
        if location is None:
            return None
        segment, rows = self.segments[location[0]], location[1]
        for row, values in zip(rows, segment.products.take(rows, ["picture", "image_url"]), strict=True):
            if values["picture"] == number:
                url = values["image_url"]
                thumbnail = None if is_http(url) or not segment.thumbnails else segment.thumbnails.get(int(row))
                return Picture(url, thumbnail)
        return None

    def product_vectors(self, product_id: str) -> np.ndarray | None:
        """Return the stored vectors of a product, float32[pictures, dim]; None if it is not in the release."""
        location = self.locate(product_id)
        return None if location is None else self.segments[location[0]].vectors.take(location[1])

    def matching(self, product_ids: Iterable[str], conditions: Filter) -> list[Hit]:
        """Return a hit, of score 1, for each of the products that passes a filter; unknown ids are left out."""
        locations = [location for location in map(self.locate, product_ids) if location is not None]
        if not locations:
            return []  # without preparing the filter
        row_filters = self._row_filters.get(conditions)
        return [
            Hit(1.0, position, int(rows[0]))
            for position, rows in locations
            if (row_filter := row_filters[position]) is None or int(rows[0]) in row_filter
        ]

    # ── rows of hits ─────────────────────────────────────────────────────────────────────────────────────────────

    def product_ids(self, hits: Sequence[Hit]) -> list[str]:
        """Return the product of each hit."""
        return self._take(hits, lambda segment, rows: segment.products.product_ids(rows))

    def values(self, hits: Sequence[Hit], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return the product row of each hit as a dict.

        Args:
            columns: names; all columns if None.
        """
        return self._take(hits, lambda segment, rows: segment.products.take(rows, columns))

    def to_results(self, hits: Sequence[Hit]) -> list[dict[str, Any]]:
        """Return the product row of each hit as a dict of an answer; see ProductTable.to_results."""
        return self._take(hits, lambda segment, rows: segment.products.to_results(rows))

    def arrays(self, hits: Sequence[Hit], columns: Iterable[str]) -> dict[str, np.ndarray]:
        """Return columns of the hits' product rows as arrays [n], as `artifacts.products.table.as_numpy` converts them.

        A column has the newest segment's type; values of segments with another type are missing. A column that no
        segment has is NaN.
        """
        unknown = np.array([np.nan])
        arrays = {name: np.repeat(self._null_values.get(name, unknown), len(hits)) for name in columns}
        for segment, indices, rows in self._by_segment(hits):
            for name, values in segment.products.arrays(rows, arrays).items():
                if values.dtype == arrays[name].dtype:
                    arrays[name][indices] = values
        return arrays

    def vectors(self, hits: Sequence[Hit]) -> np.ndarray:
        """Return the stored vector of each hit's picture, float32[n, dim]."""
        vectors = np.empty((len(hits), self._dim), np.float32)
        for segment, indices, rows in self._by_segment(hits):
            vectors[indices] = segment.vectors.take(np.array(rows, np.int64))
        return vectors

    def _take(self, hits: Sequence[Hit], take: Callable[[Segment, Sequence[int]], list[T]]) -> list[T]:
        """Call `take` once for each segment with the rows of its hits; return the items in the order of the hits."""
        items: dict[int, T] = {}
        for segment, indices, rows in self._by_segment(hits):
            items.update(zip(indices, take(segment, rows), strict=True))
        return [items[index] for index in range(len(hits))]

    def _by_segment(self, hits: Sequence[Hit]) -> Iterator[tuple[Segment, list[int], list[int]]]:
        """Yield each segment that has hits, with the indices of those hits and their rows in the segment."""
        for position, segment in enumerate(self.segments):
            indices = [index for index, hit in enumerate(hits) if hit.segment == position]
            if indices:
                yield segment, indices, [hits[index].row for index in indices]

    # ── the whole release ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def pictures(self) -> int:
        """Number of pictures that can be found."""
        deleted = sum(0 if rows is None else len(rows) for rows in self._deleted_rows)
        return sum(segment.info.rows for segment in self.segments) - deleted

    @property
    def attributes(self) -> list[str]:
        """Names of the catalog's own columns, of the newest segment."""
        return self.segments[-1].products.attributes if self.segments else []

    @property
    def lists(self) -> int:
        """Number of IVF lists of the largest index; 0 where every index is flat."""
        return max((segment.info.index.lists for segment in self.segments), default=0)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return all values of a column of the product rows, segment by segment, with those of deleted rows."""
        return pa.chunked_array([chunk for segment in self.segments for chunk in segment.column(name).chunks])

    def count(self, conditions: Filter) -> int:
        """Return the number of products that pass a filter."""
        return self._counts.count(conditions)

    def facet(
        self, column: str, conditions: Filter, edges: Sequence[float] | None = None, *, limit: int | None = None
    ) -> list[FacetCount]:
        """Count the products that pass a filter by their value in a column, most frequent first.

        Args:
            edges: count by band of numbers instead; see ProductDatabase.bands.
            limit: maximum number of values.
        """
        return self._counts.facet(column, conditions, edges, limit=limit)

    def quantiles(self, column: str, shares: Sequence[float]) -> list[float]:
        """Return quantiles of a numeric column, of the largest segment that has it; [] where no product has a value.

        Args:
            shares: of the products, 0 to 1.
        """
        return self._counts.quantiles(column, shares)


def _merge(mappings: Iterable[dict[str, T]]) -> dict[str, T]:
    """Merge mappings; of equal keys, the last one's value is kept."""
    return {key: value for mapping in mappings for key, value in mapping.items()}
