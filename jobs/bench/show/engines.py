"""Tables and plot of `lookalike bench engines`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from jobs.bench.engines.report import CaseReport, ContenderReport, EnginesReport
from jobs.bench.show.common import number_table, save_figure

_DPI = 110
_COLOURS = ("#0b6e99", "#e0600b", "#7a3e9d", "#3f7d20", "#b00020", "#6b6b6b")


def engines_tables(report: EnginesReport) -> list[Table]:
    """Return the tables of loading and sizes, and of searches."""
    return [loading_table(report), searches_table(report)]


def loading_table(report: EnginesReport) -> Table:
    """Return a row for each contender: load, index, disk and memory, and why it was not measured."""
    numbers = ("load s", "rows/s", "index s", "disk MB", "memory MB", "before", "mapped MB")
    table = number_table(f"Loading: {report.name}", "engine", *numbers)
    table.add_column("index")
    for found in report.contenders:
        load = found.load
        times = [""] * 3 if load is None else [f"{load.load_seconds:,.0f}", f"{load.rows_per_second:,.0f}"]
        times += [] if load is None else [f"{load.index_seconds:,.0f}"]
        sizes = (found.disk_mb, found.memory_mb, found.memory_before_mb, found.mapped_mb)
        described = f"[red]{escape(found.error)}[/]" if found.error else escape(found.description)
        table.add_row(found.name, *times, *("" if size is None else f"{size:,.0f}" for size in sizes), described)
    return table


def searches_table(report: EnginesReport) -> Table:
    """Return a row for each modality, filter and contender."""
    numbers = ("recall@100", "queries/s", "p50 ms", "p99 ms", f"queries/s, {report.threads} threads", "planned p50 ms")
    title = f"Searches, calibrated for recall@100 {report.target}, one query at a time on one thread: {report.name}"
    table = number_table(title, "queries", "rows that pass", "engine", *numbers)
    table.columns[2].justify = "left"
    table.add_column("planned path")
    for modality in report.modalities:
        for share in (None, *report.shares):
            for found in report.measured:
                case, planned = (found.case(modality, share, way) for way in ("index", "planned"))
                if case is None:
                    continue
                table.add_row(
                    modality,
                    "all" if share is None else f"{share:.0%}",
                    found.name,
                    _recall(case, report.target),
                    f"{case.qps:,.0f}",
                    f"{case.p50_ms:.1f}",
                    f"{case.p99_ms:.1f}",
                    f"{case.qps_threads:,.0f}",
                    "" if planned is None else f"{planned.p50_ms:.1f}",
                    "" if planned is None else planned.path,
                    end_section=found is report.measured[-1],
                )
    return table


def _recall(case: CaseReport, target: float) -> str:
    text = f"{case.recall_at_100:.3f}"
    return text if case.recall_at_100 >= target else f"[red]{text}[/]"


def plot_engines(report: EnginesReport, path: Path) -> None:
    """Plot queries a second of each contender as bars, for each modality and filter, with recall above the bars."""
    modalities = report.modalities
    figure = Figure(figsize=(6.5 * max(1, len(modalities)), 5), layout="constrained")
    axes = figure.subplots(1, max(1, len(modalities)), squeeze=False, sharey=True)[0]
    for axis, modality in zip(axes, modalities, strict=False):
        _plot_modality(axis, report, modality)
    if modalities:
        axes[0].set_ylabel("queries/s, one thread")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(f"{report.name}; recall@100 above the bars, red below the target")
    save_figure(figure, path, dpi=_DPI)


def _plot_modality(axis: Axes, report: EnginesReport, modality: str) -> None:
    shares = (None, *report.shares)
    width = 0.84 / len(report.measured)
    for number, found in enumerate(report.measured):
        cases = [found.case(modality, share) for share in shares]
        places = np.arange(len(shares)) + (number - (len(report.measured) - 1) / 2) * width
        heights = [case.qps if case else 0 for case in cases]
        bars = axis.bar(places, heights, 0.92 * width, color=_COLOURS[number % len(_COLOURS)], label=_label(found))
        labels = axis.bar_label(
            bars, [f"{case.recall_at_100:.3f}" if case else "" for case in cases], fontsize=7.5, padding=2
        )
        for label, case in zip(labels, cases, strict=True):
            if case and case.recall_at_100 < report.target:
                label.set_color("red")
    names = ["no filter", *(f"{share:.0%} of the rows pass" for share in report.shares)]
    axis.set(yscale="log", xticks=range(len(shares)), xticklabels=names, title=f"{modality} queries")
    axis.margins(y=0.12)
    axis.yaxis.set_major_formatter("{x:,.0f}")
    axis.grid(axis="y", alpha=0.25)


def _label(found: ContenderReport) -> str:
    return f"{found.name}, {found.description}" if found.kind == "faiss" else found.name
