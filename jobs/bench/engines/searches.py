"""Searches of a contender: their calibration as in the gate, and their times."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from artifacts.index.devices.threads import one_thread
from artifacts.index.params import SearchParams
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.search.candidates import Plan
from artifacts.segments.search.searcher import Searcher, SearchPath
from jobs.bench.engines.cases import Case
from jobs.evaluate.calibration import DEPTH, calibrate, calibrate_filtered, depths_of, recall

#: Queries of each filter that are calibrated with, as many as the gate takes at least; all are measured.
_FILTERED_QUERIES = 60
#: Seconds that all queries of a calibration have: an engine answers them one after the other.
_SECONDS = 600.0


def calibrated(searcher: Searcher, cases: Sequence[Case], target: float) -> dict[str, SearchParams]:
    """Return for each modality what the gate would choose, if no filter passed so few rows that they are scored here.

    Raises:
        EngineError: an engine fails.
    """
    chosen: dict[str, SearchParams] = {}
    for whole in (case for case in cases if case.rows is None):

        def search(trial: SearchParams, whole: Case = whole) -> list[np.ndarray]:
            return _scores(searcher, whole.queries, trial)

        params, _ = calibrate(search, whole.truth, searcher.max_nprobe, target, depths_of(searcher))
        filtered = [
            (case.queries[:_FILTERED_QUERIES], case.truth[:_FILTERED_QUERIES], case.row_filter(searcher))
            for case in cases
            if case.rows is not None and case.files.modality == whole.files.modality
        ]

        def lowest_recall(trial: SearchParams, filtered: list[tuple] = filtered) -> float:
            return min(
                recall(_scores(searcher, queries, trial, row_filter), truth, DEPTH)
                for queries, truth, row_filter in filtered
            )

        if filtered:
            depths = depths_of(searcher)
            params = calibrate_filtered(lowest_recall, params, searcher.max_nprobe, target, depths)
        chosen[whole.files.modality] = params
    return chosen


def _scores(
    searcher: Searcher, queries: np.ndarray, params: SearchParams, row_filter: RowFilter | None = None
) -> list[np.ndarray]:
    found, _ = searcher.search(queries, DEPTH, params, row_filter, path="ivf", seconds=_SECONDS)
    return [neighbors.scores for neighbors in found]


@dataclass(frozen=True)
class Timed:
    """One measurement of a case.

    Attributes:
        recall, scored, path: see `CaseReport`.
        milliseconds: of each search.
        qps: of one thread.
    """

    recall: float
    scored: float
    path: str
    milliseconds: list[float]
    qps: float


class TimedSearch:
    """Searches of one case by one contender, for one query at a time.

    Args:
        params: of the case's modality.
        path: "ivf" to have the index or the engine find the rows; None for the planner's choice.
    """

    def __init__(self, searcher: Searcher, case: Case, params: SearchParams, path: SearchPath | None) -> None:
        self._searcher, self._case, self._params = searcher, case, params
        self._path: SearchPath | None = path
        self._filter = case.row_filter(searcher)

    def _search(self, number: int) -> tuple[np.ndarray, Plan]:
        query = self._case.queries[number % len(self._case.queries)][None, :]
        found, plan = self._searcher.search(query, DEPTH, self._params, self._filter, path=self._path)
        return found[0].scores, plan

    def by_one_thread(self, seconds: float) -> Timed:
        """Search for all queries, and on and on until the time is over."""
        count = len(self._case.queries)
        times: list[float] = []
        found: list[tuple[np.ndarray, Plan]] = []
        with one_thread():
            self._search(0)  # opens connections
            ends = time.perf_counter() + seconds
            while len(times) < count or time.perf_counter() < ends:
                began = time.perf_counter()
                answer = self._search(len(times))
                times.append(time.perf_counter() - began)
                if len(found) < count:
                    found.append(answer)
        plans = [plan for _, plan in found]
        return Timed(
            recall([scores for scores, _ in found], self._case.truth, DEPTH),
            float(np.mean([plan.candidates >= plan.allowed for plan in plans])),
            plans[0].path,
            [1000 * each for each in times],
            len(times) / sum(times),
        )

    def by_threads(self, threads: int, seconds: float) -> float:
        """Return queries a second of several threads, each of which searches for one query after the other."""

        def search(first: int) -> int:
            with one_thread():
                for done in itertools.count():
                    if time.perf_counter() >= ends:
                        return done
                    self._search(first + done)
            raise AssertionError("the loop ends by itself")

        with ThreadPoolExecutor(threads, "bench-search") as pool:
            began = time.perf_counter()
            ends = began + seconds
            step = max(1, len(self._case.queries) // threads)
            done = sum(pool.map(search, range(0, threads * step, step)))
            return done / (time.perf_counter() - began)
