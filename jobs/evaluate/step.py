"""Step 5, the gate: measure the candidate as the server would search it, choose its search parameters, decide.

Ground truth is exact search over the same vectors. nprobe and the rescoring depth are chosen for each modality: the
cheapest that meet `recall_target`. If none does, or if the catalog has lost too many products, the candidate does not
pass.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from artifacts.encoders.identity import remember_identity
from artifacts.encoders.registry import load_encoder
from artifacts.errors import GateFailed, IncompatibleRelease, NoRelease
from artifacts.store.store import Store
from jobs.candidate import Candidate, load_candidate
from jobs.evaluate.results import shrink_problem
from jobs.load.step import engine_pool
from jobs.steps import StepContext, StepResult
from jobs.workspace.fingerprints import Recorded, fingerprint, if_changed
from jobs.workspace.records import write_record
from jobs.workspace.workspace import EVALUATION, REPORT

if TYPE_CHECKING:
    from artifacts.release.release import Release
    from jobs.evaluate.queries import QuerySet


def run_evaluate(context: StepContext) -> StepResult[Candidate]:
    """Measure the candidate, write evaluation.json and report.html, and save the candidate with what was chosen.

    Progress counts measurements.

    Raises:
        GateFailed: it does not pass; the report says why. Nothing is published.
        IncompatibleRelease: the encoder is not the one that the candidate was embedded with.
    """
    candidate = load_candidate(context.workspace)
    gate = context.config.gate
    before = _served_products(context.store)
    segments = [segment.info_sha256 for segment in candidate.segments]
    # How far the catalog shrank depends on what is served now: it is judged at every run, and not part of the digest.
    options = [candidate.engine_options] if candidate.engine_options else []
    measured = fingerprint(segments, gate.recall_target, gate.evaluation_queries, gate.seed, *options)
    # Lookalike 0.1 had it in the digest: what it measured is not measured again.
    settings = {
        "recall_target": gate.recall_target, "max_shrink": gate.max_shrink,
        "evaluation_queries": gate.evaluation_queries, "seed": gate.seed,
    }  # fmt: skip
    measured_by_0_1 = fingerprint(segments, before, settings)
    outcome = if_changed(
        measured_by_0_1 if candidate.evaluated == measured_by_0_1 else measured,
        _recorded(candidate, before, gate.max_shrink),
        lambda: _evaluate(context, candidate, before, measured),
    )
    recall = ", ".join(f"{name} {value:.3f}" for name, value in outcome.value.recall.items())
    return StepResult(outcome.changed, f"recall {recall}{'' if outcome.changed else ', as before'}", outcome.value)


def _served_products(store: Store) -> int | None:
    """Return the number of products that can be found now; None if nothing is served."""
    try:
        return store.manifest().counts.indexed
    except NoRelease:
        return None


def _recorded(candidate: Candidate, before: int | None, max_shrink: float) -> Recorded[Candidate] | None:
    """The candidate as it was measured, if it passed then and has not shrunk too far for what is served now."""
    if not candidate.passed or shrink_problem(candidate.counts.indexed, before, max_shrink):
        return None
    return Recorded(candidate.evaluated, candidate)


def _evaluate(context: StepContext, candidate: Candidate, before: int | None, measured: str) -> Candidate:
    # FAISS, DuckDB, torch and Matplotlib: not before there is something to measure
    from artifacts.release.release import Release
    from jobs.evaluate.measure import measure
    from jobs.evaluate.report import render_report
    from jobs.evaluate.samples import sample_searches
    from jobs.evaluate.stored_queries import store_queries

    config, workspace = context.config, context.workspace
    drawn = None if candidate.calibrated else _draw_queries(context, candidate)
    manifest = candidate.manifest()
    with (
        engine_pool(context) as engines,
        closing(
            Release(manifest, context.store.fetch(manifest), verify=not candidate.calibrated, engines=engines)
        ) as release,
    ):
        queries = drawn or _queries_of_delta(context, candidate, release)
        evaluation = measure(
            release,
            queries,
            config.gate,
            index=config.index,
            products_before=before,
            calibrated=candidate.search if candidate.calibrated else None,
            progress=context.progress,
        )
        if candidate.calibrated and evaluation.misses_target:  # the delta may need a deeper search than its base
            evaluation = measure(
                release, queries, config.gate, index=config.index, products_before=before, progress=context.progress
            )
        search = {result.modality: result.params for result in evaluation.modalities}
        samples = sample_searches(release, queries, search)
    write_record(workspace.candidate, EVALUATION, evaluation)
    workspace.candidate.write_text(REPORT, render_report(candidate, evaluation, samples))
    candidate = candidate.model_copy(
        update={
            "search": search,
            "recall": {
                f"{result.modality}@{depth}": round(value, 4)
                for result in evaluation.modalities
                for depth, value in ((10, result.recall_at_10), (100, result.recall_at_100))
            },
            "evaluated": measured,
            "passed": not evaluation.problems,
        }
    )
    candidate.save(workspace)
    if evaluation.problems:
        raise GateFailed(f"not published: {'; '.join(evaluation.problems)}. See {workspace.candidate.url}/{REPORT}")
    if drawn is not None:  # kept for the base's deltas; those of a base that does not pass would replace better ones
        store_queries(workspace, str(candidate.encoder["id"]), drawn)
    return candidate


def _draw_queries(context: StepContext, candidate: Candidate) -> list[QuerySet]:
    """Draw queries for a new base."""
    from jobs.evaluate.queries import draw_queries

    config, gate = context.config, context.config.gate
    encoder = load_encoder(config.encoder.encoder, config.encoder.device)
    if encoder.id != candidate.encoder["id"]:
        remember_identity(encoder, config.cache)
        raise IncompatibleRelease(
            f"the candidate was embedded with {candidate.encoder['id']}, not {encoder.id}; run the build again"
        )
    return draw_queries(context.workspace, encoder, gate.evaluation_queries, gate.seed)


def _queries_of_delta(context: StepContext, candidate: Candidate, release: Release) -> list[QuerySet]:
    """Return the queries of the base, and some of the delta's own."""
    from jobs.evaluate.stored_queries import load_queries, queries_of_delta

    gate = context.config.gate
    kept = load_queries(context.workspace.main or context.workspace, str(candidate.encoder["id"]))
    return queries_of_delta(release, kept, gate.evaluation_queries, gate.seed)
