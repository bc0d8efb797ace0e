"""`lookalike build`: all steps in one process tree, from a catalog to a published release.

    catalog -> download -> embed -> index -> evaluate -> publish

The DAG `catalog_rebuild` runs the same steps. Whatever an earlier run has finished is found done, so a build that was
killed goes on where it was, and one with nothing new ends at once.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts.encoders.registry import load_encoder
from artifacts.settings import Settings
from artifacts.store.manifest import Counts
from artifacts.store.store import Store
from jobs.catalog.report import CatalogReport
from jobs.catalog.step import run_catalog
from jobs.evaluate.step import run_evaluate
from jobs.index.step import run_index
from jobs.progress import Reporter, Step
from jobs.publish import PublishReport, run_publish
from jobs.workspace import ShardReport, open_workspace

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from artifacts.storage import Folder


@dataclass(frozen=True)
class ShardTotals:
    """The reports of one step's shards, added up."""

    ok: int
    reused: int  # of `ok`, carried over from an earlier run
    failed: dict[str, int]
    bytes: int
    shards_skipped: int
    shards: int
    seconds: float

    @property
    def done(self) -> int:
        """How many rows this run did itself."""
        return self.ok - self.reused


@dataclass(frozen=True)
class BuildSummary:
    """What a build did."""

    catalog: CatalogReport
    download: ShardTotals
    embed: ShardTotals
    counts: Counts
    recall: dict[str, float]
    published: PublishReport
    seconds: float
    step_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def nothing_changed(self) -> bool:
        """No picture was fetched, none was embedded, and the release being served is the same."""
        return self.download.done == 0 and self.embed.done == 0 and self.published.unchanged


def build(source: str, settings: Settings, reporter: Reporter) -> BuildSummary:
    """Build and publish a release from a catalog.

    Args:
        source: see `jobs.catalog.step.run_catalog`.

    Raises:
        LookalikeError: a step cannot go on; what is served stays as it was.
    """
    from jobs.spark.session import session  # a JVM takes seconds to start: not before the catalog is known to be good

    began = time.monotonic()
    workspace = open_workspace(settings.workspace, settings.shards)
    store = Store(settings.releases, settings.cache)
    with reporter.step("encoder") as step:
        step.note(load_encoder(settings.encoder, settings.device).id)  # a wrong spec must not cost a download
    with reporter.step("catalog", "rows") as step:
        catalog = run_catalog(source, workspace, settings, progress=step.at)
        step.note(_catalog_note(catalog))
    with reporter.step("download") as step:
        spark = session("lookalike build", log=_spark_log(workspace))
        download = _run_shards(_download, spark, workspace, settings, step)
        step.note(_shards_note(download, "pictures", "fetched"))
    with reporter.step("embed") as step:
        embed = _run_shards(_embed, spark, workspace, settings, step)
        step.note(_shards_note(embed, "pictures", "embedded"))
    spark.stop()
    with reporter.step("index") as step:
        indexed = run_index(workspace, store, settings, progress=step.at)
        counts = indexed.candidate.counts
        step.note(f"{counts.indexed:,} products, {counts.pictures:,} pictures{', as before' * indexed.skipped}")
    with reporter.step("evaluate", "measurements") as step:
        candidate, same = run_evaluate(workspace, store, settings, shards=settings.shards, progress=step.at)
        recall = ", ".join(f"{name} {value:.3f}" for name, value in candidate.recall.items())
        step.note(f"recall {recall}{', as before' * same}")
    with reporter.step("publish") as step:
        published = run_publish(workspace, store, settings)
        step.note(published.version + (", unchanged" if published.unchanged else ""))
    return BuildSummary(
        catalog, download, embed, counts, candidate.recall, published, round(time.monotonic() - began, 3)
    )


def _spark_log(workspace: Folder) -> Path:
    folder = workspace.local() if workspace.is_local else Path(tempfile.gettempdir())
    return folder / "spark.log"


def _download(
    spark: SparkSession, workspace: Folder, settings: Settings, on_report: Callable[[ShardReport], None]
) -> Sequence[ShardReport]:
    from jobs.download.step import run_download

    return run_download(spark, workspace, settings, on_report=on_report)


def _embed(
    spark: SparkSession, workspace: Folder, settings: Settings, on_report: Callable[[ShardReport], None]
) -> Sequence[ShardReport]:
    from jobs.embed.step import run_embed

    return run_embed(spark, workspace, settings, on_report=on_report)


def _run_shards(
    run: Callable[..., Sequence[ShardReport]], spark: SparkSession, workspace: Folder, settings: Settings, step: Step
) -> ShardTotals:
    began = time.monotonic()
    finished: list[ShardReport] = []

    def on_report(report: ShardReport) -> None:
        finished.append(report)
        step.at(len(finished), settings.shards)

    reports = run(spark, workspace, settings, on_report)
    failed: dict[str, int] = {}
    for report in reports:
        for reason, count in report.failed.items():
            failed[reason] = failed.get(reason, 0) + count
    return ShardTotals(
        ok=sum(report.ok for report in reports),
        reused=sum(report.reused for report in reports),
        failed=dict(sorted(failed.items())),
        bytes=sum(report.bytes for report in reports),
        shards_skipped=sum(report.skipped for report in reports),
        shards=len(reports),
        seconds=round(time.monotonic() - began, 3),
    )


def _catalog_note(report: CatalogReport) -> str:
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in report.rejected.items())
    same = ", as before" if report.skipped else ""
    return f"{report.ok:,} of {report.input_rows:,} rows{f'; rejected: {rejected}' if rejected else ''}{same}"


def _shards_note(totals: ShardTotals, what: str, verb: str) -> str:
    failed = ", ".join(f"{count:,} {reason}" for reason, count in totals.failed.items())
    rate = f" ({totals.done / totals.seconds:,.0f}/s)" if totals.done and totals.seconds else ""
    kept = f", {totals.reused:,} kept from before" if totals.reused else ""
    return f"{totals.done:,} {what} {verb}{rate}{kept}{f'; failed: {failed}' if failed else ''}"
