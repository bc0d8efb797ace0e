"""The argument and the result of every step, so that `lookalike build`, the DAGs and tests call all steps alike.

    catalog -> download -> embed -> train -> index -> seal -> evaluate -> publish

A step is a function `run_<step>(context: StepContext) -> StepResult`. It compares fingerprints first, and imports and
starts what its work needs only if there is work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from artifacts.config import PipelineConfig
from artifacts.errors import LookalikeError, StepFailed
from artifacts.store.store import Store
from jobs.spark.launcher import SparkLauncher
from jobs.workspace.shards import ShardReport, ShardTotals
from jobs.workspace.workspace import Workspace

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Report = TypeVar("Report")

#: Called with the units that are done, and how many there are, or None while that is unknown.
Progress = Callable[[int, int | None], None]

#: Does one shard, given its number; picklable by module and name, since Spark's workers import it.
ShardTask = Callable[[int], ShardReport]


def no_progress(done: int, total: int | None = None) -> None:
    """The progress callback of a caller that shows none."""


def no_report(report: ShardReport) -> None:
    """The shard callback of a caller that shows none."""


@dataclass(frozen=True)
class StepContext:
    """The data that a step works on, its configuration, and the callbacks that follow it.

    Attributes:
        catalog: the catalog's source, see `jobs.catalog.sources`; the catalog step alone reads it.
        spark: gives the Spark session; called only by a step that has shards to do.
        progress: called with shards, rows or measurements done.
        on_shard: called with each shard's report as soon as the shard is done, or known to be up to date.
        in_process: whether shards are done in this process, one after the other, and not on Spark: for little work,
            such as the few pictures of a refresh, starting Spark takes longer.
    """

    config: PipelineConfig
    workspace: Workspace
    store: Store
    catalog: str = ""
    spark: Callable[[], SparkSession] = field(default_factory=lambda: SparkLauncher("lookalike"))
    progress: Progress = no_progress
    on_shard: Callable[[ShardReport], None] = no_report
    in_process: bool = False

    @classmethod
    def open(cls, config: PipelineConfig, catalog: str = "") -> StepContext:
        """Return a context on the workspace and the releases that the configuration names.

        Raises:
            StepFailed: the workspace was made with another number of shards.
        """
        return cls(
            config, Workspace.open(config.workspace, config.shards), Store(config.releases, config.cache), catalog
        )


@dataclass(frozen=True)
class StepResult(Generic[Report]):
    """The outcome of a step.

    Attributes:
        changed: whether the step did anything; False if everything was recorded already.
        note: one line for people.
        report: the step's own report.
    """

    changed: bool
    note: str
    report: Report


@dataclass(frozen=True)
class ShardPlan:
    """The work of a step over shards.

    Attributes:
        unchanged: reports of the shards that are up to date.
        changed: shards that have work to do.
        make_task: called if there is work, with the number of threads that a task may use; returns what a worker calls
            for each shard.
        preload: modules that all workers need, see `jobs.spark.daemon`.
        noun: what a shard is called in messages.
    """

    unchanged: Sequence[ShardReport]
    changed: Sequence[int]
    make_task: Callable[[int], ShardTask]
    preload: Sequence[str] = ()
    noun: str = "shard"


def split_shards(
    shards: Sequence[int], unchanged: Callable[[int], ShardReport | None]
) -> tuple[list[ShardReport], list[int]]:
    """Separate shards that are up to date from those that have work to do.

    Args:
        unchanged: returns the report of a shard that is up to date, and None for any other.
    """
    reports = {shard: unchanged(shard) for shard in shards}
    return (
        [report for report in reports.values() if report],
        [shard for shard, report in reports.items() if report is None],
    )


def run_plan(context: StepContext, plan: ShardPlan) -> ShardTotals:
    """Do each shard that has work to do: on Spark, or in this process if the context says so.

    Without any such shard, and in process, Spark is neither imported nor started.

    Raises:
        StepFailed: a shard failed; names the shard and the cause.
    """
    total = len(plan.unchanged) + len(plan.changed)
    reports: list[ShardReport] = []

    def on_report(report: ShardReport) -> None:
        reports.append(report)
        context.on_shard(report)
        context.progress(len(reports), total)

    for report in plan.unchanged:
        on_report(report)
    began = time.monotonic()
    if plan.changed and context.in_process:
        _run_here(plan, on_report)
    elif plan.changed:
        from jobs.spark.shards import map_shards, threads_per_task

        spark = context.spark()
        began = time.monotonic()  # starting Spark is no part of the rate
        task = plan.make_task(threads_per_task(spark, len(plan.changed)))
        map_shards(spark, plan.changed, task, on_report, preload=plan.preload, noun=plan.noun)
    return ShardTotals(sorted(reports, key=lambda report: report.shard), round(time.monotonic() - began, 3))


def _run_here(plan: ShardPlan, on_report: Callable[[ShardReport], None]) -> None:
    """Do the shards one after the other, each on all cores."""
    task = plan.make_task(os.cpu_count() or 1)
    for shard in plan.changed:
        try:
            report = task(shard)
        except LookalikeError as error:
            raise StepFailed(f"{plan.noun} {shard} failed: {error}") from error
        on_report(report)
