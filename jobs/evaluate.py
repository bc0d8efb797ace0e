"""Step 5, the gate: measure the candidate as the server would search it, choose how hard to search, decide.

Ground truth is exact search over the same vectors. nprobe and the rescoring depth are chosen for each kind of query:
the cheapest that meet `recall_target`. If none does, or too many products are gone, the candidate does not pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from artifacts.encoder import load_encoder
from artifacts.errors import GateFailed, IncompatibleRelease
from artifacts.filters import Condition, Filter
from artifacts.index import SearchParams
from artifacts.release import Hit, Release
from artifacts.settings import Settings
from artifacts.storage import Folder
from artifacts.store import Store
from jobs.candidate import EVALUATION, REPORT, Candidate, load_candidate
from jobs.evaluation import Evaluation, FilterResult, KindResult, Trial
from jobs.queries import QuerySet, draw_queries
from jobs.report import render_report
from jobs.workspace import fingerprint

#: Depths tried, cheapest first.
_NPROBES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
_RESCORES = (2, 4, 8, 16, 32)
#: Chosen parameters must beat the target by this much, since they are chosen on the queries they are measured with.
_MARGIN = 0.005
#: Queries that are timed one by one, as a server gets them.
_TIMED = 100


def run_evaluate(
    workspace: Folder,
    store: Store,
    settings: Settings,
    *,
    shards: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[Candidate, bool]:
    """Measure the candidate, write evaluation.json and report.html, and save what was chosen.

    Returns:
        The candidate, and whether it had been measured before with the same result.

    Raises:
        GateFailed: it does not pass; the report says why. Nothing is published.
    """
    candidate = load_candidate(workspace)
    before = store.manifest(candidate.expected).counts.indexed if candidate.expected else None
    knobs = settings.model_dump(include={"recall_target", "max_shrink", "evaluation_queries", "seed"})
    measured = fingerprint([segment.info_sha256 for segment in candidate.segments], before, knobs)
    if candidate.evaluated == measured and candidate.passed:
        return candidate, True
    encoder = load_encoder(settings.encoder, settings.device)
    if encoder.id != candidate.encoder["id"]:
        raise IncompatibleRelease(f"the candidate was embedded with {candidate.encoder['id']}, not {encoder.id}")
    queries = draw_queries(workspace, shards, encoder, settings.evaluation_queries, settings.seed)
    manifest = candidate.manifest()
    release = Release(manifest, store.fetch(manifest))
    try:
        evaluation = measure(release, queries, settings, before=before, progress=progress)
    finally:
        release.close()
    workspace.write_text(EVALUATION, evaluation.to_json())
    workspace.write_text(REPORT, render_report(candidate, evaluation))
    candidate = candidate.model_copy(
        update={
            "search": {result.kind: result.params for result in evaluation.kinds},
            "recall": {
                f"{result.kind}@{depth}": round(value, 4)
                for result in evaluation.kinds
                for depth, value in ((10, result.recall_at_10), (100, result.recall_at_100))
            },
            "evaluated": measured,
            "passed": not evaluation.problems,
        }
    )
    candidate.save(workspace)
    if evaluation.problems:
        raise GateFailed(f"not published: {'; '.join(evaluation.problems)}. See {workspace.url}/{REPORT}")
    return candidate, False


def measure(
    release: Release,
    query_sets: Sequence[QuerySet],
    settings: Settings,
    *,
    before: int | None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Evaluation:
    """Measure an open release.

    Args:
        before: products of the release being served, to notice a shrunken catalog.
        progress: called with measurements done, and of how many.
    """
    began = time.monotonic()
    kinds: list[KindResult] = []
    filters: list[FilterResult] = []
    chosen_filters = pick_filters(release)
    total = len(query_sets) * (1 + len(chosen_filters))
    for queries in query_sets:
        result = _measure_kind(release, queries, settings.recall_target)
        kinds.append(result)
        progress(len(kinds) + len(filters), total)
        for name, conditions in chosen_filters:
            filters.append(_measure_filter(release, queries, result.params, name, conditions))
            progress(len(kinds) + len(filters), total)
    now = release.manifest.counts.indexed
    problems = [
        f"recall@100 of {result.kind} queries is {result.recall_at_100:.3f}, below the target {settings.recall_target}"
        for result in kinds
        if result.recall_at_100 < settings.recall_target
    ]
    problems += [
        f"recall@100 of {result.kind} queries under {result.name} is {result.recall_at_100:.3f}, "
        f"below the target {settings.recall_target}"
        for result in filters
        if result.recall_at_100 < settings.recall_target
    ]
    if before and (before - now) / before > settings.max_shrink:
        problems.append(
            f"{now} products, {before} in the release being served: {(before - now) / before:.0%} would be gone, more "
            f"than max_shrink {settings.max_shrink:.0%} allows"
        )
    return Evaluation(kinds, filters, settings.recall_target, before, now, problems, round(time.monotonic() - began, 3))


def pick_filters(release: Release) -> list[tuple[str, Filter]]:
    """Filters as shoppers use them, from most products to few: price ranges, categories, a brand, two together."""
    filters: list[tuple[str, Filter]] = []
    prices = np.concatenate(
        [segment.products.table.column("price").to_numpy(zero_copy_only=False) for segment in release.segments]
    ).astype(float)
    prices = prices[np.isfinite(prices)]
    for share in (0.5, 0.1, 0.01) if len(prices) else ():
        limit = float(np.quantile(prices, share))
        filters.append((f"price ≤ {limit:.2f}", (Condition("price", maximum=limit),)))
    for column in ("category", "brand"):
        values = [count.value for count in release.facet(column, ())]
        picked = dict.fromkeys([*values[:1], *values[-1:]])  # the most and the least frequent
        filters += [(f"{column} = {value}", (Condition(column, any_of=(value,)),)) for value in picked]
    return filters


def _measure_kind(release: Release, queries: QuerySet, target: float) -> KindResult:
    truth = exact(release, queries.vectors, 100)
    trials = _calibrate(release, queries, truth, target)
    best = _cheapest(trials, target + _MARGIN)
    params = SearchParams(best.nprobe, best.rescore)
    hits, _ = release.search(queries.vectors, 100, params)
    p50, p99 = _latency(release, queries.vectors, params)
    itself = [
        product_id in {hit.product_id for hit in found[:10]}
        for product_id, found in zip(queries.product_ids, hits, strict=True)
    ]
    return KindResult(
        queries.kind,
        len(queries.product_ids),
        params,
        recall_at_10=recall(hits, truth, 10),
        recall_at_100=recall(hits, truth, 100),
        found_itself=float(np.mean(itself)),
        p50_ms=p50,
        p99_ms=p99,
        trials=trials,
    )


def _calibrate(release: Release, queries: QuerySet, truth: list[list[Hit]], target: float) -> list[Trial]:
    """Try settings, cheapest first, until going further cannot help; a flat release has nothing to choose."""
    lists = max((segment.info.index.lists for segment in release.segments), default=0)
    if lists == 0:
        return [_trial(release, queries, truth, SearchParams())]
    trials: list[Trial] = []
    for rescore in _RESCORES:
        for nprobe in sorted({min(nprobe, lists) for nprobe in _NPROBES}):
            trials.append(_trial(release, queries, truth, SearchParams(nprobe, rescore)))
            if trials[-1].recall_at_100 >= target + _MARGIN:
                break  # more probes at this depth only cost more
    return trials


def _cheapest(trials: Sequence[Trial], target: float) -> Trial:
    good = [trial for trial in trials if trial.recall_at_100 >= target]
    if good:
        return min(good, key=lambda trial: trial.milliseconds)
    return max(trials, key=lambda trial: trial.recall_at_100)


def _trial(release: Release, queries: QuerySet, truth: list[list[Hit]], params: SearchParams) -> Trial:
    began = time.perf_counter()
    hits, _ = release.search(queries.vectors, 100, params)
    milliseconds = (time.perf_counter() - began) * 1000 / len(queries.vectors)
    return Trial(params.nprobe, params.rescore, recall(hits, truth, 100), round(milliseconds, 4))


def _measure_filter(
    release: Release, queries: QuerySet, params: SearchParams, name: str, conditions: Filter
) -> FilterResult:
    vectors = queries.vectors[:_TIMED]
    hits, plans = release.search(vectors, 100, params, conditions)
    truth = exact(release, vectors, 100, conditions)
    p50, _ = _latency(release, vectors, params, conditions)
    share = release.count(conditions) / max(1, release.count(()))
    paths = "+".join(sorted({plan.path for plan in plans}))
    return FilterResult(queries.kind, name, round(share, 5), paths, recall(hits, truth, 100), p50)


def _latency(
    release: Release, vectors: np.ndarray, params: SearchParams, conditions: Filter = ()
) -> tuple[float, float]:
    """p50 and p99 in milliseconds of searches one by one, with the filter's rows cached as in a server."""
    times: list[float] = []
    for vector in vectors[:_TIMED]:
        began = time.perf_counter()
        release.search(vector[None, :], 100, params, conditions)
        times.append((time.perf_counter() - began) * 1000)
    return round(float(np.percentile(times, 50)), 3), round(float(np.percentile(times, 99)), 3)


def exact(release: Release, vectors: np.ndarray, k: int, conditions: Filter = ()) -> list[list[Hit]]:
    """The true best products of each query."""
    return release.search(vectors, k, SearchParams(), conditions, exact=True)[0]


def recall(hits: Sequence[Sequence[Hit]], truth: Sequence[Sequence[Hit]], depth: int) -> float:
    """recall@depth: the share of the true best `depth` products that were found; of equal scores any counts.

    Without the tie rule, catalogs that show one picture under many products could never reach 1.
    """
    shares: list[float] = []
    for found, true in zip(hits, truth, strict=True):
        true = true[:depth]
        if not true:
            continue
        worst = true[-1].score - 1e-6
        shares.append(min(1.0, sum(hit.score >= worst for hit in found[:depth]) / len(true)))
    return float(np.mean(shares)) if shares else 1.0
