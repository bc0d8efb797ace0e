"""`lookalike refresh`: compares a catalog with the served release, and publishes what differs as the next delta.

Nothing is written over what is served: the delta is a new segment, and CURRENT moves when the gate has passed it.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts.encoders.identity import EncoderIdentity
from artifacts.errors import LookalikeError, ShardConflict
from artifacts.schema import attributes_of
from artifacts.storage import sha256_of
from jobs.catalog.changes import CatalogChanges, find_changes, no_changes
from jobs.catalog.compare.selection import Selection
from jobs.download.refetch import NOTHING, Refetch
from jobs.load.step import discard
from jobs.progress import QUIET, Reporter
from jobs.publish import until_published
from jobs.refresh.changed import changed_products, rejects_of, require_selected, selection_of
from jobs.refresh.memory import SourceMemory
from jobs.refresh.publication import publish_candidate
from jobs.refresh.recheck import finish_recheck, recheck_pictures
from jobs.refresh.report import DeltaTally, Obtained, RefreshReport, together
from jobs.refresh.served import Served, State
from jobs.steps import Progress, StepContext, StepResult
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.refreshes import NEWEST, remove_refresh
from jobs.workspace.workspace import Workspace

if TYPE_CHECKING:
    from artifacts.release.release import Release


def run_refresh(
    context: StepContext,
    *,
    changes_only: bool = False,
    day: date | None = None,
    refetch: Refetch = NOTHING,
    force: Selection | None = None,
    reembed: bool = False,
    remember: bool = True,
    reporter: Reporter = QUIET,
) -> StepResult[RefreshReport]:
    """Bring the changes of the context's catalog into the served release.

    What the release has of a source of changes, by its position, is not read again, and partitions that came since are
    applied one after another; unless a day, products to refetch or to force, or `reembed` is given, or it shall not be
    remembered: then, what is named is read.

    Args:
        changes_only: whether the catalog names only what has changed.
        day: of the catalog's partition to read; None for the newest, or those that came since.
        refetch: products whose pictures are downloaded again.
        force: products that are processed again although the catalog says the same of them; see `Selection.only`.
        reembed: whether pictures that are fetched are embedded although the release has their vectors.
        remember: whether the source is read again and again under this name. The stream's batches are not: one that is
            delivered twice is applied twice, so that its failures are reported twice.
        reporter: shows the parts of the work.

    Raises:
        CatalogError: the catalog as a whole cannot be used.
        NoRelease: nothing has been published yet.
        IncompatibleRelease: the served release was embedded with another encoder.
        StepFailed: too many rows were rejected, a product or category that is named is unknown, or a shard failed.
        GateFailed: the release would be below the target; the one that is served stays.
        PublishConflict: other publications overtook every attempt.
    """
    remember = remember and not (force and force.only)
    attempt = _Refresh(context, changes_only, day, refetch, force, reembed, remember, reporter)
    results = [until_published(context.store, attempt.run)]
    while attempt.has_more():
        results.append(until_published(context.store, attempt.run))
    if len(results) == 1:
        return results[0]
    report, changed = together([result.report for result in results]), any(result.changed for result in results)
    return StepResult(changed, report.note if changed else results[-1].note, report)


@dataclass
class _Refresh:
    """One call of `run_refresh`, which may begin again and again: when it is overtaken, and for each partition.

    Attributes:
        key: tells this call from others.
        rechecked: whether it has asked for old pictures again; then `refetch` names those that have changed.
        retried: whether it has tried failed pictures again.
        digests: of the changes of each partition, as they were found first.
        later: whether partitions wait that are later than the one that was applied.
    """

    context: StepContext
    changes_only: bool
    day: date | None
    refetch: Refetch
    force: Selection | None
    reembed: bool
    remember: bool
    reporter: Reporter
    key: datetime = field(default_factory=lambda: datetime.now(UTC))
    rechecked: bool = False
    retried: bool = False
    digests: dict[date | None, str] = field(default_factory=dict)
    later: bool = False

    def has_more(self) -> bool:
        """Return whether a source of changes has a later partition, or pictures to retry that new changes have left."""
        if self.later or self.retried or self._is_named or not self.changes_only:
            return self.later
        served, minutes = self.context.store.manifest(), self.context.config.retry_minutes
        return self._memory.retry_due(served, datetime.now(UTC), minutes)

    def run(self) -> StepResult[RefreshReport]:
        served = Served.of(self.context.store)
        with self.context.store.kept(served.manifest.segments):
            return self._run(served)

    def _run(self, served: Served) -> StepResult[RefreshReport]:
        config, began, started = self.context.config, datetime.now(UTC), time.monotonic()
        identity = served.require_encoder(config.encoder, config.cache)
        if not (self.changes_only or self.refetch or self.force):
            self._recheck(served, began)
        with tempfile.TemporaryDirectory(prefix="lookalike-refresh-") as scratch:
            retry_due = self._memory.retry_due(served.manifest, began, config.retry_minutes)
            with self.reporter.step("changes", "rows") as display:
                changes = self._find_changes(served, Path(scratch), retry_due, display.at)
                display.note("the catalog is as before" if changes.skipped else changes.counts.note)
            counts = changes.counts
            self.retried = self.retried or changes.retried
            if changes.skipped or not (counts.new or counts.pictures or counts.attributes or counts.deleted):
                self._memory.keep(served, changes, began)
                report = self._unchanged(served, changes, Obtained(), DeltaTally())
            else:
                report = self._apply(served, changes, identity, began)
        if self.rechecked:
            finish_recheck(self.context.workspace)
        report = replace(report, seconds=round(time.monotonic() - started, 3))
        changed = report.version != served.manifest.version
        return StepResult(changed, report.note if changed else report.unchanged_note, report)

    def _unchanged(
        self, served: Served, changes: CatalogChanges, obtained: Obtained, tally: DeltaTally
    ) -> RefreshReport:
        tally.failures += changes.failures
        return RefreshReport(
            served.manifest.version, changes.counts, served.manifest.counts, obtained, tally, served.delta_share,
            served.drift, changes.watermark, self._rejects(changes),
        )  # fmt: skip

    def _recheck(self, served: Served, began: datetime) -> None:
        """Fetch the pictures that have changed behind their URLs."""
        if not self.context.config.download.recheck_days:
            return
        with State(served.state_files) as state, self.reporter.step("recheck") as display:
            try:
                replaced = recheck_pictures(self.context, state, began)
            except ShardConflict as conflict:
                display.note(str(conflict))
                return
            display.note("none is due" if replaced is None else f"{len(replaced):,} products have other pictures")
        if replaced is not None:
            self.refetch, self.rechecked = Refetch(products=replaced), True

    @property
    def _is_named(self) -> bool:
        """Whether it is said what is read, so that it is read although the release has it."""
        return bool(self.day or self.refetch or self.force or self.reembed)

    def _find_changes(self, served: Served, scratch: Path, retry_due: bool, progress: Progress) -> CatalogChanges:
        """Return the changes of the source, or of the first of its partitions that has something new."""
        memory = self._memory
        partitions = (self.day or memory.newest(),) if self._is_named else memory.partitions(served.manifest)
        changes: CatalogChanges | None = None
        self.later = False
        for number, day in enumerate(partitions, 1):
            changes = self._find_changes_of(day, served, scratch / f"changes-{day}", retry_due, progress)
            if not changes.skipped:
                self.later = number < len(partitions)
                break
        return changes or no_changes(self.context.catalog, scratch / "none")

    def _find_changes_of(
        self, day: date | None, served: Served, scratch: Path, retry_due: bool, progress: Progress
    ) -> CatalogChanges:
        config, memory, manifest = self.context.config, self._memory, served.manifest
        force = self.force or selection_of(self.refetch)
        # Rows before the watermark are not read, so none of them could be retried.
        from_watermark = not (self._is_named or retry_due)
        changes = find_changes(
            self.context.catalog,
            served.state_files,
            config.max_reject_rate,
            scratch,
            changes_only=self.changes_only,
            day=day,
            since=memory.since(manifest) if from_watermark else None,
            overlap_seconds=config.watermark_overlap_seconds,
            picture_base=config.picture_base,
            force=force,
            served_types=attributes_of(served.schema),
            unchanged_since=memory.unchanged_since(manifest),
            applied=None if self._is_named else memory.applied(manifest, day),
            retry_due=retry_due,
            progress=progress,
        )
        if force is not None:
            with State(served.state_files) as state:
                require_selected(force, changes, state)
        return changes

    @cached_property
    def _memory(self) -> SourceMemory:
        return SourceMemory(
            self.context.workspace, self.context.catalog, self.changes_only,
            keep_days=self.context.config.tombstone_days, remember=self.remember,
        )  # fmt: skip

    def _apply(
        self, served: Served, changes: CatalogChanges, identity: EncoderIdentity, began: datetime
    ) -> RefreshReport:
        """Write the delta, and publish it if it passes the gate."""
        # FAISS and the steps that fetch and embed: not before there is something to do
        from jobs.kept.step import tidy_refreshes
        from jobs.refresh.workspace import refresh_workspace

        # A refresh that was killed is continued by the next one with the same changes, and one that is overtaken by
        # itself, whatever the others have changed; one that shall fetch or embed again only by itself.
        again = self.refetch or self.reembed
        inputs = self.key if again else [sha256_of(path) for path in (changes.changed, changes.deleted)]
        digest = self.digests.setdefault(changes.day, fingerprint("refresh", inputs)[:16])
        products = changes.counts.new + changes.counts.pictures
        with refresh_workspace(self.context.workspace, products, digest, began, NEWEST) as workspace:
            report = self._publish(workspace, served, changes, identity, began)
        tidy_refreshes(self.context.workspace, began - timedelta(days=self.context.config.tombstone_days))
        return report

    def _publish(
        self, workspace: Workspace, served: Served, changes: CatalogChanges, identity: EncoderIdentity, began: datetime
    ) -> RefreshReport:
        from jobs.refresh.candidate import make_candidate, write_delta

        counts, context, release = changes.counts, self.context, served.open()
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
        if not (tally.changed or counts.deleted):
            self._memory.keep(served, changes, began)
            remove_refresh(workspace)
            return self._unchanged(served, changes, obtained, tally)
        candidate = make_candidate(
            context, workspace, served, changes, delta, tally,
            changes_only=self.changes_only or bool(self.force and self.force.only),
            sources=self._memory.positions(served.manifest, changes, began),
        )  # fmt: skip
        try:
            published = publish_candidate(replace(context, workspace=workspace), self.reporter)
        except LookalikeError:
            if delta is not None and delta != served.delta:
                discard(context, delta.id)  # the next attempt writes its own
            raise
        now_served = Served.of(context.store, published.version)
        self._memory.keep(now_served, changes, began)
        tally.failures += changes.failures
        return RefreshReport(
            published.version, counts, candidate.counts, obtained, tally, now_served.delta_share,
            now_served.drift, changes.watermark, self._rejects(changes),
        )  # fmt: skip

    def _obtain(
        self, workspace: Workspace, changes: CatalogChanges, release: Release, state: State, identity: EncoderIdentity
    ) -> Obtained:
        from jobs.refresh.pictures import obtain_pictures

        wanted = (product for product in changed_products(changes, state, self.refetch) if product.to_fetch)
        return obtain_pictures(
            self.context, workspace, changes.source, changes.base, wanted, release,
            None if self.reembed else state, identity, again=bool(self.refetch),
        )  # fmt: skip

    def _rejects(self, changes: CatalogChanges) -> list[tuple[str, str, str]]:
        """Return the rejects of a source of changes; a catalog's are in a file of the version."""
        return rejects_of(changes) if self.changes_only else []
