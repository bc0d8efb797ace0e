"""What a benchmark found, for people: a table on the terminal and a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Column, Table

from jobs.bench.filters import METHODS, FilterBench, Measured

matplotlib.use("Agg")

_COLOURS = {
    "planned": "#0b6e99", "exact": "#7a7a7a", "list-aware": "#3fa34d", "nprobe": "#c2571a", "post-filter": "#b00020",
}  # fmt: skip


def filters_table(bench: FilterBench) -> Table:
    """A row for each filter: recall@100 of each method, and p50 and p99 of what the planner chose."""
    right = [Column(name, justify="right") for name in ("rows", *METHODS, "p50 ms", "p99 ms")]
    table = Table(
        "queries", "filter", Column("share", justify="right"), *right, "planned as",
        title=f"recall@100 under filters: {bench.name}", title_justify="left",
    )  # fmt: skip
    rows: dict[tuple[str, str, float], dict[str, Measured]] = {}
    for each in bench.measured:
        rows.setdefault((each.queries, each.filter, each.share), {})[each.method] = each
    for (queries, name, share), methods in rows.items():
        planned = methods["planned"]
        table.add_row(
            queries, name, f"{share:.2%}", f"{planned.allowed:,}",
            *(f"{methods[method].recall_at_100:.3f}" if method in methods else "" for method in METHODS),
            f"{planned.p50_ms:.2f}", f"{planned.p99_ms:.2f}", planned.path,
            end_section=share == 1.0 or share == min(each[2] for each in rows),
        )  # fmt: skip
    return table


def crossing_table(bench: FilterBench) -> Table:
    """Where scoring every allowed row stops paying."""
    table = Table(
        "queries", "filter", Column("rows", justify="right"), Column("exact ms", justify="right"),
        Column("probing ms", justify="right"), Column("probing recall", justify="right"), "planned as",
        title="Exact scoring or probing, p50", title_justify="left",
    )  # fmt: skip
    for each in bench.crossings:
        table.add_row(
            each.queries, each.filter, f"{each.allowed:,}", f"{each.exact_ms:.2f}", f"{each.probing_ms:.2f}",
            f"{each.probing_recall:.3f}", each.planned,
        )  # fmt: skip
    return table


def filters_plot(bench: FilterBench, path: Path) -> None:
    """Recall and p50 by share of rows allowed, for each kind of query and filter; and the crossover."""
    kinds = list(bench.params)
    figure = Figure(figsize=(13, 3.6 * (len(kinds) + 1)), layout="constrained")
    axes = figure.subplots(len(kinds) + 1, 3, squeeze=False)
    for row, kind in enumerate(kinds):
        for column, name in enumerate(("random", "unrelated")):
            _recall_axes(axes[row][column], bench, kind, name)
        _latency_axes(axes[row][2], bench, kind)
    for column, kind in enumerate(kinds):
        _crossing_axes(axes[-1][column], bench, kind)
    axes[-1][2].axis("off")
    if len(kinds) == 1:
        axes[-1][1].axis("off")
    figure.suptitle(bench.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _recall_axes(axes: Axes, bench: FilterBench, kind: str, name: str) -> None:
    for method in METHODS:
        points = [m for m in bench.measured if (m.queries, m.filter, m.method) == (kind, name, method)]
        ours = method == "planned"
        axes.plot(
            [100 * m.share for m in points], [m.recall_at_100 for m in points], label=method, color=_COLOURS[method],
            linewidth=2.5 if ours else 1.2, marker="o" if ours else None, zorder=3 if ours else 2,
        )  # fmt: skip
    axes.axhline(0.95, color="#999", linewidth=0.8, linestyle="--")
    axes.set(xscale="log", ylim=(-0.02, 1.03), title=f"{kind} queries, {name} filter", ylabel="recall@100")
    axes.set_xlabel("rows allowed")
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.invert_xaxis()
    axes.legend(fontsize=8, loc="center left")


def _latency_axes(axes: Axes, bench: FilterBench, kind: str) -> None:
    for name, line in (("random", "-"), ("unrelated", "--")):
        for method in ("planned", "exact"):
            points = [m for m in bench.measured if (m.queries, m.filter, m.method) == (kind, name, method)]
            axes.plot(
                [100 * m.share for m in points], [m.p50_ms for m in points], line, marker=".",
                color=_COLOURS[method], label=f"{method}, {name}",
            )  # fmt: skip
    axes.set(xscale="log", yscale="log", title=f"{kind} queries, p50", ylabel="ms")
    axes.set_xlabel("rows allowed")
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.invert_xaxis()
    axes.legend(fontsize=8)


def _crossing_axes(axes: Axes, bench: FilterBench, kind: str) -> None:
    for name, line in (("random", "-"), ("unrelated", "--")):
        points = [each for each in bench.crossings if (each.queries, each.filter) == (kind, name)]
        allowed = [each.allowed for each in points]
        axes.plot(allowed, [each.exact_ms for each in points], line, color=_COLOURS["exact"], label=f"exact, {name}")
        axes.plot(
            allowed, [each.probing_ms for each in points], line, color=_COLOURS["list-aware"], label=f"probing, {name}"
        )
        axes.scatter(
            allowed, [each.exact_ms if each.planned == "exact" else each.probing_ms for each in points],
            color=_COLOURS["planned"], zorder=3, label="planned" if name == "random" else None,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", title=f"{kind} queries: what the planner takes", xlabel="rows allowed")
    axes.set_ylabel("p50 ms")
    axes.legend(fontsize=8)
