"""A vector database as a way of finding candidates.

The engine is told as much of a filter as it can apply, and every row that it returns is checked against the segment's
own filter: what it filters otherwise costs recall, and never returns a row that does not pass.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property

import numpy as np

from artifacts.index import planner
from artifacts.index.params import SearchParams
from artifacts.segments.engine_vectors import MAX_FETCHED_ROWS
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.search.candidates import Candidates, Neighbors, Plan, Rows
from artifacts.segments.search.engine_rows import EngineRows

#: Up to so many allowed rows are scored on this machine where it has the vectors: 4 ms for 10,000 rows of 512 numbers.
FEW_ROWS = 20_000

#: With no more allowed rows than this, their vectors are fetched from the engine and scored one by one.
FEW_FETCHED = 500


class EngineCandidates(Candidates):
    """Candidates that an engine finds. It is connected to when it is first needed.

    Args:
        rows: of a base and its delta.
    """

    def __init__(self, rows: Rows) -> None:
        info = rows.base.info.engine
        assert info is not None  # noqa: S101  (the caller has looked)
        self._rows, self._kind = rows, info.kind
        self.scores_exactly = info.vectors == "server"

    @cached_property
    def engine(self) -> EngineRows:
        """The rows in the engine.

        Raises:
            EngineError: the engine cannot be opened.
        """
        return EngineRows(self._rows.segments)

    @property
    def max_nprobe(self) -> int:  # type: ignore[override]
        return self.engine.max_effort

    def exact_is_cheaper(self, params: SearchParams, k: int, row_filter: RowFilter) -> bool:
        return row_filter.count <= (FEW_ROWS if self.scores_exactly else FEW_FETCHED)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        params: SearchParams,
        row_filter: RowFilter | None,
        seconds: float,
    ) -> tuple[list[Neighbors], Plan]:
        ends = time.monotonic() + seconds
        engine, total = self.engine, self._rows.allowed(row_filter)
        limit = min(engine.capabilities.max_results or self._rows.total, self._rows.total)
        conditions = () if row_filter is None else row_filter.conditions
        effort = params.nprobe if row_filter is None else params.nprobe * params.filtered_probes
        asked = min(limit, self._depth(k, params, row_filter))
        neighbors: dict[int, Neighbors] = {}
        unfinished, passed = list(range(len(queries))), 0
        while unfinished:
            found = engine.candidates(queries[unfinished], asked, effort, conditions, ends - time.monotonic())
            for number, (rows, scores) in zip(unfinished, ((each.rows, each.scores) for each in found), strict=True):
                allowed = ~self._rows.is_deleted(rows) if row_filter is None else row_filter.allows(rows)
                passed += int(allowed.sum())
                neighbors[number] = self._best(queries[number], rows[allowed], scores[allowed], k, row_filter)
            unfinished = [number for number in unfinished if len(neighbors[number].rows) < k]
            if asked >= limit:
                break
            asked = min(limit, 4 * asked)
        plan = Plan(self._kind, total, min(effort, engine.max_effort), passed)
        if unfinished and (
            self.scores_exactly or total <= MAX_FETCHED_ROWS
        ):  # the engine did not return enough of them
            allowed_rows = self._allowed_rows(row_filter)
            for number in unfinished:
                neighbors[number] = Neighbors(*self._rows.vectors.score(queries[number], allowed_rows, k))
            plan = replace(plan, candidates=passed + total * len(unfinished))
        return [neighbors[number] for number in range(len(queries))], plan

    def _depth(self, k: int, params: SearchParams, row_filter: RowFilter | None) -> int:
        """Return how many rows to ask for."""
        if row_filter is not None:
            return planner.candidates_for(k, params.filtered_rescore) if self.scores_exactly else k
        depth = planner.candidates_for(k, params.rescore) if self.scores_exactly else k
        return self._rows.with_deleted(depth) if self._rows.deleted_count else depth

    def _best(
        self, query: np.ndarray, rows: np.ndarray, scores: np.ndarray, k: int, row_filter: RowFilter | None
    ) -> Neighbors:
        # The engine has the base's attributes of these rows, and by the delta's they pass.
        changed = np.empty(0, np.int64) if row_filter is None else row_filter.changed_rows
        if self.scores_exactly:
            rows = np.union1d(rows, changed) if len(changed) else rows
            return Neighbors(*self._rows.vectors.score(query, rows, k))
        if 0 < len(changed) <= MAX_FETCHED_ROWS:
            missing = np.setdiff1d(changed, rows)
            missing_scores, missing = self._rows.vectors.score(query, missing, k)
            rows, scores = np.concatenate([rows, missing]), np.concatenate([scores, missing_scores])
            order = np.lexsort((rows, -scores))
            rows, scores = rows[order], scores[order]
        return Neighbors(scores[:k], rows[:k])

    def _allowed_rows(self, row_filter: RowFilter | None) -> np.ndarray:
        if row_filter is not None:
            return row_filter.rows
        rows = np.arange(self._rows.total)
        return rows[~self._rows.is_deleted(rows)]
