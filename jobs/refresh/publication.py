"""Loads, measures and publishes a candidate that continues the served release."""

from __future__ import annotations

from dataclasses import replace

from jobs.evaluate.step import run_evaluate
from jobs.load.step import run_load, uses_engine
from jobs.progress import Reporter
from jobs.publish import PublishReport, run_publish
from jobs.steps import StepContext


def publish_candidate(context: StepContext, reporter: Reporter) -> PublishReport:
    """Publish the candidate of a context's workspace if it passes the gate.

    Raises:
        GateFailed: it does not.
        PublishConflict: another version was published since the candidate was built.
    """
    if uses_engine(context):
        with reporter.step("load", "rows") as display:
            display.note(run_load(replace(context, progress=display.at)).note)
    with reporter.step("evaluate", "measurements") as display:
        display.note(run_evaluate(replace(context, progress=display.at)).note)
    with reporter.step("publish") as display:
        published = run_publish(context)
        display.note(published.note)
    return published.report
