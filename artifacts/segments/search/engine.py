"""A vector database as a way of finding candidates.

The engine is told as much of a filter as it can apply, and every row that it returns is checked against the segment's
own filter: what it filters otherwise costs recall, and never returns a row that does not pass.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from artifacts.index import planner
from artifacts.index.params import SearchParams
from artifacts.index.vectors import best, fp16_view
from artifacts.segments.engine_vectors import MAX_FETCHED_ROWS, EngineVectors
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.search.candidates import Candidates, Neighbors, Plan, Rows
from artifacts.segments.search.engine_rows import EngineRows

#: Up to so many allowed rows are scored on this machine where it has the vectors: 4 ms for 10,000 rows of 512 numbers.
FEW_ROWS = 20_000

#: With no more allowed rows than this, their vectors are fetched from the engine and scored one by one.
FEW_FETCHED = 500


@dataclass(frozen=True)
class _Returned:
    """What the engine has returned for one query: rows int64[j] that pass, their scores, and whether there are more."""

    rows: np.ndarray
    scores: np.ndarray
    may_have_more: bool = False


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

    def close(self) -> None:
        if "engine" in vars(self):
            self.engine.close()

    @property
    def max_nprobe(self) -> int:  # type: ignore[override]
        return self.engine.max_effort

    @property
    def max_results(self) -> int | None:  # type: ignore[override]
        return self.engine.capabilities.max_results

    def exact_is_cheaper(self, params: SearchParams, k: int, row_filter: RowFilter) -> bool:
        return self.scores_exactly and row_filter.count <= FEW_ROWS

    def search(
        self,
        queries: np.ndarray,
        k: int,
        params: SearchParams,
        row_filter: RowFilter | None,
        seconds: float,
    ) -> tuple[list[Neighbors], Plan]:
        ends = time.monotonic() + seconds
        total = self._rows.allowed(row_filter)
        if row_filter is not None and not self.scores_exactly and total <= FEW_FETCHED:
            neighbors = self._score(queries, k, row_filter.rows, ends)
            return neighbors, Plan("exact", total, candidates=total * len(queries))
        neighbors, effort, passed = self._ask(queries, k, params, row_filter, ends)
        plan = Plan(self._kind, total, effort, passed)
        short = [number for number, found in enumerate(neighbors) if len(found.rows) < k]
        if short and total <= (planner.MAX_EXACT_ROWS if self.scores_exactly else MAX_FETCHED_ROWS):
            # The engine has missed rows that pass, and they are few enough to be scored one by one.
            exact = self._score(queries[short], k, self._allowed_rows(row_filter), ends)
            for number, found in zip(short, exact, strict=True):
                neighbors[number] = found
            plan = replace(plan, candidates=passed + total * len(short))
        return neighbors, plan

    def _ask(
        self, queries: np.ndarray, k: int, params: SearchParams, row_filter: RowFilter | None, ends: float
    ) -> tuple[list[Neighbors], int, int]:
        """Ask the engine, for more rows or with more effort while too few are left and it may have others.

        Returns:
            The best rows of each query, at most `k`; the effort of the last call; the rows returned that pass.
        """
        engine = self.engine
        limit = min(engine.capabilities.max_results or self._rows.total, self._rows.total)
        asked = min(limit, self._depth(k, params, row_filter))
        effort = min(engine.max_effort, params.nprobe * (1 if row_filter is None else params.filtered_probes))
        changed = np.empty(0, np.int64) if row_filter is None else row_filter.changed_rows
        many = len(changed) > (FEW_ROWS if self.scores_exactly else FEW_FETCHED)
        added = [_nothing()] * len(queries)  # rows that pass by their attributes in the delta, unknown to the engine
        if len(changed) and not many:
            added = [_Returned(found.rows, found.scores) for found in self._score(queries, k, changed, ends)]
        neighbors: dict[int, Neighbors] = {}
        unfinished, passed = list(range(len(queries))), 0
        while True:
            found = self._returned(queries[unfinished], asked, effort, row_filter, ends, with_filter=True)
            if many:  # too many to be scored: the engine is asked without the filter, too
                others = self._returned(queries[unfinished], asked, effort, row_filter, ends, with_filter=False)
                found = [_joined(each, other) for each, other in zip(found, others, strict=True)]
            may_have_more = False
            for number, each in zip(unfinished, found, strict=True):
                passed += len(each.rows)
                neighbors[number] = self._best(queries[number], _joined(each, added[number]), k)
                may_have_more |= each.may_have_more and len(neighbors[number].rows) < k
            unfinished = [number for number in unfinished if len(neighbors[number].rows) < k]
            if not unfinished:
                break
            if may_have_more and asked < limit:
                asked = min(limit, 4 * asked)
            elif effort < engine.max_effort:
                effort = engine.max_effort
            else:
                break
        return [neighbors[number] for number in range(len(queries))], effort, passed

    def _depth(self, k: int, params: SearchParams, row_filter: RowFilter | None) -> int:
        """Return how many rows to ask for."""
        if row_filter is not None:
            return planner.candidates_for(k, params.filtered_rescore) if self.scores_exactly else k
        depth = planner.candidates_for(k, params.rescore) if self.scores_exactly else k
        return self._rows.with_deleted(depth) if self._rows.deleted_count else depth

    def _returned(
        self,
        queries: np.ndarray,
        asked: int,
        effort: int,
        row_filter: RowFilter | None,
        ends: float,
        *,
        with_filter: bool,
    ) -> list[_Returned]:
        conditions = row_filter.conditions if row_filter is not None and with_filter else ()
        returned: list[_Returned] = []
        for found in self.engine.candidates(queries, asked, effort, conditions, ends - time.monotonic()):
            allowed = ~self._rows.is_deleted(found.rows) if row_filter is None else row_filter.allows(found.rows)
            returned.append(_Returned(found.rows[allowed], found.scores[allowed], found.may_have_more))
        return returned

    def _best(self, query: np.ndarray, found: _Returned, k: int) -> Neighbors:
        if self.scores_exactly:
            return Neighbors(*self._rows.vectors.score(query, found.rows, k))
        order = np.lexsort((found.rows, -found.scores))[:k]
        return Neighbors(found.scores[order], found.rows[order])

    def _score(self, queries: np.ndarray, k: int, rows: np.ndarray, ends: float) -> list[Neighbors]:
        """Score rows int64[m] one by one; vectors that only the engine has are fetched once for all queries."""
        if not isinstance(self._rows.vectors, EngineVectors):
            return [Neighbors(*self._rows.vectors.score(query, rows, k)) for query in queries]
        rows = np.sort(rows)
        fetched = fp16_view(self._rows.vectors.take(rows, max(0.001, ends - time.monotonic())).astype(np.float16))
        neighbors: list[Neighbors] = []
        for query in queries:
            scores, positions = best(fetched, query, k)
            neighbors.append(Neighbors(scores, rows[positions]))
        return neighbors

    def _allowed_rows(self, row_filter: RowFilter | None) -> np.ndarray:
        if row_filter is not None:
            return row_filter.rows
        rows = np.arange(self._rows.total)
        return rows[~self._rows.is_deleted(rows)]


def _nothing() -> _Returned:
    return _Returned(np.empty(0, np.int64), np.empty(0, np.float32))


def _joined(first: _Returned, second: _Returned) -> _Returned:
    """Return the rows of both, each once."""
    is_new = ~np.isin(second.rows, first.rows)
    return _Returned(
        np.concatenate([first.rows, second.rows[is_new]]),
        np.concatenate([first.scores, second.scores[is_new]]),
        first.may_have_more or second.may_have_more,
    )
