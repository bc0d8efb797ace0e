"""Tables and plot of `lookalike bench filters`."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Column, Table

from jobs.bench.filters import FILTERS, METHODS, FiltersReport, Measurement
from jobs.bench.show.common import save_figure

_COLOURS = {
    "planned": "#0b6e99",
    "exact": "#7a7a7a",
    "list-aware": "#3fa34d",
    "nprobe": "#c2571a",
    "post-filter": "#b00020",
}
_LINES = {"random": "-", "unrelated": "--"}
_DPI = 110


def filters_table(report: FiltersReport) -> Table:
    """Return a row for each filter: recall@100 of each method, and p50 and p99 of the planner's choice."""
    table = Table(
        "queries",
        "filter",
        Column("share", justify="right"),
        *(Column(name, justify="right") for name in ("rows", *METHODS, "p50 ms", "p99 ms")),
        "planned as",
        title=f"recall@100 under filters: {report.name}",
        title_justify="left",
    )
    rows: dict[tuple[str, str, float], dict[str, Measurement]] = {}
    for measurement in report.measured:
        key = (measurement.modality, measurement.filter, measurement.share)
        rows.setdefault(key, {})[measurement.method] = measurement
    smallest = min(share for _, _, share in rows)
    for (modality, name, share), methods in rows.items():
        planned = methods["planned"]
        table.add_row(
            modality,
            name,
            f"{share:.2%}",
            f"{planned.allowed:,}",
            *(f"{methods[method].recall_at_100:.3f}" if method in methods else "" for method in METHODS),
            f"{planned.p50_ms:.2f}",
            f"{planned.p99_ms:.2f}",
            planned.path,
            end_section=share in (1.0, smallest),
        )
    return table


def crossover_table(report: FiltersReport) -> Table:
    """Return a row for each number of allowed rows: exact scoring beside probing."""
    numbers = ("rows", "exact ms", "probing ms", "probing recall")
    table = Table(
        "queries",
        "filter",
        *(Column(name, justify="right") for name in numbers),
        "planned as",
        title="Exact scoring or probing, p50",
        title_justify="left",
    )
    for crossover in report.crossings:
        table.add_row(
            crossover.modality,
            crossover.filter,
            f"{crossover.allowed:,}",
            f"{crossover.exact_ms:.2f}",
            f"{crossover.probing_ms:.2f}",
            f"{crossover.probing_recall:.3f}",
            crossover.planned,
        )
    return table


def plot_filters(report: FiltersReport, path: Path) -> None:
    """Plot recall and p50 by the share of allowed rows for each modality and filter, and the crossover."""
    modalities = list(report.params)
    figure = Figure(figsize=(13, 3.6 * (len(modalities) + 1)), layout="constrained")
    axes = figure.subplots(len(modalities) + 1, 3, squeeze=False)
    for row, modality in enumerate(modalities):
        for column, name in enumerate(FILTERS):
            _plot_recall(axes[row][column], report, modality, name)
        _plot_latency(axes[row][2], report, modality)
    for column, modality in enumerate(modalities):
        _plot_crossover(axes[-1][column], report, modality)
    for column in range(len(modalities), 3):
        axes[-1][column].axis("off")
    figure.suptitle(report.name)
    save_figure(figure, path, dpi=_DPI)


def _select(report: FiltersReport, modality: str, name: str, method: str) -> list[Measurement]:
    return [row for row in report.measured if (row.modality, row.filter, row.method) == (modality, name, method)]


def _plot_recall(axes: Axes, report: FiltersReport, modality: str, name: str) -> None:
    for method in METHODS:
        rows = _select(report, modality, name, method)
        highlighted = method == "planned"
        axes.plot(
            [100 * row.share for row in rows],
            [row.recall_at_100 for row in rows],
            label=method,
            color=_COLOURS[method],
            linewidth=2.5 if highlighted else 1.2,
            marker="o" if highlighted else None,
            zorder=3 if highlighted else 2,
        )
    axes.axhline(0.95, color="#999", linewidth=0.8, linestyle="--")
    axes.set(xscale="log", ylim=(-0.02, 1.03), title=f"{modality} queries, {name} filter", ylabel="recall@100")
    _label_shares(axes)
    axes.legend(fontsize=8, loc="center left")


def _plot_latency(axes: Axes, report: FiltersReport, modality: str) -> None:
    for name, line in _LINES.items():
        for method in ("planned", "exact"):
            rows = _select(report, modality, name, method)
            shares, times = [100 * row.share for row in rows], [row.p50_ms for row in rows]
            axes.plot(shares, times, line, marker=".", color=_COLOURS[method], label=f"{method}, {name}")
    axes.set(xscale="log", yscale="log", title=f"{modality} queries, p50", ylabel="ms")
    _label_shares(axes)
    axes.legend(fontsize=8)


def _label_shares(axes: Axes) -> None:
    axes.set_xlabel("rows allowed")
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.invert_xaxis()


def _plot_crossover(axes: Axes, report: FiltersReport, modality: str) -> None:
    for name, line in _LINES.items():
        points = [point for point in report.crossings if (point.modality, point.filter) == (modality, name)]
        allowed = [point.allowed for point in points]
        exact, probing = [point.exact_ms for point in points], [point.probing_ms for point in points]
        planned = [point.exact_ms if point.planned == "exact" else point.probing_ms for point in points]
        axes.plot(allowed, exact, line, color=_COLOURS["exact"], label=f"exact, {name}")
        axes.plot(allowed, probing, line, color=_COLOURS["list-aware"], label=f"probing, {name}")
        label = "planned" if name == "random" else None
        axes.scatter(allowed, planned, color=_COLOURS["planned"], zorder=3, label=label)
    title = f"{modality} queries: the planner's choice"
    axes.set(xscale="log", yscale="log", title=title, xlabel="rows allowed", ylabel="p50 ms")
    axes.legend(fontsize=8)
