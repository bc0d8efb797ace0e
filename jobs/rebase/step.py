"""Build steps that keep what refreshes publish while a build runs: see `jobs.rebase.rebase`."""

from __future__ import annotations

from datetime import timedelta

from artifacts.errors import NoRelease, StepFailed
from artifacts.store.manifest import SegmentRef
from artifacts.store.store import Store
from jobs.candidate import Candidate, load_candidate
from jobs.catalog.report import read_catalog_report
from jobs.evaluate.step import run_evaluate
from jobs.load.step import run_load
from jobs.publish import PublishReport, run_publish, until_published
from jobs.refresh.memory import known_positions
from jobs.refresh.served import Served, counts_of, rejected_rows
from jobs.steps import StepContext, StepResult
from jobs.workspace.refreshes import remove_refreshes_before


def run_rebase(context: StepContext) -> StepResult[Candidate]:
    """Give the candidate's base the delta of what is served and newer than the catalog that it was built from.

    Without a release, or with one of Lookalike 0.1, there is nothing to carry over. Pictures that the base lacks are
    embedded if it has another encoder.

    Raises:
        StepFailed: the index step has not been done.
    """
    candidate, store = load_candidate(context.workspace), context.store
    base = candidate.segments[0]
    # Read once: what is published from here on is noticed when the candidate is published.
    expected = store.current()
    served = _served(store, expected)
    delta = None if served is None else _delta(context, candidate, served)
    segments = [base] if delta is None else [base, delta]
    folders = store.fetch(candidate.model_copy(update={"segments": segments}).manifest())
    counts = counts_of(folders, rejected_rows(candidate.counts))
    sources = {} if served is None else known_positions(context.workspace, served.manifest)
    rebased = candidate.model_copy(
        update={"segments": segments, "counts": counts, "expected": expected, "sources": sources}
    )
    if rebased != candidate:
        rebased.save(context.workspace)
    note = "nothing newer is served" if delta is None else f"{delta.products:,} products and further changes are newer"
    return StepResult(rebased.segments != candidate.segments, note, rebased)


def _served(store: Store, version: str | None) -> Served | None:
    """Return a version; None if there is none, or Lookalike 0.1 has built it."""
    if version is None:
        return None
    try:
        return Served.of(store, version)
    except (NoRelease, StepFailed):
        return None


def _delta(context: StepContext, candidate: Candidate, served: Served) -> SegmentRef | None:
    if served.manifest.segments == candidate.segments[:1]:
        return None
    from jobs.rebase.rebase import rebase  # imports FAISS

    base = served.alone(context.store, candidate.segments[0], candidate.encoder)
    with context.store.kept(served.manifest.segments):
        return rebase(context, served, base, read_at=read_catalog_report(context.workspace).read_at)


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
            run_load(context)
            run_evaluate(context)
        return run_publish(context)

    result = until_published(context.store, attempt)
    read_at = read_catalog_report(context.workspace).read_at
    remove_refreshes_before(context.workspace, read_at - timedelta(days=context.config.tombstone_days))
    return result
