"""Opens a segment and searches it. The package's docstring lists the files of a segment."""

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
from artifacts.products.database import ProductDatabase
from artifacts.products.table import ProductTable
from artifacts.segments.info import (
    INFO_FILE,
    LISTS_FILE,
    TOMBSTONES_FILE,
    VECTORS_FILE,
    index_file,
    read_info,
    verify_segment,
)
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.thumbnails import THUMBNAILS_FILE, Thumbnails

#: A way of searching that a caller may demand.
SearchPath = Literal["exact", "ivf"]

#: In an exact search, up to this many queries are scored one after the other.
_FEW_QUERIES = 4


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
        verify: check every file's size and sha256 first. False is only for callers that have just done so: FAISS loads
            damaged files without an error, and a file shorter than its mapping kills the process.
        threads: threads of one SQL statement.

    Attributes:
        info: the segment's description.
        vectors: exact scores.
        flat: the index if it is flat, else None.
        ivf: the index if it is an IVF, else None.
        lists: int32[rows], the IVF list of each row; None if the index is flat.
        products: product rows by number.
        database: product rows by filter, and counts.
        thumbnails: stored thumbnails; None where all pictures have a public URL.

    Raises:
        CorruptFile: a file is missing or differs from segment.json.
        IncompatibleRelease: the segment is in another format.
    """

    def __init__(self, folder: Path, *, verify: bool = True, threads: int = 1) -> None:
        self.folder = folder
        self.info = verify_segment(folder) if verify else read_info(folder)
        rows, flat = self.info.rows, self.info.index.codec == "flat"
        self._check_size("bytes of vectors", rows * self.info.dim * 2, self._bytes_of(VECTORS_FILE))
        self._check_size("bytes of lists", 0 if flat else rows * 4, self._bytes_of(LISTS_FILE))
        files = [folder / index_file(number) for number in range(self.info.index.files)]
        self.vectors = Vectors(folder / VECTORS_FILE, rows, self.info.dim)
        self.flat = FlatIndex(files[0]) if flat else None
        self.ivf = None if flat else IvfIndex(files)
        self.lists = None if flat else np.memmap(folder / LISTS_FILE, np.int32, "r", shape=(rows,))
        self._check_size("rows in the index", rows, self.flat.rows if self.flat else self.ivf.rows if self.ivf else 0)
        self.products = ProductTable(folder)
        self.database = ProductDatabase(folder, self.products.table.schema, threads=threads)
        self.thumbnails: Thumbnails | None = None
        try:
            self._check_size("product rows", rows, self.products.rows)
            if THUMBNAILS_FILE in self.info.files:
                self.thumbnails = Thumbnails(folder / THUMBNAILS_FILE)
        except BaseException:
            self.close()
            raise

    def _bytes_of(self, name: str) -> int:
        return self.info.files[name].bytes if name in self.info.files else 0

    def _check_size(self, noun: str, expected: int, actual: int) -> None:
        """Refuse files that are intact but do not belong together: mapping or searching them could crash."""
        if expected != actual:
            raise CorruptFile(str(self.folder / INFO_FILE), f"does not fit its files: {actual} {noun}, not {expected}")

    def close(self) -> None:
        """Close the files of product rows and thumbnails; mapped vectors and indexes go with the object."""
        self.products.close()
        self.database.close()
        if self.thumbnails:
            self.thumbnails.close()

    def column(self, name: str) -> pa.ChunkedArray:
        """Return all values of a column of the product rows, in row order."""
        return self.products.table.column(name)

    def product_ids(self, rows: np.ndarray) -> list[str]:
        """Return the product of each of these rows."""
        return self.products.product_ids(rows)

    @cached_property
    def tombstones(self) -> list[str]:
        """Ids of products that this segment deletes from older ones."""
        if not self.info.tombstones:
            return []
        return json.loads((self.folder / TOMBSTONES_FILE).read_bytes())

    # ── searching ────────────────────────────────────────────────────────────────────────────────────────────────

    def row_filter(self, rows: np.ndarray | None, excluded: np.ndarray | None = None) -> RowFilter:
        """Prepare a set of rows for `search`.

        Args:
            rows: row numbers int64; all rows if None.
            excluded: row numbers int64 to leave out.
        """
        mask = np.full(self.info.rows, rows is None)
        if rows is not None:
            mask[rows] = True
        if excluded is not None:
            mask[excluded] = False
        rows_per_list = None
        if self.ivf is not None and self.lists is not None:
            rows_per_list = np.bincount(self.lists[mask], minlength=self.ivf.lists)
        count = int(np.count_nonzero(mask))
        row_ids = np.flatnonzero(mask).astype(np.uint32) if count <= planner.MAX_EXACT_ROWS else None
        return RowFilter(count, np.packbits(mask, bitorder="little"), rows_per_list, row_ids)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        params: SearchParams,
        row_filter: RowFilter | None = None,
        *,
        path: SearchPath | None = None,
    ) -> tuple[list[Neighbors], Plan]:
        """Find the best rows for each query, by exact score. The rows of one query do not depend on the other queries.

        Args:
            queries: float32[n, dim], L2-normalised.
            k: rows for each query; min(k, allowed rows) are returned, however few are allowed.
            row_filter: the allowed rows; all if None.
            path: "exact" to score every allowed row, whatever it costs; "ivf" never to; None for the cheaper way.
        """
        total = self.info.rows if row_filter is None else row_filter.count
        k = min(k, total)
        if k <= 0:
            nothing = Neighbors(np.empty(0, np.float32), np.empty(0, np.int64))
            return [nothing for _ in queries], Plan("nothing", total)
        if self._is_exact(params, k, row_filter, path):
            neighbors = self._search_exactly(queries, k, None if row_filter is None else row_filter.rows)
            return neighbors, Plan("exact", total, candidates=total * len(queries))
        if self.flat is not None:
            bitmap = None if row_filter is None else row_filter.bitmap
            return [Neighbors(*self.flat.search(query, k, bitmap)) for query in queries], Plan("flat", total)
        return self._search_ivf(queries, k, params, row_filter, total)

    def _is_exact(self, params: SearchParams, k: int, row_filter: RowFilter | None, path: SearchPath | None) -> bool:
        if path is not None:
            return path == "exact"
        if row_filter is None:
            return False
        if self.ivf is None:
            return planner.gathering_is_cheaper(self.info.rows, row_filter.count)
        return planner.exact_is_cheaper(self.ivf.shape, params, k, row_filter.count, row_filter.useful_lists)

    def _search_exactly(self, queries: np.ndarray, k: int, rows: np.ndarray | None) -> list[Neighbors]:
        if len(queries) <= _FEW_QUERIES:
            rows = np.arange(self.info.rows) if rows is None else rows
            return [Neighbors(*self.vectors.score(query, rows, k)) for query in queries]
        # Matrix products read the vectors once for all queries; a few rows more, since the last bit may differ.
        total = self.info.rows if rows is None else len(rows)
        _, nearest = self.vectors.knn(queries, min(total, k + 10), rows)
        return [
            Neighbors(*self.vectors.score(query, query_rows, k))
            for query, query_rows in zip(queries, nearest, strict=True)
        ]

    def _search_ivf(
        self, queries: np.ndarray, k: int, params: SearchParams, row_filter: RowFilter | None, total: int
    ) -> tuple[list[Neighbors], Plan]:
        assert self.ivf is not None  # noqa: S101  (a segment is flat or IVF)
        if row_filter is None:
            bitmap, rows_per_list = None, None
            useful, probes, rescore = self.ivf.lists, min(self.ivf.lists, params.nprobe), params.rescore
        else:
            bitmap, rows_per_list = row_filter.bitmap, row_filter.rows_per_list
            useful, rescore = row_filter.useful_lists, params.filtered_rescore
            probes = planner.probes_for(self.ivf.shape, params, row_filter.count, useful)
        depth = planner.candidates_for(k, rescore)
        neighbors: dict[int, Neighbors] = {}
        unfinished, scored = list(range(len(queries))), 0
        while unfinished:
            candidates = self.ivf.candidates(
                queries[unfinished], min(total, depth), probes, bitmap=bitmap, rows_per_list=rows_per_list
            )
            scored += int((candidates >= 0).sum())
            for number, rows in zip(unfinished, candidates, strict=True):
                neighbors[number] = Neighbors(*self.vectors.score(queries[number], rows[rows >= 0], k))
            # The nearest lists may hold too few allowed rows: probe more until there are enough or no list is left.
            unfinished = [number for number in unfinished if len(neighbors[number].rows) < k]
            if not unfinished or probes >= useful:
                break
            probes = min(useful, probes * 4)
        return [neighbors[number] for number in range(len(queries))], Plan("ivf", total, probes, scored)
