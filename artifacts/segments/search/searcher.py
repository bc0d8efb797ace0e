"""Searches the rows of a base, or of a base and its delta, as one."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np

from artifacts.index.params import SearchParams
from artifacts.products.filters import Filter
from artifacts.segments.row_filter import RowFilter, base_row_filter, changed_row_filter, rows_of_bitmaps
from artifacts.segments.search.candidates import Candidates, Neighbors, Plan, Rows
from artifacts.segments.search.engine import EngineCandidates
from artifacts.segments.search.ivf import IvfCandidates
from artifacts.segments.search.whole import WholeCandidates
from artifacts.segments.segment import Segment

#: A way of searching that a caller may demand.
SearchPath = Literal["exact", "ivf"]

#: Seconds that an engine has for a search that names no others.
ENGINE_SECONDS = 30.0

#: In an exact search, up to this many queries are scored one after the other.
_FEW_QUERIES = 4


class Searcher:
    """Searches a base and its delta. Safe to use from several threads at once.

    Args:
        base: open.
        delta: of this base, open; None if there is none.

    Attributes:
        vectors: of all rows.
        ivf: the FAISS files of both, if they have lists; else None.
        rows: number of rows that can be found; those of the delta are numbered from the base's number of rows.
        candidates: what finds the candidates of a search.
    """

    def __init__(self, base: Segment, delta: Segment | None = None) -> None:
        self._base, self._delta = base, delta
        self._rows = Rows(base, delta)
        self.vectors = self._rows.vectors
        self.ivf = self._rows.segments[-1].ivf
        self.rows = self._rows.total - self._rows.deleted_count
        self.candidates: Candidates
        if base.info.engine is not None:
            self.candidates = EngineCandidates(self._rows)
        elif self.ivf is not None:
            self.candidates = IvfCandidates(self._rows, self.ivf)
        else:
            self.candidates = WholeCandidates(self._rows)

    @property
    def max_nprobe(self) -> int:
        """The largest `nprobe` of use; see `Candidates`."""
        return self.candidates.max_nprobe

    @property
    def has_graph(self) -> bool:
        """Whether the base's index is an HNSW graph, whose `nprobe` is efSearch."""
        return self._base.graph is not None

    def close(self) -> None:
        """End the threads that ask an engine. The segments stay open."""
        self.candidates.close()

    # ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def row_filter(self, rows: np.ndarray, conditions: Filter = ()) -> RowFilter:
        """Prepare rows of the base, int64 in any order, for `search`.

        Args:
            conditions: that the rows pass; an engine is told them.
        """
        base = self._base
        return base_row_filter(rows, base.info.rows, base.lists, base.ivf.lists if base.ivf else 0, conditions)

    def changed(self, base: RowFilter, rows: np.ndarray) -> RowFilter:
        """Return a row filter of the base with the delta applied.

        Args:
            base: as `row_filter` returns it.
            rows: int64, the rows that pass by their attributes in the delta.
        """
        if self._delta is None:
            return base
        return changed_row_filter(
            base,
            self._changed_rows,
            rows,
            (self._base.lists, self._delta.lists),
            self._delta.info.rows,
            keep_changed=self._base.info.engine is not None,
        )

    @cached_property
    def _changed_rows(self) -> np.ndarray:
        """Rows of the base that are deleted, or whose attributes are the delta's: int64."""
        assert self._delta is not None  # noqa: S101  (the callers have looked)
        deleted = rows_of_bitmaps((self._delta.deleted,), 0)
        return np.concatenate([deleted, self._delta.updated_rows])

    def is_deleted(self, rows: np.ndarray) -> np.ndarray:
        """Return which of the rows int64[n] no search may return, bool[n]."""
        return self._rows.is_deleted(rows)

    def rows_that_can_be_found(self) -> np.ndarray:
        """Return the row numbers int64, ascending, that are not deleted."""
        rows = np.arange(self._rows.total)
        return rows if not self._rows.deleted_count else rows[~self.is_deleted(rows)]

    # ── searching ────────────────────────────────────────────────────────────────────────────────────────────────

    def search(
        self,
        queries: np.ndarray,
        k: int,
        params: SearchParams,
        row_filter: RowFilter | None = None,
        *,
        path: SearchPath | None = None,
        seconds: float = ENGINE_SECONDS,
    ) -> tuple[list[Neighbors], Plan]:
        """Find the best rows for each query, by exact score. The rows of one query do not depend on the other queries.

        Args:
            queries: float32[n, dim], L2-normalised.
            k: rows for each query; min(k, allowed rows) are returned, however few are allowed. An engine may return
                fewer: up to its limit, and where it misses rows while too many are allowed to score one by one.
            row_filter: the allowed rows; all if None.
            path: "exact" to score every allowed row, whatever it costs; "ivf" never to; None for the cheaper way.
            seconds: after which an engine's answer is no longer waited for.

        Raises:
            EngineUnavailable: an engine does not answer in time.
        """
        total = self._rows.allowed(row_filter)
        k = min(k, total)
        if k <= 0:
            nothing = Neighbors(np.empty(0, np.float32), np.empty(0, np.int64))
            return [nothing for _ in queries], Plan("nothing", total)
        if self._is_exact(params, k, row_filter, path):
            neighbors = self._search_exactly(queries, k, row_filter)
            return neighbors, Plan("exact", total, candidates=total * len(queries))
        return self.candidates.search(queries, k, params, row_filter, seconds)

    def _is_exact(self, params: SearchParams, k: int, row_filter: RowFilter | None, path: SearchPath | None) -> bool:
        if path is not None:
            return path == "exact"
        return row_filter is not None and self.candidates.exact_is_cheaper(params, k, row_filter)

    def _search_exactly(self, queries: np.ndarray, k: int, row_filter: RowFilter | None) -> list[Neighbors]:
        rows = None if row_filter is None else row_filter.rows
        if rows is None and (self._rows.deleted_count or len(queries) <= _FEW_QUERIES):
            rows = self.rows_that_can_be_found()
        if rows is not None and len(queries) <= _FEW_QUERIES:
            return [Neighbors(*self.vectors.score(query, rows, k)) for query in queries]
        # Matrix products read the vectors once for all queries; a few rows more, since the last bit may differ.
        total = self.rows if rows is None else len(rows)
        _, nearest = self.vectors.knn(queries, min(total, k + 10), rows)
        return [
            Neighbors(*self.vectors.score(query, query_rows, k))
            for query, query_rows in zip(queries, nearest, strict=True)
        ]
