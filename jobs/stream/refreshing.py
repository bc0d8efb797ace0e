"""The refresh path as the stream calls it: a change file becomes part of the served release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.refresh.report import RefreshReport
from jobs.refresh.step import run_refresh
from jobs.steps import StepContext
from jobs.stream.sink import Apply, Failure


@dataclass(frozen=True)
class Applied:
    """The outcome of a change file; see `jobs.stream.sink.AppliedChanges`."""

    report: RefreshReport

    @property
    def version(self) -> str:
        return self.report.version

    @property
    def applied(self) -> int:
        changes = self.report.changes
        return changes.new + changes.pictures + changes.attributes + changes.deleted

    @property
    def stale(self) -> int:
        return self.report.changes.stale

    @property
    def rejects(self) -> Sequence[Failure]:
        return self.report.rejects

    @property
    def pictures_failed(self) -> Sequence[Failure]:
        return self.report.tally.failures


def refresh_by(context: StepContext) -> Apply:
    """Return the function that applies a change file to the releases of a context.

    Every change of a file may be rejected: the stream sends them to its dead letters. A file is applied whenever it is
    handed over: its failures are wanted each time.
    """
    config = replace(context.config, max_reject_rate=1.0)

    def apply(path: Path) -> Applied:
        step = replace(context, config=config, catalog=str(path))
        return Applied(run_refresh(step, changes_only=True, remember=False).report)

    return apply
