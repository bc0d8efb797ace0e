"""Tables and plot of `lookalike bench refresh`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from rich.table import Table

from jobs.bench.refresh.delta import BASE, DELTA, LAST, DeltaReport
from jobs.bench.refresh.rebuild import PRICES_LIMIT, REFRESH_LIMIT, RebuildReport
from jobs.bench.refresh.report import RefreshBenchReport
from jobs.bench.show.common import number_table, save_figure

_COLOURS = {DELTA: "#0b6e99", LAST: "#3fa34d"}
_DPI = 110


def rebuild_table(report: RebuildReport) -> Table:
    """Return a row for the full build and for each refresh."""
    table = number_table(
        f"Refresh and full build of {report.products:,} products; {report.each:,} new, with other pictures, with other "
        f"prices, and deleted; then {report.prices:,} other prices",
        "",
        *("seconds", "of the build", "limit", "core s", "of the build", "downloaded", "embedded", "needed"),
    )
    build = report.rebuild
    for name, work, limit in (
        ("full build", build, None),
        ("refresh", report.refresh, REFRESH_LIMIT),
        ("refresh of prices", report.price_refresh, PRICES_LIMIT),
    ):
        table.add_row(
            name,
            f"{work.seconds:.1f}",
            f"{work.seconds / build.seconds:.3f}" if limit else "",
            f"≤ {limit}" if limit else "",
            f"{work.core_seconds:.1f}",
            f"{work.core_seconds / build.core_seconds:.3f}" if limit else "",
            f"{work.downloaded:,}",
            f"{work.embedded:,}",
            f"{work.needed:,}",
        )
    return table


def parts_table(report: RebuildReport) -> Table:
    """Return a row for each step, with its seconds in the full build and in the refreshes."""
    works = (report.rebuild, report.refresh, report.price_refresh)
    table = number_table("Seconds of each step", "step", "full build", "refresh", "refresh of prices")
    for name in dict.fromkeys(name for work in works for name in work.parts):
        table.add_row(name, *(f"{work.parts[name]:.2f}" if name in work.parts else "" for work in works))
    return table


def delta_table(report: DeltaReport) -> Table:
    """Return a row for each operation: the base alone, with a delta, and with the last of many."""
    table = number_table(
        f"{report.name}: a delta of {report.changes:,} products, and the last of {report.refreshes}",
        "p50 ms (p95)",
        *("base alone", "with a delta", "ratio", "with the last", "ratio", "limit"),
    )
    for cost in report.costs:
        base, delta, last = (f"{cost.p50_ms[name]:.2f} ({cost.p95_ms[name]:.2f})" for name in (BASE, DELTA, LAST))
        ratios = (f"{cost.ratio[DELTA]:.2f}", f"{cost.ratio[LAST]:.2f}")
        table.add_row(cost.name, base, delta, ratios[0], last, ratios[1], f"≤ {cost.limit}")
    recalls = report.recall_at_100
    table.add_row("recall@100", *(f"{recalls[BASE]:.3f}", f"{recalls[DELTA]:.3f}", "", f"{recalls[LAST]:.3f}", "", ""))
    seconds = report.refresh_seconds
    table.caption = (
        f"writing the delta at once {report.write_seconds:.2f} s; the first of {len(seconds)} {seconds[0]:.2f} s, the "
        f"last {seconds[-1]:.2f} s"
    )
    return table


def plot_refresh(report: RefreshBenchReport, path: Path) -> None:
    """Plot all parts that were measured."""
    plots: list[Callable[[SubFigure], None]] = []
    if report.rebuild is not None:
        plots.append(partial(_plot_rebuild, report.rebuild))
    if report.delta is not None:
        plots.append(partial(_plot_delta, report.delta))
    figure = Figure(figsize=(13, 4.4 * len(plots)), layout="constrained")
    for plot, part in zip(plots, figure.subfigures(len(plots), 1, squeeze=False)[:, 0], strict=True):
        plot(part)
    save_figure(figure, path, dpi=_DPI)


def _plot_rebuild(report: RebuildReport, figure: SubFigure) -> None:
    """Plot the share of each refresh in the time of a build beside its limit, and the time of its steps."""
    shares, steps = figure.subplots(1, 2, width_ratios=(2, 3))
    works = {"refresh": report.refresh, "refresh of prices": report.price_refresh}
    places, limits = np.arange(len(works)), (REFRESH_LIMIT, PRICES_LIMIT)
    shares.barh(places, [work.seconds / report.rebuild.seconds for work in works.values()], 0.5, color=_COLOURS[DELTA])
    _draw_limits(shares, places, limits)
    shares.set_yticks(places, list(works))
    shares.invert_yaxis()
    shares.set(xlabel="time, as a share of the build's", title=f"Beside a full build of {report.rebuild.seconds:.0f} s")
    shares.legend(fontsize=8)
    left = np.zeros(len(works))
    for name in dict.fromkeys(name for work in works.values() for name in work.parts):
        seconds = np.array([work.parts.get(name, 0.0) for work in works.values()])
        steps.barh(places, seconds, 0.5, left=left, label=name)
        left += seconds
    steps.set_yticks(places, list(works))
    steps.invert_yaxis()
    steps.set(xlabel="s", title="Steps")
    steps.legend(fontsize=8)
    figure.suptitle(
        f"{report.products:,} products, {report.each:,} each new, deleted, with other pictures, with other prices"
    )


def _plot_delta(report: DeltaReport, figure: SubFigure) -> None:
    """Plot the ratio of each operation beside its limit, and the time to write each delta."""
    ratios, writing = figure.subplots(1, 2, width_ratios=(3, 2))
    _plot_ratios(ratios, report)
    seconds = report.refresh_seconds
    writing.plot(range(1, len(seconds) + 1), seconds, color=_COLOURS[LAST], marker=".", linewidth=0.8)
    writing.axhline(report.write_seconds, color=_COLOURS[DELTA], linewidth=0.8, linestyle="--", label="all at once")
    writing.set(ylim=(0, None), xlabel="refresh", ylabel="s", title="Time to write each delta")
    writing.legend(fontsize=8)
    figure.suptitle(f"{report.name}, a delta of {report.changes:,} products")


def _draw_limits(axes: Axes, places: np.ndarray, limits: Sequence[float]) -> None:
    axes.vlines(limits, places - 0.45, places + 0.45, color="#b00020", linewidth=1.2, label="limit")


def _plot_ratios(axes: Axes, report: DeltaReport) -> None:
    places = np.arange(len(report.costs))
    for offset, (name, colour) in zip((-0.2, 0.2), _COLOURS.items(), strict=True):
        axes.barh(places + offset, [cost.ratio[name] for cost in report.costs], 0.36, color=colour, label=name)
    _draw_limits(axes, places, [cost.limit for cost in report.costs])
    axes.axvline(1, color="#999", linewidth=0.8, linestyle="--")
    axes.set_yticks(places, [cost.name for cost in report.costs])
    axes.invert_yaxis()
    axes.set(xlabel="time, as a multiple of the base's alone", title="Base and delta")
    axes.legend(fontsize=8)
