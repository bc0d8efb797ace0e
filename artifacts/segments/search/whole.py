"""FAISS files without lists as ways of finding candidates: flat ones, and graphs with a flat delta."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from artifacts.index import planner
from artifacts.index.graph import GraphIndex
from artifacts.index.params import SearchParams
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.search.candidates import Candidates, Neighbors, Plan, Rows

#: Rows of a graph that are scored beside the best: its own scores may differ from the exact ones in the last bit.
_SPARE_ROWS = 8


class _Walk(NamedTuple):
    """A walk through a graph, for the plan."""

    scored: int  # rows scored exactly
    ended_early: bool  # among rows that are not allowed, so that all allowed ones were scored


class WholeCandidates(Candidates):
    """The best rows of flat indexes, which are exact, or of a graph.

    Args:
        rows: of a base and its delta.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._has_graph = rows.base.graph is not None
        self.max_nprobe = rows.base.info.rows if self._has_graph else 0

    def exact_is_cheaper(self, params: SearchParams, k: int, row_filter: RowFilter) -> bool:
        if self._has_graph:
            depth = self._graph_depth(params, k, row_filter)
            return planner.exact_is_cheaper_than_graph(self._rows.vectors.dim, depth, row_filter.count)
        return planner.gathering_is_cheaper(self._rows.total, row_filter.count)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        params: SearchParams,
        row_filter: RowFilter | None,
        seconds: float,
    ) -> tuple[list[Neighbors], Plan]:
        walks: list[_Walk] = []
        neighbors = [self._search_whole(query, k, row_filter, params, walks) for query in queries]
        if not self._has_graph:
            return neighbors, Plan("flat", self._rows.allowed(row_filter))
        whole = bool(walks) and all(walk.ended_early for walk in walks)
        depth = 0 if whole else self._graph_depth(params, k, row_filter)
        return neighbors, Plan(
            "exact" if whole else "hnsw", self._rows.allowed(row_filter), depth, sum(walk.scored for walk in walks)
        )

    def _search_whole(
        self, query: np.ndarray, k: int, row_filter: RowFilter | None, params: SearchParams, walks: list[_Walk]
    ) -> Neighbors:
        """Search indexes without lists: flat ones, or a graph with a flat delta; add the walks taken to `walks`."""
        scores: list[np.ndarray] = []
        rows: list[np.ndarray] = []
        for number, segment in enumerate(self._rows.segments):
            if not segment.info.rows:
                continue
            drops = row_filter is None and number == 0 and self._rows.deleted_count > 0
            depth = self._rows.with_deleted(k) if drops else k
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
                    kept = ~self._rows.is_deleted(part_rows)
                    part_scores, part_rows = part_scores[kept], part_rows[kept]
                if not drops or len(part_rows) >= k or depth == segment.info.rows:
                    break
                depth *= 4
            scores.append(part_scores)
            rows.append(part_rows + number * self._rows.base.info.rows)
        if len(rows) == 1:
            return Neighbors(scores[0][:k], rows[0][:k])
        all_scores, all_rows = np.concatenate(scores), np.concatenate(rows)
        order = np.lexsort((all_rows, -all_scores))[:k]
        return Neighbors(all_scores[order], all_rows[order])

    def _graph_depth(self, params: SearchParams, k: int, row_filter: RowFilter | None) -> int:
        rows = self._rows.base.info.rows
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
        return *self._rows.vectors.score(query, rows, k), _Walk(len(rows), ended_early)
