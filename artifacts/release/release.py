"""An open release: all segments of one version, searched as one.

A newer segment replaces products of older ones and deletes them by its tombstones: rows of theirs are dead, and no
search returns them. Results are products, each with its best-matching picture.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from cachetools import LRUCache

from artifacts.errors import CorruptFile, IncompatibleRelease, QueryError
from artifacts.index.params import SearchParams
from artifacts.products.filters import Filter
from artifacts.products.table import FacetCount
from artifacts.segments.info import INFO_FILE, read_info, sha256_of_info
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.segment import Plan, Segment
from artifacts.store.manifest import Manifest

_Of = TypeVar("_Of")

#: Bytes of prepared filters that one release keeps.
_FILTER_CACHE = 256 * 2**20


class Hit(NamedTuple):
    """One product found, with the picture that matched best."""

    score: float  # cosine with the query
    segment: int  # position in the release
    row: int  # in the segment


@dataclass(frozen=True)
class Picture:
    """A picture of a product: its URL or path as the catalog names it, and the stored thumbnail where there is one."""

    url: str
    thumbnail: bytes | None  # JPEG


class Release:
    """All segments of a version. Searching is safe from several threads at once.

    Args:
        manifest: of the version.
        folders: the segments' folders on this machine, in the manifest's order.
        verify: check every file's digest before it is mapped; see Segment.
        threads: threads of one SQL statement.
        opened: segments of other releases. Those that are also in this one are shared with them, not opened again.

    Raises:
        CorruptFile, IncompatibleRelease: see Segment; also where segments do not fit the manifest or each other.
            Nothing is left open.
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
        self.segments: list[Segment] = []
        at_hand = {segment.folder: segment for segment in opened}
        try:
            for reference, folder in zip(manifest.segments, folders, strict=True):
                if sha256_of_info(folder) != reference.info_sha256:
                    raise CorruptFile(str(folder / INFO_FILE), "is not the one that the manifest names")
                shared = at_hand.get(folder)
                if shared is None or shared.info != read_info(folder):
                    shared = Segment(folder, verify=verify, threads=threads)
                self.segments.append(shared)
            self._check_spaces()
            self._deleted = [self._deleted_rows(number) for number in range(len(self.segments))]
            self._first_pictures = [
                None if segment.info.max_pictures <= 1 else segment.row_filter(segment.products.first_pictures()).bitmap
                for segment in self.segments
            ]
        except BaseException:
            for segment in self.segments:
                if segment not in opened:
                    segment.close()
            raise
        #: Columns that can be filtered on in any of the segments, with their Arrow types; the newest segment's.
        self.columns = {name: kind for segment in self.segments for name, kind in segment.products.columns.items()}
        self._nothing = {name: value for segment in self.segments for name, value in segment.products.nothing.items()}
        self._row_filters: LRUCache[Filter, list[RowFilter | None]] = LRUCache(_FILTER_CACHE, getsizeof=_size_of)
        self._row_filters_lock = threading.Lock()

    def _check_spaces(self) -> None:
        """Scores mean something only between vectors of one encoder."""
        encoder, metric = self.manifest.encoder["id"], self.manifest.metric
        dim = self.segments[0].info.dim if self.segments else 0
        for info in (segment.info for segment in self.segments):
            if (info.encoder_id, info.metric, info.dim) != (encoder, metric, dim):
                raise IncompatibleRelease(
                    f"version {self.manifest.version} is of {encoder}, {dim}-d by {metric}, but its segment {info.id} "
                    f"of {info.encoder_id}, {info.dim}-d by {info.metric}"
                )

    def close(self) -> None:
        """Close all segments, those that are shared, too."""
        for segment in self.segments:
            segment.close()

    # ── what there is ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def pictures(self) -> int:
        """Pictures that can be found."""
        dead = sum(0 if rows is None else len(rows) for rows in self._deleted)
        return sum(segment.info.rows for segment in self.segments) - dead

    def locate(self, product_id: str) -> tuple[int, np.ndarray] | None:
        """The segment and the rows of a product's pictures, or None if it is not in the release."""
        for number in reversed(range(len(self.segments))):
            rows = self.segments[number].products.rows_of([product_id])
            if len(rows):
                return number, rows
            if product_id in self.segments[number].tombstones:
                return None
        return None

    def __contains__(self, product_id: str) -> bool:
        return self.locate(product_id) is not None

    def product(self, product_id: str) -> list[dict[str, Any]] | None:
        """The rows of a product as `to_results` gives them, one per picture in the catalog's order; None if unknown."""
        located = self.locate(product_id)
        if located is None:
            return None
        segment, rows = located
        return self.segments[segment].products.to_results(rows)

    def picture(self, product_id: str, number: int) -> Picture | None:
        """One picture of a product, or None if the product or the picture is not in the release.

        Args:
            number: position in the product's list of pictures, from 0.
        """
        located = self.locate(product_id)
        if located is None:
            return None
        segment = self.segments[located[0]]
        for row, values in zip(located[1], segment.products.take(located[1], ["picture", "image_url"]), strict=True):
            if values["picture"] == number:
                thumbnail = segment.thumbnails.get(int(row)) if segment.thumbnails else None
                return Picture(values["image_url"], thumbnail)
        return None

    def matching(self, product_ids: Iterable[str], conditions: Filter) -> list[Hit]:
        """Those of the products that pass a filter, each by one of its rows; unknown ids are left out."""
        row_filters = self.row_filters(conditions)
        hits: list[Hit] = []
        for located in map(self.locate, product_ids):
            if located is not None:
                segment, row = located[0], int(located[1][0])
                row_filter = row_filters[segment]
                if row_filter is None or row in row_filter:
                    hits.append(Hit(1.0, segment, row))
        return hits

    def column(self, name: str) -> pa.ChunkedArray:
        """All values of a column of the product rows, segment after segment, rows that were replaced included."""
        return pa.chunked_array([chunk for segment in self.segments for chunk in segment.column(name).chunks])

    @property
    def attributes(self) -> list[str]:
        """Names of the catalog's own columns, of the newest segment."""
        return self.segments[-1].products.attributes if self.segments else []

    @property
    def lists(self) -> int:
        """IVF lists of the largest index; 0 where every index is flat."""
        return max((segment.info.index.lists for segment in self.segments), default=0)

    def product_ids(self, hits: Sequence[Hit]) -> list[str]:
        """The products of hits, in their order."""
        return self._of_each(hits, lambda segment, rows: segment.products.product_ids(rows))

    def values(self, hits: Sequence[Hit], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The product rows of hits, in their order; only these columns if any are named."""
        return self._of_each(hits, lambda segment, rows: segment.products.take(rows, columns))

    def arrays(self, hits: Sequence[Hit], columns: Iterable[str]) -> dict[str, np.ndarray]:
        """The same by columns, [n] each, as `artifacts.products.table.as_numpy` has them.

        A column is of the newest segment's type; where another segment's differs, there is no value. One that no
        segment has is NaN.
        """
        unknown = np.array([np.nan])
        found = {name: np.repeat(self._nothing.get(name, unknown), len(hits)) for name in columns}
        for segment, places, rows in self._by_segment(hits):
            for name, values in segment.products.arrays(rows, found).items():
                if values.dtype == found[name].dtype:
                    found[name][places] = values
        return found

    def to_results(self, hits: Sequence[Hit]) -> list[dict[str, Any]]:
        """Hits as answers show them, in their order; see Products.shown."""
        return self._of_each(hits, lambda segment, rows: segment.products.to_results(rows))

    def _of_each(self, hits: Sequence[Hit], take: Callable[[Segment, Sequence[int]], list[_Of]]) -> list[_Of]:
        """What `take` knows of the rows of hits, asked once for each segment, in the order of the hits."""
        found: dict[int, _Of] = {}
        for segment, places, rows in self._by_segment(hits):
            found.update(zip(places, take(segment, rows), strict=True))
        return [found[place] for place in range(len(hits))]

    def _by_segment(self, hits: Sequence[Hit]) -> Iterator[tuple[Segment, list[int], list[int]]]:
        """For each segment that hits are in: their places among the hits, and their rows in the segment."""
        for number, segment in enumerate(self.segments):
            places = [place for place, hit in enumerate(hits) if hit.segment == number]
            if places:
                yield segment, places, [hits[place].row for place in places]

    def product_vectors(self, product_id: str) -> np.ndarray | None:
        """float32[pictures, dim] as stored, or None if the product is not in the release."""
        place = self.locate(product_id)
        return None if place is None else self.segments[place[0]].vectors.take(place[1])

    def vectors(self, hits: Sequence[Hit]) -> np.ndarray:
        """float32[n, dim]: the stored vector of each hit's picture."""
        dim = self.segments[0].info.dim if self.segments else 0
        vectors = np.empty((len(hits), dim), np.float32)
        for segment, places, rows in self._by_segment(hits):
            vectors[places] = segment.vectors.take(np.array(rows, np.int64))
        return vectors

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
        """The best `k` products for each query. What is found for one does not depend on the others.

        Args:
            queries: float32[n, dim], L2-normalised.
            conditions: only products that pass them; `k` are returned whenever so many exist.
            excluded: for each query the ids of products that are left out; nothing for all if empty.
            exact: score every allowed row, whatever it costs.

        Returns:
            For each query its hits, by descending score (equal scores by segment and row), and the plan per segment.

        Raises:
            QueryError: a vector of another length, or one that has no direction (NaN, infinity, zeros).
        """
        queries = self._checked(queries)
        left_out = list(excluded) or [()] * len(queries)
        hits: list[list[Hit]] = [[] for _ in queries]
        plans: list[Plan] = []
        for number, (segment, allowed) in enumerate(zip(self.segments, self.row_filters(conditions), strict=True)):
            found, plan = self._search_segment(number, segment, allowed, queries, k, params, left_out, exact)
            plans.append(plan)
            hits = [ours + theirs for ours, theirs in zip(hits, found, strict=True)]
        if len(self.segments) > 1:
            hits = [sorted(each, key=lambda hit: (-hit.score, hit.segment, hit.row))[:k] for each in hits]
        return hits, plans

    def _checked(self, queries: np.ndarray) -> np.ndarray:
        queries = np.ascontiguousarray(queries, np.float32)
        dim = self.segments[0].info.dim if self.segments else queries.shape[-1]
        if queries.ndim != 2 or queries.shape[1] != dim:
            raise QueryError("vector", f"a query vector has {queries.shape[-1]} numbers; this release needs {dim}")
        # FAISS would take these, and answer with anything.
        if not np.isfinite(queries).all() or not queries.any(axis=1).all():
            raise QueryError("vector", "a query vector is all zeros, or holds NaN or infinity")
        return queries

    def _search_segment(
        self, number: int, segment: Segment, allowed: RowFilter | None, queries: np.ndarray, k: int,
        params: SearchParams, excluded: Sequence[Collection[str]], exact: bool,
    ) -> tuple[list[list[Hit]], Plan]:  # fmt: skip
        rows_in_all = segment.info.rows if allowed is None else allowed.count
        if k <= 0 or len(queries) == 0:
            return [[] for _ in queries], Plan("nothing", rows_in_all)
        # Pictures of one product count once: ask for more rows until there are enough products, or no more rows.
        pictures = max(1, segment.info.max_pictures)
        wanted = [min(rows_in_all, (k if pictures == 1 else 2 * k) + pictures * len(out)) for out in excluded]
        hits: list[list[Hit]] = [[] for _ in queries]
        plans: list[Plan] = []
        for rows in sorted(set(wanted)):
            group = [place for place, each in enumerate(wanted) if each == rows]
            while group:
                found, plan = segment.search(queries[group], rows, params, allowed, path="exact" if exact else None)
                plans.append(plan)
                for place, each in zip(group, found, strict=True):
                    hits[place] = self._products(number, segment, each.scores, each.rows, k, excluded[place])
                if rows >= rows_in_all:
                    break
                group = [place for place in group if len(hits[place]) < k]
                rows = min(rows_in_all, 4 * max(1, rows))
        return hits, replace(
            plans[-1],
            probes=max(plan.probes for plan in plans),
            candidates=sum(plan.candidates for plan in plans),
        )

    @staticmethod
    def _products(
        number: int, segment: Segment, scores: np.ndarray, rows: np.ndarray, k: int, excluded: Collection[str]
    ) -> list[Hit]:
        places: Iterable[int] = range(len(rows))
        if segment.info.max_pictures > 1 or excluded:
            first: dict[str, int] = {}
            for place, product_id in enumerate(segment.products.product_ids(rows)):
                first.setdefault(product_id, place)
            places = [place for product_id, place in first.items() if product_id not in excluded]
        # Hit(…) a hundred times is a sixth of a search's time in Python; this is what it does.
        found = zip(scores.tolist(), itertools.repeat(number), rows.tolist(), strict=False)
        hits = list(map(tuple.__new__, itertools.repeat(Hit), found))
        return [hits[place] for place in itertools.islice(places, k)]

    # ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────

    def row_filters(self, conditions: Filter) -> list[RowFilter | None]:
        """For each segment the rows that are alive and pass the filter; None where that is all of them. Cached."""
        with self._row_filters_lock:
            cached = self._row_filters.get(conditions)
        if cached is not None:
            return cached
        made = [self._make_row_filter(number, conditions) for number in range(len(self.segments))]
        with self._row_filters_lock:
            if _size_of(made) <= self._row_filters.maxsize:
                self._row_filters[conditions] = made
        return made

    def _make_row_filter(self, number: int, conditions: Filter) -> RowFilter | None:
        segment, dead = self.segments[number], self._deleted[number]
        if not conditions and dead is None:
            return None
        return segment.row_filter(segment.products.matching_rows(conditions) if conditions else None, excluded=dead)

    def count(self, conditions: Filter) -> int:
        """How many products pass a filter."""
        total = 0
        for number, (segment, allowed) in enumerate(zip(self.segments, self.row_filters(conditions), strict=True)):
            first = self._first_pictures[number]
            if allowed is None:
                total += segment.info.products
            else:
                total += allowed.count if first is None else int(np.bitwise_count(first & allowed.bitmap).sum())
        return total

    def facet(
        self, column: str, conditions: Filter, edges: Sequence[float] | None = None, *, limit: int | None = None
    ) -> list[FacetCount]:
        """Number of products for each value of a column, over all that pass a filter; most frequent first.

        Args:
            edges: count numbers by band instead; see Products.bands.
            limit: no more values than these.
        """
        # Segments may disagree on a column's type: the newest one's is the release's.
        dtype = self.columns.get(column)
        alone = len(self.segments) == 1
        counts: dict[Any, int] = {}
        for segment, dead in zip(self.segments, self._deleted, strict=True):
            if edges is None:
                found = segment.products.facet(column, conditions, dead, dtype=dtype, limit=limit if alone else None)
            else:
                found = segment.products.bands(column, edges, conditions, dead)
            for value in found:
                counts[value.value] = counts.get(value.value, 0) + value.count
        ranked = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
        return [FacetCount(*item) for item in ranked[:limit]]

    def quantiles(self, column: str, shares: Sequence[float]) -> list[float]:
        """Quantiles of a column of numbers, of the largest segment that has it; [] where no product has a value."""
        having = [segment for segment in self.segments if column in segment.products.columns]
        return max(having, key=lambda each: each.info.rows).products.quantiles(column, shares) if having else []

    def _deleted_rows(self, number: int) -> np.ndarray | None:
        """Rows int64, ascending, whose product a newer segment has replaced or deleted; None if there are none."""
        newer = self.segments[number + 1 :]
        ids = {product_id for segment in newer for product_id in segment.tombstones}
        for segment in newer:
            ids.update(segment.products.table.column("product_id").to_pylist())
        if not ids:
            return None
        rows = self.segments[number].products.rows_of(sorted(ids))
        return rows if len(rows) else None


def _size_of(allowed: list[RowFilter | None]) -> int:
    return 1000 + sum(0 if each is None else each.nbytes for each in allowed)
