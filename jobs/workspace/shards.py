"""The shards of one step: a Parquet file and a report for each, and how one shard's work is done once.

    shard-00042.parquet        the rows of this shard
    shard-00042.json           its ShardReport, written after it: the shard is done

A shard whose report has the same `input` fingerprint is not done again, so a step can be killed anywhere and run
again: finished shards are kept, half-written ones are invisible.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated

from pydantic import Field

from artifacts.errors import CorruptFile, ShardConflict, StepFailed
from artifacts.storage import Folder, sha256_of
from jobs.workspace.fingerprints import Recorded, if_changed
from jobs.workspace.records import read_record, write_record

#: When pictures were fetched by a version of Lookalike that did not record it: so long ago that they are due.
UNKNOWN_AGE = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class ShardReport:
    """The outcome of one shard's task; the only thing that the task returns."""

    step: str
    shard: int
    shards: int
    input: str  # fingerprint of everything that the output depends on
    rows: int = 0  # rows of the output file
    ok: int = 0
    failed: dict[str, int] = field(default_factory=dict)  # Reason -> rows
    reused: int = 0  # of `ok`, how many were carried over from an earlier run
    bytes: int = 0  # size of the output file
    sha256: str = ""  # of the output file
    content: str = ""  # digest of what later steps depend on; empty: of all of it
    recheck_failed: int = 0  # of `ok`, pictures that could not be asked for again, and were kept
    oldest_fetched_at: datetime | None = UNKNOWN_AGE  # of the pictures that can be asked for again; None: no such one
    pictures: int | None = None  # of the embed step, pictures with a vector; None: written before it was counted
    from_store: int = 0  # of `reused`, vectors that the embedding store had
    store_failures: int = 0  # calls of the embedding store that failed; what it was asked for counts as not found
    seconds: float = 0.0
    skipped: Annotated[bool, Field(exclude=True)] = False  # an earlier report matched; never stored

    @property
    def digest(self) -> str:
        """Changes with what later steps depend on, and with nothing else if the step can tell."""
        return self.content or self.sha256

    @property
    def done(self) -> int:
        """Rows of `ok` that this run produced itself."""
        return self.ok - self.reused


@dataclass(frozen=True)
class ShardCounts:
    """The part of a shard's report that only its work can know."""

    rows: int
    ok: int
    failed: dict[str, int] = field(default_factory=dict)
    reused: int = 0
    content: str = ""
    recheck_failed: int = 0
    oldest_fetched_at: datetime | None = None
    pictures: int | None = None
    from_store: int = 0
    store_failures: int = 0


def shard_name(shard: int) -> str:
    return f"shard-{shard:05d}.parquet"


def report_name(shard: int) -> str:
    return f"shard-{shard:05d}.json"


def never(report: ShardReport) -> bool:
    """Never do a finished shard again."""
    return False


@dataclass(frozen=True)
class ShardFolder:
    """The shards that one step has written.

    Attributes:
        step: name of the step, as its reports have it.
        folder: holds the files.
        shards: how many shards there are when the step is complete.
        noun: what a shard is called in messages.
    """

    step: str
    folder: Folder
    shards: int
    noun: str = "shard"

    @property
    def url(self) -> str:
        return self.folder.url

    def path(self, shard: int) -> str:
        """Return the path of a shard's file, for messages."""
        return self.folder.path(shard_name(shard))

    def exists(self, shard: int) -> bool:
        """Tell whether a shard's file is there."""
        return self.folder.exists(shard_name(shard))

    def open(self, shard: int) -> IO[bytes]:
        """Return a shard's file for reading."""
        return self.folder.open(shard_name(shard))

    def is_complete(self, *further: str) -> bool:
        """Tell whether every shard's file and report are there, and these further files."""
        shards = range(self.shards)
        return {*further, *map(shard_name, shards), *map(report_name, shards)}.issubset(self.folder.names())

    # ── reports ──────────────────────────────────────────────────────────────────────────────────────────────────

    def report(self, shard: int) -> ShardReport | None:
        """Return the report of a finished shard, or None if the shard is not finished or its report is damaged."""
        try:
            return read_record(self.folder, report_name(shard), ShardReport)
        except CorruptFile:
            return None

    def reports(self) -> list[ShardReport]:
        """Return the reports of all shards, in order.

        Raises:
            StepFailed: a shard has not been done.
        """
        reports = {shard: self.report(shard) for shard in range(self.shards)}
        missing = [shard for shard, report in reports.items() if report is None]
        if missing:
            raise StepFailed(
                f"{self.url}: {self.noun}s {missing[:10]} of {self.shards} have not been done; run the step again"
            )
        return [report for report in reports.values() if report is not None]

    def discard_report(self, shard: int) -> None:
        """Have a shard done again by the next run of its step."""
        self.folder.remove(report_name(shard))

    # ── work ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def unchanged(
        self, shard: int, fingerprint: str, again: Callable[[ShardReport], bool] = never
    ) -> ShardReport | None:
        """Return the report of a shard that need not be done, marked as skipped; None if there is work to do.

        Args:
            fingerprint: digest of everything that the output depends on.
            again: called with a finished shard's report; True has the shard done again all the same.
        """
        recorded = self._recorded(shard, again)
        return _skipped(recorded.value) if recorded and recorded.fingerprint == fingerprint else None

    def run(
        self,
        shard: int,
        fingerprint: str,
        work: Callable[[Path], ShardCounts],
        *,
        again: Callable[[ShardReport], bool] = never,
    ) -> ShardReport:
        """Do one shard, unless it is done.

        Args:
            fingerprint: digest of everything that the output depends on.
            work: writes the shard's Parquet to the path that it is given, and returns its counts.
            again: see `unchanged`: failures of an earlier run may be worth another try.

        Raises:
            ShardConflict: another process has done the shard meanwhile, maybe from another catalog; its file is kept.
        """
        outcome = if_changed(fingerprint, self._recorded(shard, again), lambda: self._write(shard, fingerprint, work))
        return outcome.value if outcome.changed else _skipped(outcome.value)

    def _recorded(self, shard: int, again: Callable[[ShardReport], bool]) -> Recorded[ShardReport] | None:
        report = self.report(shard)
        if report is None or again(report) or not self.exists(shard):
            return None
        return Recorded(report.input, report)

    def _write(self, shard: int, fingerprint: str, work: Callable[[Path], ShardCounts]) -> ShardReport:
        began, before = time.monotonic(), self.report(shard)
        with self.folder.writing(shard_name(shard)) as temporary:
            counts = work(temporary)
            size, digest = temporary.stat().st_size, sha256_of(temporary)
            if self.report(shard) != before:
                raise ShardConflict(f"{self.path(shard)} was written by another process meanwhile; run the step again")
            # An old report must not describe a new file if the process dies between the two.
            self.discard_report(shard)
        report = ShardReport(
            self.step, shard, self.shards, fingerprint,
            rows=counts.rows, ok=counts.ok, failed=dict(sorted(counts.failed.items())), reused=counts.reused,
            bytes=size, sha256=digest, content=counts.content, recheck_failed=counts.recheck_failed,
            oldest_fetched_at=counts.oldest_fetched_at, pictures=counts.pictures,
            from_store=counts.from_store, store_failures=counts.store_failures,
            seconds=round(time.monotonic() - began, 3),
        )  # fmt: skip
        write_record(self.folder, report_name(shard), report)
        return report


def _skipped(report: ShardReport) -> ShardReport:
    return replace(
        report, skipped=True, reused=report.ok, recheck_failed=0, from_store=0, store_failures=0, seconds=0.0
    )


@dataclass(frozen=True)
class ShardTotals:
    """The reports of one step's shards, added up."""

    reports: list[ShardReport]
    seconds: float  # wall time of the step

    @property
    def rows(self) -> int:
        return sum(report.rows for report in self.reports)

    @property
    def ok(self) -> int:
        return sum(report.ok for report in self.reports)

    @property
    def reused(self) -> int:
        """Of `ok`, rows that were carried over from an earlier run."""
        return sum(report.reused for report in self.reports)

    @property
    def done(self) -> int:
        """Of `ok`, rows that this run has done itself."""
        return sum(report.done for report in self.reports)

    @property
    def recheck_failed(self) -> int:
        """Of `ok`, pictures that could not be asked for again, and were kept."""
        return sum(report.recheck_failed for report in self.reports)

    @property
    def from_store(self) -> int:
        """Of `reused`, vectors that the embedding store had."""
        return sum(report.from_store for report in self.reports)

    @property
    def store_failures(self) -> int:
        """Calls of the embedding store that failed."""
        return sum(report.store_failures for report in self.reports)

    @property
    def failed(self) -> dict[str, int]:
        """Reason -> rows."""
        counts: dict[str, int] = {}
        for report in self.reports:
            for reason, count in report.failed.items():
                counts[reason] = counts.get(reason, 0) + count
        return dict(sorted(counts.items()))

    @property
    def changed(self) -> bool:
        """Whether any shard was written again."""
        return not all(report.skipped for report in self.reports)

    def note(self, what: str, verb: str) -> str:
        """One line for people: `972 pictures fetched (257/s), 28 kept from before; failed: 3 timeout`."""
        failed = ", ".join(f"{count:,} {reason}" for reason, count in self.failed.items())
        rate = f" ({self.done / self.seconds:,.0f}/s)" if self.done and self.seconds else ""
        kept = f", {self.reused:,} kept from before" if self.reused else ""
        unchecked = f", {self.recheck_failed:,} of them after a failed re-check" if self.recheck_failed else ""
        stored = f", {self.from_store:,} of them from the embedding store" if self.from_store else ""
        missed = f"; {self.store_failures:,} calls of the embedding store failed" if self.store_failures else ""
        return (
            f"{self.done:,} {what} {verb}{rate}{kept}{unchecked}{stored}"
            f"{f'; failed: {failed}' if failed else ''}{missed}"
        )
