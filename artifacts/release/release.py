"""Opens a release, searches it, and knows its products."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from artifacts.engines.pool import EnginePool
from artifacts.index.params import SearchParams
from artifacts.products.database import FacetCount
from artifacts.products.filters import Filter
from artifacts.release.counts import ProductCounts
from artifacts.release.hits import Hit, Picture
from artifacts.release.opening import close_unshared, open_database, open_segments
from artifacts.release.product_rows import ProductRows
from artifacts.release.row_filters import ReleaseFilters
from artifacts.release.search import search_products, validate_queries
from artifacts.schema import is_http
from artifacts.segments.engine_vectors import take_vectors
from artifacts.segments.info import delta_share, quantizer_drift
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.search.candidates import Plan
from artifacts.segments.search.searcher import ENGINE_SECONDS, Searcher
from artifacts.segments.segment import Segment
from artifacts.store.manifest import Manifest


class Release:
    """A base and its delta, if it has one. Safe to use from several threads at once.

    Rows are numbered through the release: those of the base, then those of the delta.

    Args:
        manifest: of the version.
        folders: the segments' folders on this machine, in the manifest's order.
        verify: check every file's digest before it is mapped; see Segment.
        threads: threads of one SQL statement.
        opened: segments of other releases. Those that this release has too are shared, not opened again.
        to_serve: whether vectors that the engine has are left to it, as on a server.
        engines: of this process, for a release whose candidates an engine finds.

    Attributes:
        segments: the base, and the delta if there is one.
        base, delta: the same; delta is None if there is none.
        searcher: of both.
        columns: the columns that can be filtered on, with their Arrow types; where base and delta differ, the delta's.

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
        to_serve: bool = False,
        engines: EnginePool | None = None,
    ) -> None:
        self.manifest = manifest
        open_engine = partial((engines or EnginePool()).engine, recorded_url=manifest.engine_url)
        self.segments = open_segments(
            manifest, folders, opened, verify=verify, threads=threads, to_serve=to_serve, open_engine=open_engine
        )
        self.base = self.segments[0]
        self.delta = self.segments[1] if len(self.segments) > 1 else None
        try:
            self._database = open_database(self.base, self.delta, threads)
            self._rows = ProductRows(self.base, self.delta)
        except BaseException:
            close_unshared(self.segments, opened)
            raise
        self.columns = self._rows.columns
        self.searcher = Searcher(self.base, self.delta)
        self._filters = ReleaseFilters(self.base, self.delta, self.searcher, self._database)
        self._counts = ProductCounts(self.base, self.delta, self._filters, self._database, self.columns)

    def close(self) -> None:
        """Close all segments, also those that are shared with other releases."""
        self.close_unshared(())

    def close_unshared(self, opened: Collection[Segment]) -> None:
        """Close what no other release uses.

        Args:
            opened: the segments of the other releases.
        """
        self.searcher.close()
        if self.delta is not None:
            self._database.close()
        close_unshared(self.segments, opened)

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
        seconds: float = ENGINE_SECONDS,
    ) -> tuple[list[list[Hit]], Plan]:
        """Find the best `k` products for each query. The hits of one query do not depend on the other queries.

        Args:
            queries: float32[n, dim], L2-normalised.
            k: hits for each query; as many are returned whenever so many products pass the filter.
            conditions: only products that pass them.
            excluded: for each query the ids of products to leave out; none for any query if empty.
            exact: score every allowed row, whatever it costs.
            seconds: after which an engine's answer is no longer waited for.

        Returns:
            For each query its hits, by descending score (equal scores by row); the plan of the search.

        Raises:
            QueryError: a vector has another length, or no direction (NaN, infinity, zeros).
            EngineUnavailable: an engine does not answer in time.
        """
        queries = validate_queries(queries, self.base.info.dim)
        return search_products(
            self.searcher,
            self._rows.product_ids,
            max(segment.info.max_pictures for segment in self.segments),
            self._filters.get(conditions),
            queries,
            k,
            params,
            excluded=excluded or [()] * len(queries),
            exact=exact,
            seconds=seconds,
        )

    def row_filter(self, conditions: Filter) -> RowFilter | None:
        """Return the rows that pass a filter and are not deleted; None for the empty filter."""
        return self._filters.get(conditions)

    # ── products ─────────────────────────────────────────────────────────────────────────────────────────────────

    def locate(self, product_id: str) -> np.ndarray | None:
        """Return the rows of a product's pictures, int64; None if it is not in the release."""
        if self.delta is not None:
            changed = self._database.changed_rows_of([product_id])
            if len(changed):
                return changed  # of the delta, or of the base with the delta's attributes
        assert self.base.database is not None  # noqa: S101  (a base has one)
        rows = self.base.database.base_rows_of([product_id])
        rows = rows[~self.searcher.is_deleted(rows)]
        return rows if len(rows) else None

    def __contains__(self, product_id: str) -> bool:
        return self.locate(product_id) is not None

    def product(self, product_id: str) -> list[dict[str, Any]] | None:
        """Return a product's results, one for each picture in the catalog's order; None if it is not in the release."""
        rows = self.locate(product_id)
        return None if rows is None else self._rows.to_results(rows)

    def picture(self, product_id: str, number: int) -> Picture | None:
        """Return a picture of a product; None if the product or the picture is not in the release.

        Args:
            number: position in the product's list of pictures, from 0.
        """
        rows = self.locate(product_id)
        if rows is None:
            return None
        for row, values in zip(rows.tolist(), self._rows.take(rows, ["picture", "image_url"]), strict=True):
            if values["picture"] == number:
                url = values["image_url"]
                return Picture(url, None if is_http(url) else self.thumbnail(row))
        return None

    def thumbnail(self, row: int) -> bytes | None:
        """Return the stored thumbnail of a row, JPEG; None where none is stored."""
        return self.thumbnails(np.array([row]))[0]

    def thumbnails(self, rows: np.ndarray) -> list[bytes | None]:
        """Return the stored thumbnail of each of the rows int64[n], JPEG; None where none is stored."""
        return self._rows.thumbnails(rows)

    def product_vectors(self, product_id: str, seconds: float = ENGINE_SECONDS) -> np.ndarray | None:
        """Return the stored vectors of a product, float32[pictures, dim]; None if there is none. See `take_vectors`."""
        rows = self.locate(product_id)
        return None if rows is None else take_vectors(self.searcher.vectors, rows, seconds)

    def matching(self, product_ids: Iterable[str], conditions: Filter) -> list[Hit]:
        """Return a hit, of score 1, for each of the products that passes a filter; unknown ids are left out."""
        rows = [int(rows[0]) for rows in map(self.locate, product_ids) if rows is not None]
        if not rows:
            return []  # without preparing the filter
        row_filter = self._filters.get(conditions)
        return [Hit(1.0, row) for row in rows if row_filter is None or row in row_filter]

    # ── rows of hits ─────────────────────────────────────────────────────────────────────────────────────────────

    def product_ids(self, hits: Sequence[Hit]) -> list[str]:
        """Return the product of each hit."""
        return self._rows.product_ids(_rows_of(hits))

    def values(self, hits: Sequence[Hit], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return the product row of each hit as a dict.

        Args:
            columns: names; all columns if None.
        """
        return self._rows.take(_rows_of(hits), columns)

    def to_results(self, hits: Sequence[Hit]) -> list[dict[str, Any]]:
        """Return the product row of each hit as a dict of an answer; see ProductTable.to_results."""
        return self._rows.to_results(_rows_of(hits))

    def arrays(self, hits: Sequence[Hit], columns: Iterable[str]) -> dict[str, np.ndarray]:
        """Return columns of the hits' product rows as arrays [n]; see ProductRows.arrays."""
        return self._rows.arrays(_rows_of(hits), columns)

    def vectors(self, hits: Sequence[Hit], seconds: float = ENGINE_SECONDS) -> np.ndarray:
        """Return the stored vector of each hit's picture, float32[n, dim]; see `take_vectors`."""
        return take_vectors(self.searcher.vectors, _rows_of(hits), seconds)

    def ping_engine(self, seconds: float) -> None:
        """Return if the engine can search all segments, or there is none; see Segment.ping_engine for the errors."""
        ends = time.monotonic() + seconds
        for each in self.segments:
            each.ping_engine(max(0.001, ends - time.monotonic()))

    # ── the whole release ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def products(self) -> int:
        """Number of products that can be found."""
        return self._counts.products

    @property
    def pictures(self) -> int:
        """Number of pictures that can be found."""
        return self._counts.pictures

    @property
    def delta_share(self) -> float:
        """The share of the base's rows that the delta touches; see `artifacts.segments.info.delta_share`."""
        return delta_share([segment.info for segment in self.segments])

    @property
    def drift(self) -> float | None:
        """How far the rows have moved away from the lists that were trained; see `quantizer_drift`."""
        return quantizer_drift([segment.info for segment in self.segments])

    @property
    def rows(self) -> ProductRows:
        """The product rows by number."""
        return self._rows

    @property
    def attributes(self) -> list[str]:
        """Names of the catalog's own columns."""
        return self._rows.attributes

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
        """Return quantiles of a numeric column over the products; [] where no product has a value.

        Args:
            shares: of the products, 0 to 1.
        """
        return self._counts.quantiles(column, shares)


def _rows_of(hits: Sequence[Hit]) -> np.ndarray:
    return np.array([hit.row for hit in hits], np.int64)
