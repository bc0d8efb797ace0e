"""Build steps that keep what refreshes publish while a build runs: see `jobs.refresh.rebase`."""

from __future__ import annotations

from datetime import timedelta

from artifacts.errors import NoRelease, StepFailed
from artifacts.store.manifest import SegmentRef
from jobs.candidate import Candidate, load_candidate
from jobs.catalog.report import read_catalog_report
from jobs.evaluate.step import run_evaluate
from jobs.publish import PublishReport, run_publish, until_published
from jobs.refresh.memory import inherited_positions
from jobs.refresh.served import Served, counts_of, rejected_rows
from jobs.steps import StepContext, StepResult
from jobs.workspace.refreshes import remove_refreshes_before


def run_rebase(context: StepContext) -> StepResult[Candidate]:
    """Give the candidate's base the delta of what is served and newer than the catalog that it was built from.

    Without a release, with one of another encoder, or of Lookalike 0.1, there is nothing to carry over.

    Raises:
        StepFailed: the index step has not been done.
    """
    candidate = load_candidate(context.workspace)
    base, store = candidate.segments[0], context.store
    delta = _delta(context, candidate)
    segments = [base] if delta is None else [base, delta]
    folders = [store.segment_path(segment.id) for segment in segments]
    counts = counts_of(folders, rejected_rows(candidate.counts))
    read_at = read_catalog_report(context.workspace).read_at
    sources = inherited_positions(store, context.workspace, candidate.encoder["id"], read_at)
    rebased = candidate.model_copy(
        update={"segments": segments, "counts": counts, "expected": store.current(), "sources": sources}
    )
    if rebased != candidate:
        rebased.save(context.workspace)
    note = "nothing newer is served" if delta is None else f"{delta.products:,} products and further changes are newer"
    return StepResult(rebased.segments != candidate.segments, note, rebased)


def _delta(context: StepContext, candidate: Candidate) -> SegmentRef | None:
    try:
        served = Served.current(context.store)
    except (NoRelease, StepFailed):
        return None
    if served.manifest.encoder["id"] != candidate.encoder["id"] or served.manifest.segments == candidate.segments[:1]:
        return None
    from jobs.refresh.rebase import Newer, rebase  # imports FAISS

    read_at = read_catalog_report(context.workspace).read_at
    return rebase(context.store, served, candidate.segments[0], Newer(read_at), context.config)


def run_publish_rebased(context: StepContext) -> StepResult[PublishReport]:
    """Publish the candidate; if another version has been published since, its newer changes are carried over first.

    Refreshes that are some days older than the catalog are removed: the build has taken over what it needs of them.

    Raises:
        GateFailed: the candidate has not passed the gate.
        PublishConflict: other publications overtook every attempt.
    """

    def attempt() -> StepResult[PublishReport]:
        if load_candidate(context.workspace).expected != context.store.current():
            run_rebase(context)
            run_evaluate(context)
        return run_publish(context)

    result = until_published(attempt)
    read_at = read_catalog_report(context.workspace).read_at
    remove_refreshes_before(context.workspace, read_at - timedelta(days=context.config.tombstone_days))
    return result
