"""`lookalike refresh`: compares a catalog with the served release, and publishes what differs as the next delta.

Nothing is written over what is served: the delta is a new segment, and CURRENT moves when the gate has passed it. A
refresh that was killed is begun again, and finds what it has downloaded.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from artifacts.encoders.identity import EncoderIdentity, encoder_identity
from artifacts.errors import CorruptFile, IncompatibleRelease, StepFailed
from artifacts.release.release import Release
from artifacts.schema import TRANSIENT_REASONS, attributes_of
from artifacts.storage import sha256_of
from jobs.catalog.changes import CatalogChanges, ChangeCounts, find_changes
from jobs.catalog.compare.selection import Selection
from jobs.download.refetch import NOTHING, Refetch
from jobs.evaluate.step import run_evaluate
from jobs.progress import QUIET, Reporter
from jobs.publish import run_publish, until_published
from jobs.refresh.candidate import make_candidate, write_delta
from jobs.refresh.changed import changed_products
from jobs.refresh.pictures import Obtained, obtain_pictures, open_workspace
from jobs.refresh.report import REFRESH_RECORD, RefreshRecord, RefreshReport
from jobs.refresh.served import Served, State
from jobs.steps import Progress, StepContext, StepResult
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.records import read_record, write_record
from jobs.workspace.workspace import Workspace


def run_refresh(
    context: StepContext,
    *,
    changes_only: bool = False,
    refetch: Refetch = NOTHING,
    force: Selection | None = None,
    reporter: Reporter = QUIET,
) -> StepResult[RefreshReport]:
    """Bring the changes of the context's catalog into the served release.

    Args:
        changes_only: whether the catalog names only what has changed.
        refetch: products whose pictures are downloaded again.
        force: products that are processed again although the catalog says the same of them.
        reporter: shows the parts of the work.

    Raises:
        CatalogError: the catalog as a whole cannot be used.
        NoRelease: nothing has been published yet.
        IncompatibleRelease: the served release was embedded with another encoder.
        StepFailed: too many rows were rejected, or a shard failed.
        GateFailed: the release would be below the target; the one that is served stays.
        PublishConflict: other publications overtook every attempt.
    """
    attempt = _Refresh(context, changes_only, refetch, force, reporter)
    return until_published(attempt.run)


@dataclass
class _Refresh:
    """One attempt."""

    context: StepContext
    changes_only: bool
    refetch: Refetch
    force: Selection | None
    reporter: Reporter

    def run(self) -> StepResult[RefreshReport]:
        began, started = datetime.now(UTC), time.monotonic()
        served = Served.current(self.context.store)
        identity = self._identity(served)
        with tempfile.TemporaryDirectory(prefix="lookalike-refresh-") as scratch:
            with self.reporter.step("changes", "rows") as display:
                changes = self._find_changes(served, Path(scratch), began, display.at)
                display.note(_describe(changes.counts) if not changes.skipped else "the catalog is as before")
            counts = changes.counts
            if changes.skipped or not (counts.new or counts.pictures or counts.attributes or counts.deleted):
                self._record(served, changes, began)
                report = RefreshReport(
                    served.manifest.version, counts, served.manifest.counts, watermark=changes.watermark
                )
                return StepResult(False, "nothing has changed", report)
            report = self._apply(served, changes, identity, began)
        return StepResult(True, report.note, replace(report, seconds=round(time.monotonic() - started, 3)))

    def _identity(self, served: Served) -> EncoderIdentity:
        config = self.context.config
        identity = encoder_identity(config.encoder.encoder, config.encoder.device, config.cache)
        if identity.id != served.manifest.encoder["id"]:
            raise IncompatibleRelease(
                f"version {served.manifest.version} was embedded with {served.manifest.encoder['id']}, not "
                f"{identity.id}: refresh with that encoder, or move to the new one with `lookalike backfill --encoder`"
            )
        return identity

    def _find_changes(self, served: Served, scratch: Path, began: datetime, progress: Progress) -> CatalogChanges:
        config, record = self.context.config, self._last_record()
        same = record is not None and record.content_id == served.manifest.content_id
        retry = record.retries(began, config.retry_minutes) if record is not None else frozenset()
        return find_changes(
            self.context.catalog,
            served.state_files,
            config.max_reject_rate,
            scratch / "changes",
            changes_only=self.changes_only,
            force=self.force or _selection(self.refetch),
            retry=retry,
            served_types=attributes_of(served.schema),
            unchanged_since=record.fingerprint if record is not None and same else None,
            progress=progress,
        )

    def _apply(
        self, served: Served, changes: CatalogChanges, identity: EncoderIdentity, began: datetime
    ) -> RefreshReport:
        """Write the delta, and publish it if it passes the gate."""
        counts, context = changes.counts, self.context
        digest = fingerprint(served.manifest.content_id, sha256_of(changes.changed), sha256_of(changes.deleted))[:16]
        workspace = open_workspace(context.workspace, counts.new + counts.pictures, digest, began)
        release = served.open()
        try:
            with State(served.state_files) as state:
                with self.reporter.step("pictures") as display:
                    obtained = self._obtain(workspace, changes, release, state, identity)
                    display.note(
                        f"{obtained.fetched:,} fetched, {obtained.embedded:,} embedded, {obtained.known:,} known"
                    )
                with self.reporter.step("delta") as display:
                    delta, tally = write_delta(
                        context, workspace, served, changes, release, state, self.refetch, identity, began
                    )
                    display.note(f"{tally.written:,} products written, {tally.updated:,} updated")
        finally:
            release.close()
        candidate = make_candidate(context, workspace, served, changes, delta, tally, changes_only=self.changes_only)
        step = replace(context, workspace=workspace)
        with self.reporter.step("evaluate", "measurements") as display:
            display.note(run_evaluate(replace(step, progress=display.at)).note)
        with self.reporter.step("publish") as display:
            published = run_publish(step)
            display.note(published.note)
        now_served = Served.current(context.store)
        self._record(now_served, changes, began)
        if not workspace.images.exists(0):
            workspace.folder.remove("")  # nothing was downloaded that a build could take over
        return RefreshReport(
            published.report.version, counts, candidate.counts, obtained, tally, now_served.delta_share,
            now_served.drift, changes.watermark,
        )  # fmt: skip

    def _obtain(
        self, workspace: Workspace, changes: CatalogChanges, release: Release, state: State, identity: EncoderIdentity
    ) -> Obtained:
        wanted = (product for product in changed_products(changes, state, self.refetch) if product.to_fetch)
        return obtain_pictures(self.context, workspace, changes, wanted, release, state, identity)

    # ── the record ───────────────────────────────────────────────────────────────────────────────────────────────

    def _last_record(self) -> RefreshRecord | None:
        try:
            return read_record(self.context.workspace.folder, REFRESH_RECORD, RefreshRecord)
        except CorruptFile:
            return None

    def _record(self, served: Served, changes: CatalogChanges, began: datetime) -> None:
        with State(served.state_files) as state:
            transient = not TRANSIENT_REASONS.isdisjoint(state.failures())
        record = RefreshRecord(served.manifest.content_id, changes.fingerprint, began, transient)
        write_record(self.context.workspace.folder, REFRESH_RECORD, record)


def _selection(refetch: Refetch) -> Selection | None:
    """Return the products that a refetch selects; None if there are none."""
    if refetch.all:
        return Selection()
    if refetch.products and refetch.categories:
        raise StepFailed("refetch either products or categories, not both at once")
    if refetch.products:
        return Selection(product_ids=refetch.products)
    return Selection(categories=refetch.categories) if refetch.categories else None


def _describe(counts: ChangeCounts) -> str:
    return (
        f"{counts.accepted:,} of {counts.input_rows:,} rows: {counts.new:,} new, {counts.pictures:,} with other "
        f"pictures, {counts.attributes:,} with other attributes, {counts.deleted:,} deleted"
    )
