"""Step 5, the gate: measure the candidate as the server would search it, choose how hard to search, decide.

Ground truth is exact search over the same vectors. nprobe and the rescoring depth are chosen for each kind of query:
the cheapest that meet `recall_target`. If none does, or too many products are gone, the candidate does not pass.
"""

from __future__ import annotations

from collections.abc import Callable

from artifacts.encoders.registry import load_encoder
from artifacts.errors import GateFailed, IncompatibleRelease
from artifacts.release.release import Release
from artifacts.settings import Settings
from artifacts.storage import Folder
from artifacts.store.store import Store
from jobs.candidate import EVALUATION, REPORT, Candidate, load_candidate
from jobs.evaluate.measure import measure
from jobs.evaluate.queries import draw_queries
from jobs.evaluate.report import render_report
from jobs.workspace import fingerprint


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
