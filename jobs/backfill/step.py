"""Backfills: chosen products again, or every product with a new encoder, which goes live when it passes its gate."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from artifacts.encoders.identity import encoder_identity
from artifacts.schema import attributes_of
from jobs.backfill.request import BackfillRequest
from jobs.build import build_steps
from jobs.catalog.changes import find_changes
from jobs.progress import QUIET, Reporter
from jobs.refresh.changed import changed_products, require_selected
from jobs.refresh.served import Served, State
from jobs.refresh.step import run_refresh
from jobs.steps import StepContext, StepResult


@dataclass(frozen=True)
class BackfillPlan:
    """What a backfill would do."""

    products: int  # to process
    pictures: int  # to fetch
    embeddings: int  # at most; bytes that are known are not embedded again
    deleted: int
    encoder: str  # id

    def lines(self) -> list[str]:
        """The plan for people."""
        return [
            f"encoder     {self.encoder}",
            f"products    {self.products:,} to process, {self.deleted:,} to delete",
            f"pictures    {self.pictures:,} to fetch",
            f"embeddings  {self.embeddings:,} at most",
        ]


@dataclass(frozen=True)
class BackfillReport:
    """The outcome of `run_backfill`."""

    version: str  # the version that is served now
    products: int  # processed
    fetched: int
    embedded: int


def run_backfill(
    context: StepContext, request: BackfillRequest, *, reporter: Reporter = QUIET
) -> StepResult[BackfillReport]:
    """Process the requested products again, and publish the result.

    A new encoder is embedded beside the served release: what is served stays until the new release passes the gate.

    Raises:
        StepFailed: the request contradicts itself, too many rows were rejected, or a shard failed.
        GateFailed: the result would be below the target; the release that is served stays.
    """
    request.validate()
    if request.encoder:
        return _with_encoder(context, request.encoder, reporter)
    result = run_refresh(
        context,
        changes_only=request.changes_only,
        day=request.day,
        refetch=request.refetch,
        force=request.selection,
        reembed=request.reembed,
        reporter=reporter,
    )
    report = result.report
    changes = report.changes
    done = BackfillReport(
        report.version,
        changes.new + changes.pictures + changes.attributes,
        report.obtained.fetched,
        report.obtained.embedded,
    )
    return StepResult(result.changed, result.note, done)


def _with_encoder(context: StepContext, spec: str, reporter: Reporter) -> StepResult[BackfillReport]:
    config = replace(context.config, encoder=replace(context.config.encoder, encoder=spec))
    summary = build_steps(replace(context, config=config), reporter)
    report = BackfillReport(
        summary.published.version,
        summary.counts.indexed,
        summary.steps["download"].report.done,
        summary.steps["embed"].report.done,
    )
    return StepResult(summary.changed, f"{report.version}: {report.embedded:,} pictures embedded", report)


def plan_backfill(context: StepContext, request: BackfillRequest) -> BackfillPlan:
    """Return what `run_backfill` would do; nothing is written, downloaded or embedded.

    Raises:
        StepFailed: the request contradicts itself, or too many rows were rejected.
    """
    request.validate()
    served = Served.of(context.store)
    config = context.config
    spec = request.encoder or config.encoder.encoder
    identity = encoder_identity(spec, config.encoder.device, config.cache)
    with tempfile.TemporaryDirectory(prefix="lookalike-plan-") as scratch:
        changes = find_changes(
            context.catalog,
            served.state_files,
            config.max_reject_rate,
            Path(scratch) / "changes",
            changes_only=request.changes_only,
            day=request.day,
            picture_base=config.picture_base,
            force=None if request.encoder else request.selection,
            served_types=attributes_of(served.schema),
        )
        with State(served.state_files) as state:
            if request.selection is not None and not request.encoder:
                require_selected(request.selection, changes, state)
            wanted = [len(product.to_fetch) for product in changed_products(changes, state, request.refetch)]
    pictures = sum(wanted)
    if not request.encoder:
        return BackfillPlan(len(wanted), pictures, pictures, changes.counts.deleted, identity.id)
    known = _embedded(context, identity.slug)
    counts = changes.counts
    pictures_now = served.manifest.counts.pictures + pictures
    return BackfillPlan(counts.accepted, pictures, max(0, pictures_now - known), counts.deleted, identity.id)


def _embedded(context: StepContext, slug: str) -> int:
    """Number of pictures that the workspace has a vector of, by an encoder."""
    folder = context.workspace.embeddings(slug)
    reports: Sequence[int] = [
        report.ok for shard in range(folder.shards) if (report := folder.report(shard)) is not None
    ]
    return sum(reports)
