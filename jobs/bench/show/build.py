"""Shows `lookalike bench build` as tables."""

from __future__ import annotations

from rich.table import Table

from jobs.bench.show.common import number_table
from jobs.sizing.measured import Measured


def build_table(report: Measured) -> Table:
    """Return a row for each stage of the build."""
    title = f"{report.rows:,} vectors, {report.dim}-d, {report.factory}, {report.parts} parts"
    table = number_table(title, "stage", "seconds", "core s", "vectors/s", "peak MB")
    stages = [("train", report.train), *((_name(run.tasks), run) for run in report.runs), ("seal", report.seal)]
    for name, usage in stages:
        rate = report.rows / usage.seconds
        table.add_row(
            name, f"{usage.seconds:,.1f}", f"{usage.core_seconds:,.1f}", f"{rate:,.0f}", f"{usage.peak_mb:,.0f}"
        )
    table.caption = (
        f"{report.resident_bytes:.0f} resident bytes a vector, {report.disk_bytes:,.0f} on disk; "
        f"{report.runs[-1].tasks} tasks are {report.speedup:.2f} times as fast as {report.runs[0].tasks}"
    )
    return table


def _name(tasks: int) -> str:
    return f"parts, {tasks} task{'s' if tasks > 1 else ''}"


def searches_table(report: Measured) -> Table:
    """Return a row for each modality."""
    table = number_table("searches, one by one on one core", "queries", "nprobe", "rescore", "recall@100", "core ms")
    for search in report.searches:
        cells = search.nprobe, search.rescore, f"{search.recall_at_100:.3f}", f"{search.core_ms:.2f}"
        table.add_row(search.modality, *map(str, cells))
    return table
