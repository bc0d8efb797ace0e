"""The refresh path as the stream calls it: a change file becomes part of the served release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jobs.refresh.step import run_refresh
from jobs.steps import StepContext
from jobs.stream.sink import AppliedChanges, Apply


def refresh_by(context: StepContext) -> Apply:
    """Return the function that applies a change file to the releases of a context.

    Every change of a file may be rejected: the stream sends them to its dead letters. A file is applied whenever it is
    handed over: its failures are wanted each time.
    """
    config = replace(context.config, max_reject_rate=1.0)

    def apply(path: Path) -> AppliedChanges:
        step = replace(context, config=config, catalog=str(path))
        report = run_refresh(step, changes_only=True, remember=False).report
        changes = report.changes
        applied = changes.new + changes.pictures + changes.attributes + changes.deleted
        return AppliedChanges(report.version, applied, changes.stale, report.rejects, report.tally.failures)

    return apply
