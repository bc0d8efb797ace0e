"""Merges the served base and delta into a new base: vectors and codes are copied, nothing is downloaded or embedded.

A refresh that is published meanwhile is not lost: what it says becomes the new base's delta.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from artifacts.release.compaction import write_compacted
from artifacts.schema import FORMAT_VERSION
from artifacts.store.manifest import SegmentRef
from jobs.candidate import Candidate, read_rejects
from jobs.progress import QUIET, Reporter
from jobs.publish import until_published
from jobs.rebase.rebase import rebase
from jobs.refresh.memory import known_positions
from jobs.refresh.publication import publish_candidate
from jobs.refresh.served import Served, State
from jobs.refresh.workspace import refresh_workspace
from jobs.steps import Progress, StepContext, StepResult
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.workspace import CANDIDATE_REJECTS


@dataclass(frozen=True)
class CompactReport:
    """The outcome of `run_compact`."""

    version: str  # the version that is served now
    products: int
    pictures: int
    drift: float | None = None  # see `quantizer_drift`
    seconds: float = 0.0


def run_compact(context: StepContext, *, if_due: bool = False, reporter: Reporter = QUIET) -> StepResult[CompactReport]:
    """Publish the served release with its delta merged into a new base.

    Args:
        if_due: only if the delta is larger, or older, than the configuration allows.
        reporter: shows the parts of the work.

    Raises:
        NoRelease: nothing has been published yet.
        CorruptFile: a file of the served release is damaged.
        GateFailed: the merged release would be below the target; the one that is served stays.
        PublishConflict: refreshes overtook every attempt.
    """
    began = time.monotonic()
    served = Served.of(context.store)
    reason = None if if_due else "on request"
    reason = reason or _due(context, served)
    if len(served.manifest.segments) < 2 or reason is None:
        note = "there is no delta" if len(served.manifest.segments) < 2 else f"the delta is {served.delta_share:.1%}"
        return StepResult(False, f"{note}: nothing to compact", _report(served, began))
    with context.store.kept(served.manifest.segments):
        with reporter.step("compact", "rows") as display:
            base = _write_base(context, served, display.at)
            display.note(f"{base.products:,} products, {reason}")
        version = until_published(context.store, lambda: _publish(context, served, base, reporter))
    report = _report(Served.of(context.store, version), began)
    if version is None:
        return StepResult(False, "another base has been published meanwhile: nothing to compact", report)
    return StepResult(True, f"{version}: {report.products:,} products, {reason}", report)


def _report(served: Served, began: float) -> CompactReport:
    counts = served.manifest.counts
    seconds = round(time.monotonic() - began, 3)
    return CompactReport(served.manifest.version, counts.indexed, counts.pictures, served.drift, seconds)


def _due(context: StepContext, served: Served) -> str | None:
    """Return why the delta is to be merged; None if it is small and young."""
    if len(served.manifest.segments) < 2:
        return None
    config = context.config
    if served.delta_share >= config.compact_share:
        return f"the delta was {served.delta_share:.1%} of the base"
    with State(served.state_files) as state:
        oldest = state.delta_since()
    hours = 0.0 if oldest is None else (datetime.now(UTC) - oldest).total_seconds() / 3600
    return f"the delta was {hours:.0f} h old" if hours >= config.compact_hours else None


def _write_base(context: StepContext, served: Served, progress: Progress) -> SegmentRef:
    """Write the new base, unless an earlier attempt has."""
    config, store = context.config, context.store
    segments = [segment.info_sha256 for segment in served.manifest.segments]
    inputs = fingerprint("compact", FORMAT_VERSION, segments)
    segment_id = inputs[:16]
    if not store.has_segment(segment_id):
        store.verify(served.manifest.version)  # damage must not be copied under new digests
        release = served.open()
        try:
            with store.new_segment(segment_id) as folder:
                write_compacted(
                    release, folder, segment_id, config.index,
                    tombstones_since=datetime.now(UTC) - timedelta(days=config.tombstone_days),
                    inputs=inputs, progress=progress,
                )  # fmt: skip
        finally:
            release.close()
    return store.reference(segment_id)


def _publish(context: StepContext, merged: Served, base: SegmentRef, reporter: Reporter) -> str | None:
    """Publish the new base, with the delta that it needs to say what is served by now; returns its version.

    None if another base is served by now: it is newer, and may be of another encoder.
    """
    store = context.store
    served = Served.of(store)
    if served.manifest.segments[0] != merged.manifest.segments[0]:
        return None
    delta: SegmentRef | None = None
    if served.manifest.version != merged.manifest.version:
        with store.kept(served.manifest.segments):
            delta = rebase(context, served, served.alone(store, base, served.manifest.encoder), read_at=None)
    segments = [base] if delta is None else [base, delta]
    manifest = served.manifest
    candidate = Candidate(
        expected=manifest.version,
        source=manifest.source,
        encoder=manifest.encoder,
        segments=segments,
        counts=manifest.counts,
        settings=manifest.settings,
        engine_url=served.engine_url(context.config.engine),
        engine_options=manifest.engine_options,
        sources=known_positions(context.workspace, manifest),
        calibrated=True,
        search=manifest.search,
    )
    with refresh_workspace(context.workspace, 0, f"compact-{base.id}", datetime.now(UTC)) as workspace:
        candidate.save(workspace)
        workspace.candidate.write_bytes(CANDIDATE_REJECTS, read_rejects(store, manifest.version))
        return publish_candidate(replace(context, workspace=workspace), reporter).version
