"""`lookalike bench filters`: recall and latency under filters, of the planner and of what others do, side by side.

Filters keep 50 % down to 0.01 % of the rows, drawn at random or from categories that have nothing to do with the query.
Every query is searched by itself on one thread, with the filter's rows prepared as in a server.

    planned      what the server does: artifacts.index.planner picks exact or probing
    exact        every allowed row scored
    list-aware   probing the nearest lists that hold allowed rows
    nprobe       FAISS with an ID selector: the calibrated nprobe, whatever the lists hold
    post-filter  ten times as many results of an unfiltered search, those not allowed dropped
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np

from artifacts.errors import LookalikeError
from artifacts.index.params import SearchParams
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.segment import Segment
from jobs.bench.catalog import BenchCatalog, Queries
from jobs.evaluate.calibration import DEPTH, calibrate, calibrate_filtered, recall

SHARES = (0.5, 0.1, 0.02, 0.005, 0.001, 0.0001)
METHODS = ("planned", "exact", "list-aware", "nprobe", "post-filter")
_OVERFETCH = 10
#: Queries of each filter that the filtered search is calibrated with; the others are only measured.
_CALIBRATED = 60
#: RowFilter rows at which exact scoring and probing are timed, to see where they cross.
_CROSSOVER = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000)

Search = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Measured:
    """One method under one filter."""

    queries: str  # image | text
    filter: str  # none | random | unrelated
    share: float
    allowed: int  # rows
    method: str
    path: str  # what the planner chose; the method itself for the others
    recall_at_100: float
    filled: float  # share of the results that were there to be found
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Crossing:
    """Exact scoring and probing of as many allowed rows, and what the planner would do."""

    queries: str
    filter: str
    allowed: int
    exact_ms: float  # p50
    probing_ms: float
    probing_recall: float
    planned: str  # exact | ivf


@dataclass(frozen=True)
class FilterBench:
    """All that was measured."""

    name: str
    rows: int
    params: dict[str, SearchParams]
    measured: list[Measured]
    crossings: list[Crossing]

    def worst(self, method: str) -> float:
        """Lowest recall of a method over all filters and kinds of query."""
        return min(each.recall_at_100 for each in self.measured if each.method == method)


def measure_filters(
    catalog: BenchCatalog,
    target: float,
    seed: int,
    *,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> FilterBench:
    """Measure every method under every filter, for every kind of query.

    Raises:
        LookalikeError: the segment is flat: exact whatever is asked, so there is nothing to measure.
    """
    segment = catalog.segment
    if segment.ivf is None:
        raise LookalikeError("the index is flat, and exact under any filter; measure a catalog above flat_max_rows")
    random = np.random.default_rng(seed)
    cases = [(name, share) for name in ("random", "unrelated") for share in SHARES]
    total = len(catalog.queries) * (1 + len(cases) + 2)
    done = 0
    params: dict[str, SearchParams] = {}
    measured: list[Measured] = []
    crossings: list[Crossing] = []
    threads = faiss.omp_get_max_threads()
    for queries in catalog.queries:
        faiss.omp_set_num_threads(threads)
        filters = [(name, share, *_filter(catalog, queries, name, share, random)) for name, share in cases]
        params[queries.kind] = _calibrated(segment, queries, filters, target)
        faiss.omp_set_num_threads(1)
        everything = np.arange(len(queries.vectors))
        for name, share, allowed, places in [("none", 1.0, None, everything), *filters]:
            measured += _methods(segment, queries, params[queries.kind], name, share, allowed, places)
            done += 1
            progress(done, total)
        for name in ("random", "unrelated"):
            crossings += _crossings(catalog, queries, params[queries.kind], name, random)
            done += 1
            progress(done, total)
    faiss.omp_set_num_threads(threads)
    return FilterBench(catalog.name, segment.info.rows, params, measured, crossings)


def _filter(
    catalog: BenchCatalog, queries: Queries, name: str, share: float, random: np.random.Generator
) -> tuple[RowFilter, np.ndarray]:
    """The rows of one filter, and the places of the queries to ask under it."""
    rows = catalog.segment.info.rows
    wanted = max(1, round(share * rows))
    if name == "random":
        return catalog.segment.row_filter(random.choice(rows, wanted, replace=False)), np.arange(len(queries.vectors))
    # Whole categories in any order, as many as fit; only the first may be cut. The queries are about none of them.
    names, counts = np.unique(catalog.categories[catalog.categories != None], return_counts=True)  # noqa: E711
    order = random.permutation(len(names))
    picked: list[int] = []
    held = 0
    for place in order:
        if held + counts[place] <= wanted or not picked:
            picked.append(int(place))
            held += int(counts[place])
        if held >= wanted:
            break
    inside = np.flatnonzero(np.isin(catalog.categories, names[picked]))
    inside = random.choice(inside, min(wanted, len(inside)), replace=False)
    places = np.flatnonzero(~np.isin(queries.categories, names[picked]))
    return catalog.segment.row_filter(inside), places


def _calibrated(
    segment: Segment, queries: Queries, filters: list[tuple[str, float, RowFilter, np.ndarray]], target: float
) -> SearchParams:
    """As the gate does it: without filters, then how much further to look under the filters that are probed."""
    assert segment.ivf is not None  # noqa: S101  (measure_filters has looked)
    truth = _scores(segment, queries.vectors, None)
    params, _ = calibrate(
        lambda tried: [found.scores for found in segment.search(queries.vectors, DEPTH, tried)[0]],
        truth,
        segment.ivf.lists,
        target,
    )
    few = [(allowed, queries.vectors[places[:_CALIBRATED]]) for _, _, allowed, places in filters if len(places)]
    truths = [_scores(segment, vectors, allowed) for allowed, vectors in few]

    def worst(tried: SearchParams) -> float:
        return min(
            recall([found.scores for found in segment.search(vectors, DEPTH, tried, allowed)[0]], truth, DEPTH)
            for (allowed, vectors), truth in zip(few, truths, strict=True)
        )

    return calibrate_filtered(worst, params, segment.ivf.lists, target)


def _scores(segment: Segment, vectors: np.ndarray, allowed: RowFilter | None) -> list[np.ndarray]:
    found, _ = segment.search(vectors, DEPTH, SearchParams(), allowed, path="exact")
    return [each.scores for each in found]


def _methods(
    segment: Segment,
    queries: Queries,
    params: SearchParams,
    name: str,
    share: float,
    allowed: RowFilter | None,
    places: np.ndarray,
) -> list[Measured]:
    if not len(places):
        return []  # every query is about what the filter allows: a shop of one category
    vectors = queries.vectors[places]
    truth = _scores(segment, vectors, allowed)
    rows = segment.info.rows if allowed is None else allowed.count
    found: list[Measured] = []
    for method in METHODS:
        if allowed is None and method in ("nprobe", "post-filter", "list-aware"):
            continue  # all the same without a filter
        scores, times = _timed(_searcher(method, segment, params, allowed), vectors)
        path = segment.search(vectors[:1], DEPTH, params, allowed)[1].path if method == "planned" else method
        wanted = sum(len(true) for true in truth)
        found.append(
            Measured(
                queries.kind,
                name,
                share,
                rows,
                method,
                path,
                recall_at_100=round(recall(scores, truth, DEPTH), 4),
                filled=round(sum(map(len, scores)) / max(1, wanted), 4),
                p50_ms=round(float(np.percentile(times, 50)), 3),
                p99_ms=round(float(np.percentile(times, 99)), 3),
            )
        )
    return found


def _timed(search: Search, vectors: np.ndarray) -> tuple[list[np.ndarray], list[float]]:
    """Scores and milliseconds of each query, one after the other; the first is asked twice and timed once."""
    search(vectors[:1])
    scores: list[np.ndarray] = []
    times: list[float] = []
    for vector in vectors:
        began = time.perf_counter()
        scores.append(search(vector[None, :]))
        times.append((time.perf_counter() - began) * 1000)
    return scores, times


def _searcher(method: str, segment: Segment, params: SearchParams, allowed: RowFilter | None) -> Search:
    """A function from float32[1, dim] to the scores found, descending."""
    ivf = segment.ivf
    assert ivf is not None  # noqa: S101  (measure_filters has looked)
    if method == "nprobe":
        bitmap = allowed.bitmap if allowed else None

        def plain(query: np.ndarray) -> np.ndarray:
            rows = ivf.candidates(query, DEPTH * params.rescore, params.nprobe, bitmap=bitmap)[0]
            return segment.vectors.score(query[0], rows[rows >= 0], DEPTH)[0]

        return plain
    if method == "post-filter":

        def after(query: np.ndarray) -> np.ndarray:
            rows = ivf.candidates(query, DEPTH * max(_OVERFETCH, params.rescore), params.nprobe)[0]
            rows = rows[rows >= 0]
            if allowed is not None:
                rows = rows[(allowed.bitmap[rows >> 3] >> (rows & 7) & 1).astype(bool)]
            return segment.vectors.score(query[0], rows, DEPTH)[0]

        return after
    path = {"planned": None, "exact": "exact", "list-aware": "ivf"}[method]
    return lambda query: segment.search(query, DEPTH, params, allowed, path=path)[0][0].scores  # type: ignore[arg-type]


def _crossings(
    catalog: BenchCatalog, queries: Queries, params: SearchParams, name: str, random: np.random.Generator
) -> list[Crossing]:
    segment = catalog.segment
    found: list[Crossing] = []
    for wanted in _CROSSOVER:
        if wanted > segment.info.rows / 2:
            break
        allowed, places = _filter(catalog, queries, name, wanted / segment.info.rows, random)
        if not len(places):
            continue
        vectors = queries.vectors[places[:50]]
        _, exact = _timed(_searcher("exact", segment, params, allowed), vectors)
        scores, probing = _timed(_searcher("list-aware", segment, params, allowed), vectors)
        found.append(
            Crossing(
                queries.kind,
                name,
                allowed.count,
                exact_ms=round(float(np.median(exact)), 3),
                probing_ms=round(float(np.median(probing)), 3),
                probing_recall=round(recall(scores, _scores(segment, vectors, allowed), DEPTH), 4),
                planned=segment.search(vectors[:1], DEPTH, params, allowed)[1].path,
            )
        )
    return found
