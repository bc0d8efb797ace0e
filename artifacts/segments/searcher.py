"""Searches the rows of a base, or of a base and its delta, as one.

A delta is filled into a copy of its base's quantizer, so a search chooses the IVF lists once and probes them in both.
Rows of the base that are deleted are no filter: a search asks for a few candidates more, drops them, and asks again
only if too few are left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from artifacts.index import planner
from artifacts.index.graph import GraphIndex
from artifacts.index.params import SearchParams
from artifacts.segments.row_filter import (
    RowFilter,
    base_row_filter,
    bits_of,
    changed_row_filter,
    rows_of_bitmaps,
)
from artifacts.segments.segment import Segment, joined_vectors

#: A way of searching that a caller may demand.
SearchPath = Literal["exact", "ivf"]

#: Share of the rescoring depth that has to be left without deleted rows; with fewer candidates recall would fall.
_ENOUGH_SHARE = 0.75

#: Rows of a graph that are scored beside the best: its own scores may differ from the exact ones in the last bit.
_SPARE_ROWS = 8

#: In an exact search, up to this many queries are scored one after the other.
_FEW_QUERIES = 4


@dataclass(frozen=True)
class Plan:
    """How a search was done, for `explain`."""

    path: str  # nothing | flat | exact | ivf | hnsw; exact also where every walk through a graph ended early
    allowed: int  # rows that it could return
    probes: int = 0  # IVF lists probed for each query; in a graph, the nearest rows that a walk keeps
    candidates: int = 0  # rows scored exactly, over all queries


@dataclass(frozen=True)
class Neighbors:
    """The best rows for one query: scores float32[j] descending, rows int64[j]; equal scores by ascending row."""

    scores: np.ndarray
    rows: np.ndarray


class _Walk(NamedTuple):
    """A walk through a graph, for the plan."""

    scored: int  # rows scored exactly
    ended_early: bool  # among rows that are not allowed, so that all allowed ones were scored


class Searcher:
    """Searches a base and its delta. Safe to use from several threads at once.

    Args:
        base: open.
        delta: of this base, open; None if there is none.

    Attributes:
        rows: number of rows that can be found; those of the delta are numbered from the base's number of rows.
    """

    def __init__(self, base: Segment, delta: Segment | None = None) -> None:
        self._base, self._delta = base, delta
        segments = [base] if delta is None else [base, delta]
        self.vectors = joined_vectors(segments)
        self.ivf = segments[-1].ivf
        self._segments = segments
        self._deleted_count = 0 if delta is None or delta.info.base is None else delta.info.base.deleted_rows
        self.rows = self.vectors.rows - self._deleted_count

    @property
    def max_nprobe(self) -> int:
        """The largest `nprobe` of use: the number of IVF lists, or of rows in a graph; 0 where the index is flat."""
        if self.ivf is not None:
            return self.ivf.lists
        return self._base.info.rows if self.has_graph else 0

    @property
    def has_graph(self) -> bool:
        """Whether the base's index is an HNSW graph, whose `nprobe` is efSearch."""
        return self._base.graph is not None

    # ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def row_filter(self, rows: np.ndarray) -> RowFilter:
        """Prepare rows of the base, int64 in any order, for `search`."""
        base = self._base
        return base_row_filter(rows, base.info.rows, base.lists, base.ivf.lists if base.ivf else 0)

    def changed(self, base: RowFilter, rows: np.ndarray) -> RowFilter:
        """Return a row filter of the base with the delta applied.

        Args:
            base: as `row_filter` returns it.
            rows: int64, the rows that pass by their attributes in the delta.
        """
        if self._delta is None:
            return base
        lists = (self._base.lists, self._delta.lists)
        return changed_row_filter(base, self._changed_rows, rows, lists, self._delta.info.rows)

    @cached_property
    def _changed_rows(self) -> np.ndarray:
        """Rows of the base that are deleted, or whose attributes are the delta's: int64."""
        assert self._delta is not None  # noqa: S101  (the callers have looked)
        deleted = rows_of_bitmaps((self._delta.deleted,), 0)
        return np.concatenate([deleted, self._delta.updated_rows])

    def is_deleted(self, rows: np.ndarray) -> np.ndarray:
        """Return which rows int64[n] no search may return, bool[n]."""
        deleted = np.zeros(len(rows), bool)
        if self._delta is not None:
            of_base = rows < self._base.info.rows
            deleted[of_base] = bits_of(self._delta.deleted, rows[of_base])
        return deleted

    def rows_that_can_be_found(self) -> np.ndarray:
        """Return the row numbers int64, ascending, that are not deleted."""
        rows = np.arange(self.vectors.rows)
        return rows if not self._deleted_count else rows[~self.is_deleted(rows)]

    # ── searching ────────────────────────────────────────────────────────────────────────────────────────────────

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
        total = self.rows if row_filter is None else row_filter.count
        k = min(k, total)
        if k <= 0:
            nothing = Neighbors(np.empty(0, np.float32), np.empty(0, np.int64))
            return [nothing for _ in queries], Plan("nothing", total)
        if self._is_exact(params, k, row_filter, path):
            neighbors = self._search_exactly(queries, k, row_filter)
            return neighbors, Plan("exact", total, candidates=total * len(queries))
        if self.ivf is not None:
            return self._search_ivf(queries, k, params, row_filter, total)
        walks: list[_Walk] = []
        neighbors = [self._search_whole(query, k, row_filter, params, walks) for query in queries]
        if self._base.graph is None:
            return neighbors, Plan("flat", total)
        whole = bool(walks) and all(walk.ended_early for walk in walks)
        depth = 0 if whole else self._graph_depth(params, k, row_filter)
        return neighbors, Plan("exact" if whole else "hnsw", total, depth, sum(walk.scored for walk in walks))

    def _is_exact(self, params: SearchParams, k: int, row_filter: RowFilter | None, path: SearchPath | None) -> bool:
        if path is not None:
            return path == "exact"
        if row_filter is None:
            return False
        if self._base.graph is not None:
            depth = self._graph_depth(params, k, row_filter)
            return planner.exact_is_cheaper_than_graph(self.vectors.dim, depth, row_filter.count)
        if self.ivf is None:
            return planner.gathering_is_cheaper(self.vectors.rows, row_filter.count)
        return planner.exact_is_cheaper(self.ivf.shape, params, k, row_filter.count, row_filter.useful_lists)

    def _search_exactly(self, queries: np.ndarray, k: int, row_filter: RowFilter | None) -> list[Neighbors]:
        rows = None if row_filter is None else row_filter.rows
        if rows is None and (self._deleted_count or len(queries) <= _FEW_QUERIES):
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

    def _search_whole(
        self, query: np.ndarray, k: int, row_filter: RowFilter | None, params: SearchParams, walks: list[_Walk]
    ) -> Neighbors:
        """Search indexes without lists: flat ones, or a graph with a flat delta; add the walks taken to `walks`."""
        scores: list[np.ndarray] = []
        rows: list[np.ndarray] = []
        for number, segment in enumerate(self._segments):
            if not segment.info.rows:
                continue
            drops = row_filter is None and number == 0 and self._deleted_count > 0
            depth = self._with_deleted(k) if drops else k
            while True:
                depth = min(depth, segment.info.rows)
                if segment.graph is not None:
                    part_scores, part_rows, walk = self._search_graph(segment.graph, query, depth, row_filter, params)
                    walks.append(walk)
                else:
                    assert segment.flat is not None  # noqa: S101  (an IVF is searched elsewhere)
                    bitmap = None if row_filter is None else row_filter.bitmaps[number]
                    part_scores, part_rows = segment.flat.search(query, depth, bitmap)
                if drops:
                    kept = ~self.is_deleted(part_rows)
                    part_scores, part_rows = part_scores[kept], part_rows[kept]
                if not drops or len(part_rows) >= k or depth == segment.info.rows:
                    break
                depth *= 4
            scores.append(part_scores)
            rows.append(part_rows + number * self._base.info.rows)
        if len(rows) == 1:
            return Neighbors(scores[0][:k], rows[0][:k])
        all_scores, all_rows = np.concatenate(scores), np.concatenate(rows)
        order = np.lexsort((all_rows, -all_scores))[:k]
        return Neighbors(all_scores[order], all_rows[order])

    def _graph_depth(self, params: SearchParams, k: int, row_filter: RowFilter | None) -> int:
        rows = self._base.info.rows
        return planner.depth_for(params, k, rows, rows if row_filter is None else row_filter.allowed_of_base)

    def _search_graph(
        self, graph: GraphIndex, query: np.ndarray, k: int, row_filter: RowFilter | None, params: SearchParams
    ) -> tuple[np.ndarray, np.ndarray, _Walk]:
        """Return exact scores and rows of the base's best `k` that a walk finds; of all rows if it finds too few."""
        bitmap = None if row_filter is None else row_filter.bitmaps[0]
        allowed = graph.rows if row_filter is None else row_filter.allowed_of_base
        k = min(k, allowed)
        if k == 0:
            return np.empty(0, np.float32), np.empty(0, np.int64), _Walk(0, ended_early=False)
        asked = min(allowed, k + _SPARE_ROWS)
        rows = graph.candidates(query, asked, self._graph_depth(params, k, row_filter), bitmap)
        ended_early = len(rows) < k  # among rows that are not allowed
        if ended_early:
            rows = np.arange(graph.rows) if row_filter is None else row_filter.rows
            rows = rows[rows < graph.rows]
        return *self.vectors.score(query, rows, k), _Walk(len(rows), ended_early)

    def _with_deleted(self, depth: int) -> int:
        """Return how many rows to ask for so that `depth` are likely to be left without the deleted ones."""
        share = self._deleted_count / max(1, self.vectors.rows)
        return depth if not share else min(self.vectors.rows, int(depth / max(1 - share, 0.5)) + 8)

    def _search_ivf(
        self, queries: np.ndarray, k: int, params: SearchParams, row_filter: RowFilter | None, total: int
    ) -> tuple[list[Neighbors], Plan]:
        assert self.ivf is not None  # noqa: S101  (search has looked)
        if row_filter is None:
            bitmaps, rows_per_list = None, None
            useful, probes, rescore = self.ivf.lists, min(self.ivf.lists, params.nprobe), params.rescore
        else:
            bitmaps, rows_per_list = row_filter.bitmaps, row_filter.rows_per_list
            useful, rescore = row_filter.useful_lists, params.filtered_rescore
            probes = planner.probes_for(self.ivf.shape, params, row_filter.count, useful)
        depth = planner.candidates_for(k, rescore)
        drops = row_filter is None and self._deleted_count > 0
        asked = self._with_deleted(depth) if drops else min(total, depth)
        neighbors: dict[int, Neighbors] = {}
        unfinished, scored = list(range(len(queries))), 0
        while unfinished:
            candidates = self.ivf.candidates(
                queries[unfinished], asked, probes, bitmaps=bitmaps, rows_per_list=rows_per_list
            )
            crowded: set[int] = set()  # queries whose candidates were largely deleted, while there are others
            for number, found in zip(unfinished, candidates, strict=True):
                rows = found[found >= 0]
                if drops:
                    rows = rows[~self.is_deleted(rows)]
                    if found[-1] >= 0 and len(rows) < _ENOUGH_SHARE * depth:
                        crowded.add(number)
                scored += len(rows)
                neighbors[number] = Neighbors(*self.vectors.score(queries[number], rows, k))
            # The nearest lists may hold too few allowed rows: probe more until there are enough or no list is left.
            unfinished = [number for number in unfinished if len(neighbors[number].rows) < k or number in crowded]
            if not unfinished or (probes >= useful and (not drops or asked >= self.vectors.rows)):
                break
            probes = min(useful, probes * 4)
            if drops:  # deleted rows may have taken the places of others among the candidates
                asked = min(self.vectors.rows, asked * 4)
        return [neighbors[number] for number in range(len(queries))], Plan("ivf", total, probes, scored)
