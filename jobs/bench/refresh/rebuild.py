"""Refreshes of a shop beside a full build of it: time, CPU time, and what was downloaded and embedded."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from artifacts.config import PipelineConfig
from artifacts.errors import LookalikeError
from artifacts.store.manifest import Counts
from jobs.bench.load.proc import CpuMeter
from jobs.bench.refresh.shop import draw_shop
from jobs.build import BuildSummary, build_steps
from jobs.progress import Reporter, Step
from jobs.refresh.report import RefreshReport
from jobs.refresh.step import run_refresh
from jobs.steps import StepContext

T = TypeVar("T")

#: Highest time of a refresh of 1 % of the products, and of their prices, as a share of a full build's.
REFRESH_LIMIT, PRICES_LIMIT = 0.1, 0.03


@dataclass(frozen=True)
class Work:
    """One build or refresh.

    Attributes:
        seconds: of wall time.
        core_seconds: CPU time of this process and of all that it started.
        parts: name of a step -> seconds of wall time.
        downloaded, embedded: pictures.
        needed: pictures that the release did not have.
    """

    seconds: float
    core_seconds: float
    parts: dict[str, float]
    downloaded: int
    embedded: int
    needed: int

    def require_needed(self, title: str) -> Work:
        """Return this work, if it got the pictures that it needed and no others.

        Raises:
            LookalikeError: it did not.
        """
        if (self.downloaded, self.embedded) != (self.needed, self.needed):
            raise LookalikeError(
                f"bench refresh: {self.needed} pictures are new or changed, and the {title} downloaded "
                f"{self.downloaded} and embedded {self.embedded}"
            )
        return self


@dataclass(frozen=True)
class RebuildReport:
    """All that was measured."""

    products: int
    each: int  # new products, with other pictures, with other prices, and deleted
    prices: int  # changed by the second refresh
    rebuild: Work
    refresh: Work
    price_refresh: Work


def measure_rebuild(
    products: int,
    share: float,
    config: PipelineConfig,
    folder: Path,
    reporter: Reporter,
    *,
    in_process: bool = False,
) -> RebuildReport:
    """Publish a shop and refresh it, build it from nothing in another workspace, and refresh it with other prices.

    Args:
        products: of the shop.
        share: of them that change, a quarter of each kind.
        config: of the pipeline; releases and workspaces are the benchmark's own.
        folder: keeps the drawn pictures for later runs.
        reporter: shows every step.
        in_process: whether builds run in this process, and not on Spark.

    Raises:
        LookalikeError: a refresh did not download and embed exactly the new and changed pictures, or its release does
            not have the products of the build's.
    """
    with reporter.step("sample", "products") as display:
        shop = draw_shop(products, share, folder, progress=display.at)
        display.note(f"{products:,} products, {shop.each:,} of each kind change")
    run = folder / "refresh-run"
    shutil.rmtree(run, ignore_errors=True)

    def context(name: str, catalog: Path) -> StepContext:
        own = replace(config, releases=str(run / name / "releases"), workspace=str(run / name / "workspace"))
        return replace(StepContext.open(own, str(catalog)), in_process=in_process)

    try:
        _build(context("refreshed", shop.first), reporter, "first build")
        needed = 2 * shop.each
        refresh, refreshed = _refresh(context("refreshed", shop.changed), reporter, "refresh", needed)
        rebuild, built = _build(context("rebuilt", shop.changed), reporter, "full build")
        if (refreshed.indexed, refreshed.pictures) != (built.indexed, built.pictures):
            raise LookalikeError(
                f"bench refresh: the refreshed release has {refreshed.indexed} products and {refreshed.pictures} "
                f"pictures, and the built one {built.indexed} and {built.pictures}"
            )
        price_refresh, _ = _refresh(context("refreshed", shop.repriced), reporter, "refresh of prices", needed=0)
    finally:
        shutil.rmtree(run, ignore_errors=True)
    return RebuildReport(products, shop.each, shop.prices, rebuild, refresh, price_refresh)


def _build(context: StepContext, reporter: Reporter, title: str) -> tuple[Work, Counts]:
    def work(timed: Reporter) -> BuildSummary:
        return build_steps(context, timed)

    summary, seconds, core_seconds, parts = _measured(work, reporter, title)
    done = [summary.steps[name].report.done for name in ("download", "embed")]
    return Work(seconds, core_seconds, parts, *done, needed=summary.counts.pictures), summary.counts


def _refresh(context: StepContext, reporter: Reporter, title: str, needed: int) -> tuple[Work, Counts]:
    def work(timed: Reporter) -> RefreshReport:
        return run_refresh(context, reporter=timed).report

    report, seconds, core_seconds, parts = _measured(work, reporter, title)
    obtained = report.obtained
    work_done = Work(seconds, core_seconds, parts, obtained.fetched, obtained.embedded, needed)
    return work_done.require_needed(title), report.counts


def _measured(
    work: Callable[[Reporter], T], reporter: Reporter, title: str
) -> tuple[T, float, float, dict[str, float]]:
    """Return the result of a work, its wall and CPU time in seconds, and the wall time of each of its steps."""
    reporter.console.print(title, highlight=False)
    timed = _TimedReporter(reporter)
    began = time.monotonic()
    with CpuMeter() as meter:
        result = work(timed)
    return result, round(time.monotonic() - began, 2), round(meter.seconds, 2), timed.seconds


class _TimedReporter(Reporter):
    """Shows steps as another reporter does, and remembers their seconds."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__(reporter.console)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, unit: str = "shards") -> Iterator[Step]:
        began = time.monotonic()
        with super().step(name, unit) as step:
            yield step
        self.seconds[name] = round(time.monotonic() - began, 3)
