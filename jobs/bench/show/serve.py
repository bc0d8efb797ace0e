"""TODO."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Column, Table

from jobs.bench.serve import ServeBench

#: Share of the processors' time that, taken by the machine's host, makes a figure doubtful.
_DISTURBED = 0.1


def number_table(title: str, first: str, *numbers: str) -> Table:
    """An empty table: a column of names, and columns of numbers."""
    return Table(first, *(Column(name, justify="right") for name in numbers), title=title, title_justify="left")


def serve_table(bench: ServeBench) -> Table:
    """A row for each way of asking."""
    title = f"{bench.name}, recall@100 {bench.recall_at_100:.3f}, {bench.workers} workers"
    table = number_table(
        title, "way", "clients", "offered/s", "answered/s", "p50 ms", "p95 ms", "p99 ms", "503", "failed", "core ms",
        "stolen",
    )  # fmt: skip
    for each in bench.rates:
        table.add_row(
            each.way, str(each.clients or ""), f"{each.offered:,.1f}" if each.offered else "",
            f"{each.per_second:,.1f}", f"{each.p50_ms:.1f}", f"{each.p95_ms:.1f}", f"{each.p99_ms:.1f}",
            str(each.refused or ""), str(each.failed or ""), f"{each.core_ms:.2f}", f"{each.stolen:.0%}",
        )  # fmt: skip
    return table


def memory_table(bench: ServeBench) -> Table:
    """A row for each worker."""
    table = number_table("Memory", "worker", "private MB", "shared MB", "proportional MB")
    for each in bench.memory:
        table.add_row(str(each.pid), *(f"{mb:,.0f}" for mb in (each.private_mb, each.shared_mb, each.proportional_mb)))
    return table


def serve_plot(bench: ServeBench, path: Path) -> None:
    """Latency of text queries against the load that was offered, and what became of that load."""
    offered = [each for each in bench.rates if each.way == "offered"]
    load = [each.offered for each in offered]
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    latency, answered = figure.subplots(1, 2)
    for name, colour in (("p50_ms", "#0b6e99"), ("p95_ms", "#3fa34d"), ("p99_ms", "#b00020")):
        latency.plot(load, [getattr(each, name) for each in offered], marker="o", color=colour, label=name[:3])
    latency.set(yscale="log", xlabel="text queries offered a second", ylabel="ms", title="Latency of what was answered")
    latency.legend(fontsize=8)
    answered.plot(load, [each.per_second for each in offered], marker="o", color="#0b6e99", label="answered a second")
    answered.plot(load, load, color="#999", linewidth=0.8, linestyle="--", label="offered")
    answered.set(xlabel="text queries offered a second", title="What became of it")
    answered.legend(fontsize=8)
    disturbed = [each for each in offered if each.stolen > _DISTURBED]
    for axes, names in ((latency, ("p50_ms", "p95_ms", "p99_ms")), (answered, ("per_second",))):
        for name in names:
            axes.plot(
                [each.offered for each in disturbed], [getattr(each, name) for each in disturbed],
                linestyle="", marker="o", markersize=3.5, color="white", zorder=3,
            )  # fmt: skip
    hollow = f"; hollow: the machine's host took more than {_DISTURBED:.0%} of it" if disturbed else ""
    figure.suptitle(f"{bench.name}, {bench.workers} workers{hollow}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
