"""Measures an open release: recall and latency of each modality's queries, without and with filters."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from artifacts.config import GateConfig, IndexConfig
from artifacts.errors import EngineTooSlow, EngineUnavailable
from artifacts.index.params import SearchParams
from artifacts.products.filters import Condition, Filter
from artifacts.release.hits import Hit
from artifacts.release.release import Release
from artifacts.segments.search.searcher import ENGINE_SECONDS
from jobs.evaluate.calibration import (
    DEPTH,
    Scores,
    calibrate,
    calibrate_filtered,
    depths_of,
    recall,
)
from jobs.evaluate.index_facts import index_facts
from jobs.evaluate.queries import QuerySet
from jobs.evaluate.results import Evaluation, FilterResult, ModalityResult, shrink_problem
from jobs.evaluate.truth import find_truth, scores
from jobs.steps import Progress, no_progress

#: Columns whose values are tried as filters: category, brand, and the catalog's own attributes.
_FILTER_COLUMNS = 4
#: Queries that are timed one by one, as a server receives them.
_TIMED = 100
#: Seconds that an engine has for each of several queries: as much as a search of a server, unless that is configured.
_ENGINE_SECONDS_A_QUERY = 2.0
#: What a refresh measures again with the parameters of its base: queries of each modality, of these timed, and filters.
_QUICK_QUERIES, _QUICK_TIMED, _QUICK_FILTERS = 100, 20, 4


def measure(
    release: Release,
    query_sets: Sequence[QuerySet],
    config: GateConfig,
    *,
    index: IndexConfig,
    products_before: int | None,
    calibrated: Mapping[str, SearchParams] | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Measure an open release.

    Args:
        index: how indexes are built, to explain this one.
        calibrated: search parameters by modality that are only measured; they are chosen if None.
        products_before: of the release being served, to notice a catalog that shrank.
        progress: called with measurements done, and how many there are.
    """
    began = time.monotonic()
    modalities: list[ModalityResult] = []
    filters: list[FilterResult] = []
    chosen_filters = pick_filters(release)
    if calibrated is not None:
        step = max(1, len(chosen_filters) // _QUICK_FILTERS)
        chosen_filters = chosen_filters[-1::-step][:_QUICK_FILTERS]
        query_sets = [queries.first(_QUICK_QUERIES) for queries in query_sets]
    timed = _TIMED if calibrated is None else _QUICK_TIMED
    truths = find_truth(release, query_sets, [conditions for _, conditions in chosen_filters], _TIMED)
    for queries, truth in zip(query_sets, truths, strict=True):
        fixed = (calibrated or {}).get(queries.modality)
        result = _measure_modality(release, queries, truth.unfiltered, config.recall_target, fixed, timed)
        progress(2 * len(modalities) + 1, 2 * len(query_sets))
        params, filtered = _measure_filters(
            release, queries, truth.filtered, result.params, chosen_filters, config.recall_target, timed,
            calibrate=fixed is None,
        )  # fmt: skip
        modalities.append(replace(result, params=params))
        filters += filtered
        progress(2 * len(modalities), 2 * len(query_sets))
    products = release.products
    problems = [
        f"recall@100 of {result.modality} queries is {result.recall_at_100:.3f}, below the target "
        f"{config.recall_target}"
        for result in modalities
        if result.recall_at_100 < config.recall_target
    ]
    problems += [
        f"recall@100 of {result.modality} queries under {result.name} is {result.recall_at_100:.3f}, "
        f"below the target {config.recall_target}"
        for result in filters
        if result.recall_at_100 < config.recall_target
    ]
    if problem := shrink_problem(products, products_before, config.max_shrink):
        problems.append(problem)
    seconds = round(time.monotonic() - began, 3)
    facts = index_facts(release, index, count_lists=calibrated is None)
    return Evaluation(modalities, filters, config.recall_target, products_before, products, problems, seconds, facts)


def pick_filters(release: Release) -> list[tuple[str, Filter]]:
    """Filters as shoppers use them, by name: price ranges, then the most and the least frequent value of category, of
    brand and of the first attributes that have values, then two together."""
    filters: list[tuple[str, Filter]] = [
        (f"price ≤ {limit:.2f}", (Condition("price", maximum=limit),))
        for limit in release.quantiles("price", [0.5, 0.1, 0.01])
    ]
    columns = 0
    for column in ("category", "brand", *release.attributes):
        if columns == _FILTER_COLUMNS:
            break
        values = [] if column not in release.columns else [count.value for count in release.facet(column, ())]
        extremes = dict.fromkeys([*values[:1], *values[-1:]])  # the most and the least frequent
        filters += [(f"{column} = {value}", (Condition(column, any_of=(value,)),)) for value in extremes]
        columns += len(values) > 1
    if len(filters) > 1:
        (first, wide), (second, narrow) = filters[0], filters[-2]
        filters.append((f"{first}, {second}", wide + narrow))
    return filters


def _measure_modality(
    release: Release, queries: QuerySet, truth: Scores, target: float, fixed: SearchParams | None, timed: int
) -> ModalityResult:
    params, trials = fixed, []
    if params is None:
        params, trials = calibrate(
            lambda trial: _found_scores(release, queries.vectors, trial),
            truth,
            release.searcher.max_nprobe,
            target,
            depths_of(release.searcher),
        )
    hits = _search(release, queries.vectors, params)
    found = _exact_scores(release, queries.vectors, hits)
    p50, p99 = _latency(release, queries.vectors[:timed], params)
    itself = [
        product_id in release.product_ids(best[:10]) for product_id, best in zip(queries.product_ids, hits, strict=True)
    ]
    return ModalityResult(
        queries.modality,
        len(queries.product_ids),
        params,
        recall_at_10=recall(found, truth, 10),
        recall_at_100=recall(found, truth, DEPTH),
        found_itself=float(np.mean(itself)),
        p50_ms=p50,
        p99_ms=p99,
        trials=trials,
    )


def _measure_filters(
    release: Release,
    queries: QuerySet,
    truths: Sequence[Scores],
    params: SearchParams,
    filters: Sequence[tuple[str, Filter]],
    target: float,
    timed: int,
    *,
    calibrate: bool,
) -> tuple[SearchParams, list[FilterResult]]:
    """Choose the search parameters under filters if they are to be calibrated, and measure each filter.

    Args:
        truths: for each filter, of the first queries.
    """
    vectors = queries.vectors[:_TIMED]
    if not filters:
        return params, []  # nothing to filter by: the defaults remain, for attributes to come

    def recalls(trial: SearchParams) -> list[float]:
        return [
            recall(_found_scores(release, vectors, trial, conditions), truth, DEPTH)
            for (_, conditions), truth in zip(filters, truths, strict=True)
        ]

    if calibrate:
        params = calibrate_filtered(
            lambda trial: min(recalls(trial), default=1.0),
            params,
            release.searcher.max_nprobe,
            target,
            depths_of(release.searcher),
        )
    results: list[FilterResult] = []
    products = max(1, release.count(()))
    for (name, conditions), value in zip(filters, recalls(params), strict=True):
        _, plan = release.search(vectors[:1], DEPTH, params, conditions)
        p50, _ = _latency(release, vectors[:timed], params, conditions)
        share = round(release.count(conditions) / products, 5)
        results.append(FilterResult(queries.modality, name, share, plan.path, value, p50))
    return params, results


def _latency(
    release: Release, vectors: np.ndarray, params: SearchParams, conditions: Filter = ()
) -> tuple[float, float]:
    """p50 and p99 in milliseconds of single searches; the filter's rows are cached, as in a server."""
    times: list[float] = []
    for vector in vectors:
        began = time.perf_counter()
        release.search(vector[None, :], 100, params, conditions)
        times.append((time.perf_counter() - began) * 1000)
    return round(float(np.percentile(times, 50)), 3), round(float(np.percentile(times, 99)), 3)


def _found_scores(
    release: Release, vectors: np.ndarray, params: SearchParams, conditions: Filter = ()
) -> list[np.ndarray]:
    """Return the exact scores of what a search finds for each query, descending."""
    return _exact_scores(release, vectors, _search(release, vectors, params, conditions))


def _search(release: Release, vectors: np.ndarray, params: SearchParams, conditions: Filter = ()) -> list[list[Hit]]:
    """Search for all queries in one call.

    Raises:
        EngineTooSlow: an engine answers, and not in the time that servers have for so many searches.
        EngineUnavailable: it does not answer.
    """
    seconds = max(ENGINE_SECONDS, _ENGINE_SECONDS_A_QUERY * len(vectors))
    began = time.monotonic()
    try:
        return release.search(vectors, DEPTH, params, conditions, seconds=seconds)[0]
    except EngineUnavailable as error:
        if time.monotonic() - began < 0.9 * seconds:
            raise
        release.ping_engine(ENGINE_SECONDS)
        raise EngineTooSlow(f"{error}, for {len(vectors):,} searches with {params}") from error


def _exact_scores(release: Release, vectors: np.ndarray, hits: Sequence[Sequence[Hit]]) -> list[np.ndarray]:
    """Return the exact scores of each query's hits, descending: an engine's own differ in their last digits.

    Args:
        vectors: of the queries, float32[n, dim].
    """
    if release.searcher.candidates.scores_exactly:
        return [scores(query_hits) for query_hits in hits]
    return [
        release.searcher.vectors.score(query, np.array([hit.row for hit in query_hits], np.int64), DEPTH)[0]
        for query, query_hits in zip(vectors, hits, strict=True)
    ]
