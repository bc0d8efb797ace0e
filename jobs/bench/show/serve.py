"""Tables and plot of `lookalike bench serve`."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table

from jobs.bench.serve import ServeReport
from jobs.bench.show.common import number_table, save_figure

#: Share of stolen CPU time above which a figure is doubtful.
_DISTURBED = 0.1
_LATENCIES = {"p50_ms": "#0b6e99", "p95_ms": "#3fa34d", "p99_ms": "#b00020"}
_DPI = 110


def serve_table(report: ServeReport) -> Table:
    """Return a row for each workload."""
    table = number_table(
        f"{report.name}, recall@100 {report.recall_at_100:.3f}, {report.workers} workers",
        "workload",
        *("clients", "offered/s", "answered/s", "p50 ms", "p95 ms", "p99 ms", "503", "failed", "core ms", "stolen"),
    )
    for rate in report.rates:
        table.add_row(
            rate.workload,
            str(rate.clients or ""),
            f"{rate.offered:,.1f}" if rate.offered else "",
            f"{rate.per_second:,.1f}",
            f"{rate.p50_ms:.1f}",
            f"{rate.p95_ms:.1f}",
            f"{rate.p99_ms:.1f}",
            str(rate.refused or ""),
            str(rate.failed or ""),
            f"{rate.core_ms:.2f}",
            f"{rate.stolen:.0%}",
        )
    return table


def memory_table(report: ServeReport) -> Table:
    """Return a row for each worker."""
    table = number_table("Memory", "worker", "private MB", "shared MB", "proportional MB")
    for worker in report.memory:
        sizes = (worker.private_mb, worker.shared_mb, worker.proportional_mb)
        table.add_row(str(worker.pid), *(f"{size:,.0f}" for size in sizes))
    return table


def plot_serve(report: ServeReport, path: Path) -> None:
    """Plot latency and throughput of text queries against the offered load."""
    rates = [rate for rate in report.rates if rate.workload == "offered"]
    disturbed = [rate for rate in rates if rate.stolen > _DISTURBED]
    offered = [rate.offered for rate in rates]
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    latency, throughput = figure.subplots(1, 2)
    for name, colour in _LATENCIES.items():
        latency.plot(offered, [getattr(rate, name) for rate in rates], marker="o", color=colour, label=name[:3])
    latency.set(yscale="log", xlabel="text queries offered a second", ylabel="ms", title="Latency of answered queries")
    latency.legend(fontsize=8)
    throughput.plot(
        offered, [rate.per_second for rate in rates], marker="o", color="#0b6e99", label="answered a second"
    )
    throughput.plot(offered, offered, color="#999", linewidth=0.8, linestyle="--", label="offered")
    throughput.set(xlabel="text queries offered a second", title="Throughput")
    throughput.legend(fontsize=8)
    # A white centre makes the markers of disturbed figures hollow.
    hollow = {"linestyle": "", "marker": "o", "markersize": 3.5, "color": "white", "zorder": 3}
    for axes, names in ((latency, tuple(_LATENCIES)), (throughput, ("per_second",))):
        for name in names:
            axes.plot([rate.offered for rate in disturbed], [getattr(rate, name) for rate in disturbed], **hollow)
    note = f"; hollow: more than {_DISTURBED:.0%} of the CPU time was stolen" if disturbed else ""
    figure.suptitle(f"{report.name}, {report.workers} workers{note}")
    save_figure(figure, path, dpi=_DPI)
