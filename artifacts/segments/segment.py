"""A segment: an immutable set of indexed pictures with their vectors, index and product rows, in one folder.

    segment.json         SegmentInfo: counts, encoder, index, sha256 and size of every other file
    vectors.f16          float16[rows, dim], L2-normalised, row-major: exact scores
    index-00000.faiss …  IVF files with row numbers as ids; or one flat file
    lists.i32            int32[rows]: the IVF list of each row (not for flat)
    products.arrow       product rows in row order: to show
    products.duckdb      the same rows: to filter and count, and product_id -> rows
    thumbnails.parquet   only where pictures have no public URL
    tombstones.json      ids of products deleted from older segments; only where there are any

Whoever writes a segment and whoever searches it use these same classes, so what the gate measures is what is served.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from artifacts.errors import CorruptFile
from artifacts.index import planner
from artifacts.index.faiss_index import FlatIndex, IvfIndex
from artifacts.index.params import SearchParams
from artifacts.index.vectors import Vectors
from artifacts.products.table import Products
from artifacts.segments.info import INFO_FILE, LISTS_FILE, TOMBSTONES_FILE, VECTORS_FILE, read_info, verify_segment
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.thumbnails import THUMBNAILS_FILE, Thumbnails

#: How a search may be done.
SearchPath = Literal["exact", "ivf"]

#: Up to so many queries are scored one after the other when the search is exact.
_FEW_QUERIES = 4

#: In a flat index, gathering the allowed rows beats stepping over the others while they are less than this share.
_SPARSE = 0.25


@dataclass(frozen=True)
class Plan:
    """How a search was done, for `explain`."""

    path: str  # nothing | flat | exact | ivf
    allowed: int  # rows that it could return
    probes: int = 0  # IVF lists probed for each query
    candidates: int = 0  # rows scored exactly, over all queries


@dataclass(frozen=True)
class Neighbors:
    """The best rows for one query: scores float32[j] descending, rows int64[j]; equal scores by ascending row."""

    scores: np.ndarray
    rows: np.ndarray


class Segment:
    """An open segment. Searching is safe from several threads at once.

    Args:
        folder: on this machine.
        verify: check every file's size and sha256 first. Only a caller that has just done so may say no: FAISS loads
            damaged files excluded a word, and a file shorter than its mapping kills the process.
        threads: threads of one SQL statement.

    Raises:
        CorruptFile: a file is missing or differs from segment.json.
        IncompatibleRelease: written in another format.
    """

    def __init__(self, folder: Path, *, verify: bool = True, threads: int = 1) -> None:
        self.folder = folder
        self.info = verify_segment(folder) if verify else read_info(folder)
        rows, flat = self.info.rows, self.info.index.codec == "flat"
        self._check("vectors", rows * self.info.dim * 2, self._bytes_of(VECTORS_FILE))
        self._check("lists", 0 if flat else rows * 4, self._bytes_of(LISTS_FILE))
        files = [folder / f"index-{number:05d}.faiss" for number in range(self.info.index.files)]
        self.vectors = Vectors(folder / VECTORS_FILE, rows, self.info.dim)
        self.flat = FlatIndex(files[0]) if flat else None
        self.ivf = None if flat else IvfIndex(files)
        self.lists = None if flat else np.memmap(folder / LISTS_FILE, np.int32, "r", shape=(rows,))
        self._check("rows in the index", rows, self.flat.rows if self.flat else self.ivf.rows if self.ivf else 0)
        self.products = Products(folder, threads=threads)
        self.thumbnails: Thumbnails | None = None
        try:
            self._check("product rows", rows, self.products.rows)
            if THUMBNAILS_FILE in self.info.files:
                self.thumbnails = Thumbnails(folder / THUMBNAILS_FILE)
        except BaseException:
            self.close()
            raise

    def _bytes_of(self, name: str) -> int:
        return self.info.files[name].bytes if name in self.info.files else 0

    def _check(self, what: str, expected: int, found: int) -> None:
        """Files may be whole each, and still not belong together: mapping or searching them would end badly."""
        if expected != found:
            raise CorruptFile(str(self.folder / INFO_FILE), f"its {what} do not add up: {found}, not {expected}")

    def close(self) -> None:
        self.products.close()
        if self.thumbnails:
            self.thumbnails.close()

    def column(self, name: str) -> pa.ChunkedArray:
        """All values of a column of the product rows, in row order."""
        return self.products.table.column(name)

    def product_ids(self, rows: np.ndarray) -> list[str]:
        """The product of each of these rows."""
        return self.products.product_ids(rows)

    @cached_property
    def tombstones(self) -> list[str]:
        """Ids of products that this segment deletes from older ones."""
        if not self.info.tombstones:
            return []
        return json.loads((self.folder / TOMBSTONES_FILE).read_bytes())

    def row_filter(self, rows: np.ndarray | None, excluded: np.ndarray | None = None) -> RowFilter:
        """Prepare int64 row numbers for `search`: `rows`, or all if None, except `excluded`."""
        mask = np.full(self.info.rows, rows is None)
        if rows is not None:
            mask[rows] = True
        if excluded is not None:
            mask[excluded] = False
        per_list = None
        if self.ivf is not None and self.lists is not None:
            per_list = np.bincount(self.lists[mask], minlength=self.ivf.lists)
        count = int(np.count_nonzero(mask))
        row_ids = np.flatnonzero(mask).astype(np.uint32) if count <= planner.EXACT_ROWS_AT_MOST else None
        return RowFilter(count, np.packbits(mask, bitorder="little"), per_list, row_ids)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        params: SearchParams,
        row_filter: RowFilter | None = None,
        *,
        path: SearchPath | None = None,
    ) -> tuple[list[Neighbors], Plan]:
        """The best `k` rows for each query, by exact score. What is found for one does not depend on the others.

        Args:
            queries: float32[n, dim], L2-normalised.
            row_filter: only these rows; all if None. min(k, allowed rows) are returned, however row_ids these are.
            path: "exact" to score every allowed row, whatever it costs; "ivf" never to; None for what is cheaper.
        """
        total = self.info.rows if row_filter is None else row_filter.count
        k = min(k, total)
        if k <= 0:
            nothing = Neighbors(np.empty(0, np.float32), np.empty(0, np.int64))
            return [nothing for _ in queries], Plan("nothing", total)
        if self._exactly(params, k, row_filter, path):
            found = self._search_exactly(queries, k, None if row_filter is None else row_filter.rows)
            return found, Plan("exact", total, candidates=total * len(queries))
        if self.flat is not None:
            bitmap = None if row_filter is None else row_filter.bitmap
            return [Neighbors(*self.flat.search(query, k, bitmap)) for query in queries], Plan("flat", total)
        return self._search_ivf(queries, k, params, row_filter, total)

    def _exactly(self, params: SearchParams, k: int, row_filter: RowFilter | None, path: SearchPath | None) -> bool:
        if path is not None:
            return path == "exact"
        if row_filter is None:
            return False
        if self.ivf is None:
            return row_filter.count < _SPARSE * self.info.rows
        return planner.exact_is_cheaper(self.ivf.shape, params, k, row_filter.count, row_filter.useful_lists)

    def _search_exactly(self, queries: np.ndarray, k: int, rows: np.ndarray | None) -> list[Neighbors]:
        if len(queries) <= _FEW_QUERIES:
            rows = np.arange(self.info.rows) if rows is None else rows
            return [Neighbors(*self.vectors.score(query, rows, k)) for query in queries]
        # Matrix products read the vectors once for all queries; a row_ids rows more, since the last bit may differ.
        total = self.info.rows if rows is None else len(rows)
        _, nearest = self.vectors.knn(queries, min(total, k + 10), rows)
        return [Neighbors(*self.vectors.score(*pair, k)) for pair in zip(queries, nearest, strict=True)]

    def _search_ivf(
        self, queries: np.ndarray, k: int, params: SearchParams, row_filter: RowFilter | None, total: int
    ) -> tuple[list[Neighbors], Plan]:
        assert self.ivf is not None  # noqa: S101  (a segment is flat or IVF)
        bitmap, per_list = (None, None) if row_filter is None else (row_filter.bitmap, row_filter.rows_per_list)
        if row_filter is None:
            useful, probes, rescore = self.ivf.lists, min(self.ivf.lists, params.nprobe), params.rescore
        else:
            useful, rescore = row_filter.useful_lists, params.filtered_rescore
            probes = planner.probes_for(self.ivf.shape, params, row_filter.count, useful)
        depth = planner.candidates_for(k, rescore)
        found: list[Neighbors | None] = [None] * len(queries)
        open_queries, most_probes, scored = list(range(len(queries))), probes, 0
        while open_queries:
            candidates = self.ivf.candidates(
                queries[open_queries], min(total, depth), probes, bitmap=bitmap, rows_per_list=per_list
            )
            scored += int((candidates >= 0).sum())
            for number, rows in zip(open_queries, candidates, strict=True):
                found[number] = Neighbors(*self.vectors.score(queries[number], rows[rows >= 0], k))
            most_probes = probes
            if probes >= useful:
                break
            # Too row_ids allowed rows in the nearest lists: look further until there are enough or no list is left.
            open_queries = [number for number in open_queries if len(found[number].rows) < k]  # type: ignore[union-attr]
            probes = min(useful, probes * 4)
        return [each for each in found if each is not None], Plan("ivf", total, most_probes, scored)
