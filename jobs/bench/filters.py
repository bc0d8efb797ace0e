"""`lookalike bench filters`: recall and latency under filters, of the planner and of other methods, side by side.

Filters keep 50 % down to 0.01 % of the rows, drawn at random or from categories that are unrelated to the query. Each
query is searched on its own on one thread; the row filter is prepared beforehand, as in a server.

    planned      what the server does: artifacts.index.planner chooses exact or probing
    exact        score every allowed row
    list-aware   probe the nearest lists that contain allowed rows
    nprobe       FAISS with an ID selector: the calibrated nprobe, whatever the lists contain
    post-filter  fetch ten times as many results without a filter, and drop those that it does not allow
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from artifacts.config import GateConfig
from artifacts.index.devices.threads import one_thread
from artifacts.index.lists.probing import AllowedRows
from artifacts.index.params import SearchParams
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.search.searcher import Searcher, SearchPath
from jobs.bench.catalog import BenchCatalog, Queries
from jobs.bench.search import calibrate_searcher, exact_scores, ivf_of, row_scores
from jobs.evaluate.calibration import DEPTH, calibrate_filtered, depths_of, recall
from jobs.steps import Progress, no_progress

SHARES = (0.5, 0.1, 0.02, 0.005, 0.001, 0.0001)
FILTERS = ("random", "unrelated")
METHODS = ("planned", "exact", "list-aware", "nprobe", "post-filter")
_OVERFETCH = 10
#: Queries of each filter that the filtered search is calibrated with; all queries are measured.
_CALIBRATION_QUERIES = 60
#: Allowed rows at which exact scoring and probing are timed, to see where they cross, and the queries timed.
_CROSSOVER_ROWS = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000)
_CROSSOVER_QUERIES = 50

#: Maps one query, float32[1, dim], to the scores of its results, float32[j] descending.
Search = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Measurement:
    """One method under one filter."""

    modality: str  # image | text
    filter: str  # none | random | unrelated
    share: float
    allowed: int  # rows
    method: str
    path: str  # what the planner chose; the method itself for the others
    recall_at_100: float
    filled: float  # results returned, as a share of those that exist, at most 100 for each query
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Crossover:
    """Exact scoring and probing of the same allowed rows, and what the planner would choose."""

    modality: str
    filter: str
    allowed: int
    exact_ms: float  # p50
    probing_ms: float
    probing_recall: float
    planned: str  # exact | ivf


@dataclass(frozen=True)
class FiltersReport:
    """All that was measured."""

    name: str
    rows: int
    params: dict[str, SearchParams]  # by modality
    measured: list[Measurement]
    crossings: list[Crossover]

    def worst(self, method: str) -> float:
        """Return the lowest recall of a method over all filters and modalities."""
        return min(row.recall_at_100 for row in self.measured if row.method == method)


@dataclass(frozen=True)
class _Case:
    """A filter, and the queries that are searched under it."""

    filter: str
    share: float
    row_filter: RowFilter | None
    vectors: np.ndarray  # float32[n, dim]


def measure_filters(catalog: BenchCatalog, gate: GateConfig, *, progress: Progress = no_progress) -> FiltersReport:
    """Measure every method under every filter, for every modality.

    Args:
        gate: the recall target, which the searches are calibrated for, and the seed of the filters.
        progress: called with the number of cases measured and of all cases.

    Raises:
        LookalikeError: the segment's index is flat.
    """
    searcher = Searcher(catalog.segment)
    ivf_of(searcher)
    random = np.random.default_rng(gate.seed)
    total = len(catalog.queries) * (1 + len(FILTERS) * len(SHARES) + len(FILTERS))
    done = 0
    params: dict[str, SearchParams] = {}
    measured: list[Measurement] = []
    crossings: list[Crossover] = []
    for queries in catalog.queries:
        cases = [_draw_case(catalog, queries, name, share, random) for name in FILTERS for share in SHARES]
        chosen = params[queries.modality] = _calibrate(searcher, queries, cases, gate.recall_target)
        with one_thread():
            for case in [_Case("none", 1.0, None, queries.vectors), *cases]:
                measured += _measure_methods(searcher, queries.modality, chosen, case)
                done += 1
                progress(done, total)
            for name in FILTERS:
                crossings += _measure_crossover(catalog, queries, chosen, name, random)
                done += 1
                progress(done, total)
    return FiltersReport(catalog.name, searcher.rows, params, measured, crossings)


def _draw_case(catalog: BenchCatalog, queries: Queries, name: str, share: float, random: np.random.Generator) -> _Case:
    """Draw a filter that allows a share of the rows."""
    searcher = Searcher(catalog.segment)
    target = max(1, round(share * searcher.rows))
    if name == "random":
        row_filter = searcher.row_filter(random.choice(searcher.rows, target, replace=False))
        return _Case(name, share, row_filter, queries.vectors)
    # Whole categories in random order, as many as fit; only the first may be cut. The queries are about none of them.
    names, counts = np.unique(catalog.categories[catalog.categories != None], return_counts=True)  # noqa: E711
    chosen: list[int] = []
    total = 0
    for number in random.permutation(len(names)):
        if total + counts[number] <= target or not chosen:
            chosen.append(int(number))
            total += int(counts[number])
        if total >= target:
            break
    rows = np.flatnonzero(np.isin(catalog.categories, names[chosen]))
    rows = random.choice(rows, min(target, len(rows)), replace=False)
    unrelated = np.flatnonzero(~np.isin(queries.categories, names[chosen]))
    return _Case(name, share, searcher.row_filter(rows), queries.vectors[unrelated])


def _calibrate(searcher: Searcher, queries: Queries, cases: list[_Case], target: float) -> SearchParams:
    """Choose the search parameters as the gate does: first for unfiltered searches, then for those under filters."""
    params = calibrate_searcher(searcher, queries.vectors, exact_scores(searcher, queries.vectors), target)
    samples = [(case.row_filter, case.vectors[:_CALIBRATION_QUERIES]) for case in cases if len(case.vectors)]
    truths = [exact_scores(searcher, vectors, row_filter) for row_filter, vectors in samples]

    def worst_recall(trial: SearchParams) -> float:
        return min(
            recall(row_scores(searcher, vectors, trial, row_filter), truth, DEPTH)
            for (row_filter, vectors), truth in zip(samples, truths, strict=True)
        )

    return calibrate_filtered(worst_recall, params, ivf_of(searcher).lists, target, depths_of(searcher))


def _measure_methods(searcher: Searcher, modality: str, params: SearchParams, case: _Case) -> list[Measurement]:
    if not len(case.vectors):
        return []  # the catalog has one category, so no query is unrelated to the filter
    truth = exact_scores(searcher, case.vectors, case.row_filter)
    measured: list[Measurement] = []
    for method, search in _searches(searcher, params, case.row_filter).items():
        scores, times = _time_each(search, case.vectors)
        path = _planned_path(searcher, case.vectors, params, case.row_filter) if method == "planned" else method
        measured.append(
            Measurement(
                modality=modality,
                filter=case.filter,
                share=case.share,
                allowed=searcher.rows if case.row_filter is None else case.row_filter.count,
                method=method,
                path=path,
                recall_at_100=round(recall(scores, truth, DEPTH), 4),
                filled=round(sum(map(len, scores)) / max(1, sum(map(len, truth))), 4),
                p50_ms=round(float(np.percentile(times, 50)), 3),
                p99_ms=round(float(np.percentile(times, 99)), 3),
            )
        )
    return measured


def _measure_crossover(
    catalog: BenchCatalog, queries: Queries, params: SearchParams, name: str, random: np.random.Generator
) -> list[Crossover]:
    searcher = Searcher(catalog.segment)
    crossings: list[Crossover] = []
    for rows in _CROSSOVER_ROWS:
        if rows > searcher.rows / 2:
            break
        case = _draw_case(catalog, queries, name, rows / searcher.rows, random)
        if case.row_filter is None or not len(case.vectors):
            continue
        vectors = case.vectors[:_CROSSOVER_QUERIES]
        searches = _searches(searcher, params, case.row_filter)
        _, exact_times = _time_each(searches["exact"], vectors)
        scores, probing_times = _time_each(searches["list-aware"], vectors)
        truth = exact_scores(searcher, vectors, case.row_filter)
        crossings.append(
            Crossover(
                modality=queries.modality,
                filter=name,
                allowed=case.row_filter.count,
                exact_ms=round(float(np.median(exact_times)), 3),
                probing_ms=round(float(np.median(probing_times)), 3),
                probing_recall=round(recall(scores, truth, DEPTH), 4),
                planned=_planned_path(searcher, vectors, params, case.row_filter),
            )
        )
    return crossings


def _planned_path(searcher: Searcher, vectors: np.ndarray, params: SearchParams, row_filter: RowFilter | None) -> str:
    """Return the path that the planner chooses; it is the same for all queries under a filter."""
    _, plan = searcher.search(vectors[:1], DEPTH, params, row_filter)
    return plan.path


def _time_each(search: Search, vectors: np.ndarray) -> tuple[list[np.ndarray], list[float]]:
    """Search the queries one after the other, after a warm-up; return the scores and milliseconds of each."""
    search(vectors[:1])
    scores: list[np.ndarray] = []
    times: list[float] = []
    for vector in vectors:
        began = time.perf_counter()
        scores.append(search(vector[None, :]))
        times.append((time.perf_counter() - began) * 1000)
    return scores, times


def _searches(searcher: Searcher, params: SearchParams, row_filter: RowFilter | None) -> dict[str, Search]:
    """Return the search of each method; without a filter, only of those that differ from each other."""
    ivf = ivf_of(searcher)

    def by_path(path: SearchPath | None) -> Search:
        return lambda query: row_scores(searcher, query, params, row_filter, path=path)[0]

    searches = {"planned": by_path(None), "exact": by_path("exact")}
    if row_filter is None:
        return searches
    (bitmap,) = row_filter.bitmaps

    all_lists = AllowedRows(row_filter.bitmaps, np.ones(ivf.lists, np.int64))

    def with_id_selector(query: np.ndarray) -> np.ndarray:
        rows = ivf.candidates(query, DEPTH * params.rescore, params.nprobe, all_lists)[0]
        return searcher.vectors.score(query[0], rows[rows >= 0], DEPTH)[0]

    def with_post_filter(query: np.ndarray) -> np.ndarray:
        rows = ivf.candidates(query, DEPTH * max(_OVERFETCH, params.rescore), params.nprobe)[0]
        rows = rows[rows >= 0]
        rows = rows[(bitmap[rows >> 3] >> (rows & 7) & 1).astype(bool)]
        return searcher.vectors.score(query[0], rows, DEPTH)[0]

    return searches | {
        "list-aware": by_path("ivf"),
        "nprobe": with_id_selector,
        "post-filter": with_post_filter,
    }
