"""Shows `lookalike bench build` as tables."""

from __future__ import annotations

from rich.table import Table

from jobs.bench.build.measure import BuildReport
from jobs.bench.show.common import number_table


def build_table(report: BuildReport) -> Table:
    """Return a row for each stage of the build."""
    title = f"{report.rows:,} vectors, {report.dim}-d, {report.factory}, {report.parts} parts"
    table = number_table(title, "stage", "seconds", "vectors/s", "peak MB")
    train, seal = report.train, report.seal
    table.add_row("train", f"{train.seconds:,.1f}", f"{report.rows / train.seconds:,.0f}", f"{train.peak_mb:,.0f}")
    for run in report.runs:
        name = f"parts, {run.tasks} task{'s' if run.tasks > 1 else ''}"
        table.add_row(name, f"{run.seconds:,.1f}", f"{run.vectors_per_second:,.0f}", f"{run.peak_mb:,.0f}")
    table.add_row("seal", f"{seal.seconds:,.1f}", f"{report.rows / seal.seconds:,.0f}", f"{seal.peak_mb:,.0f}")
    table.caption = (
        f"{report.resident_bytes:.0f} resident bytes a vector, {report.disk_bytes:,.0f} on disk; "
        f"{report.runs[-1].tasks} tasks are {report.speedup:.2f} times as fast as {report.runs[0].tasks}"
    )
    return table


def searches_table(report: BuildReport) -> Table:
    """Return a row for each modality."""
    table = number_table("searches, one by one on one core", "queries", "nprobe", "rescore", "recall@100", "ms")
    for search in report.searches:
        cells = search.nprobe, search.rescore, f"{search.recall_at_100:.3f}", f"{search.milliseconds:.2f}"
        table.add_row(search.modality, *map(str, cells))
    return table
