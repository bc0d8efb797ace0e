"""Tables and plot of `lookalike bench stress`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from jobs.bench.load.generator import Sample
from jobs.bench.show.common import number_table, save_figure
from jobs.bench.stress import StressReport

#: Outcome of a request: colour and size of its dot.
_OUTCOMES = {"answered": ("#0b6e99", 2), "refused (503)": ("#c2571a", 2), "failed": ("#b00020", 24)}
_DPI = 100


def stress_table(report: StressReport) -> Table:
    """Return a row for each phase."""
    table = number_table(
        f"{report.name}, {report.workers} workers, capacity {report.capacity:,.0f} searches/s",
        "phase",
        *("seconds", "offered/s", "answered", "503", "failed", "wrong"),
        *("p50 ms", "p99 ms", "slowest ms", "503 p99 ms", "late p99 ms", "stolen"),
    )
    for phase in report.phases:
        table.add_row(
            phase.name,
            f"{phase.seconds:.0f}",
            f"{phase.offered:,.0f}",
            f"{phase.answered:,}",
            f"{phase.refused:,}",
            str(phase.failed),
            str(phase.wrong),
            f"{phase.p50_ms:.0f}",
            f"{phase.p99_ms:.0f}",
            f"{phase.slowest_ms:.0f}",
            f"{phase.refused_p99_ms:.0f}" if phase.refused else "",
            f"{phase.late_p99_ms:,.0f}",
            f"{phase.stolen:.0%}",
        )
    table.caption = f"p99 during reloads {report.swap_p99_ms:.1f} ms, in the pauses between {report.pause_p99_ms:.1f}"
    return table


def resources_table(report: StressReport) -> Table:
    """Return what each worker held before and after the reloads."""
    title = f"Before and after {report.reloads} reloads"
    table = number_table(title, "worker", "private MB", "maps", "files", "threads")
    for before, after in zip(report.before, report.after, strict=True):
        table.add_row(
            str(before.pid),
            f"{before.private_mb:,.0f} → {after.private_mb:,.0f}",
            f"{before.maps} → {after.maps}",
            f"{before.files} → {after.files}",
            f"{before.threads} → {after.threads}",
        )
    return table


def plot_stress(report: StressReport, path: Path) -> None:
    """Plot every request by the time it was sent: its latency and its outcome."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    axes = figure.subplots()
    samples = [sample for _, phase_samples in report.samples for sample in phase_samples]
    start = min(sample.sent_at for sample in samples)
    for outcome, (colour, size) in _OUTCOMES.items():
        chosen = [sample for sample in samples if _outcome(sample) == outcome]
        axes.scatter(
            np.array(
                [sample.sent_at - start for sample in chosen]
            ),  # matplotlib inspects the numbers of a list one by one
            np.array([max(sample.milliseconds, 0.1) for sample in chosen]),
            s=size,
            color=colour,
            linewidths=0,
            alpha=0.5,
            label=outcome,
            rasterized=True,
        )
    for number, (name, phase_samples) in enumerate(report.samples):
        times = [sample.sent_at - start for sample in phase_samples]
        begin, end = min(times), max(times)
        axes.axvspan(begin, end, color="#000" if number % 2 else "#fff", alpha=0.05, linewidth=0)
        axes.text((begin + end) / 2, 1.01, name, transform=axes.get_xaxis_transform(), ha="center", fontsize=9)
    axes.axhline(1000 * report.deadline_seconds, color="#999", linewidth=0.8, linestyle="--")
    axes.text(0, 1050 * report.deadline_seconds, "deadline", color="#666", fontsize=8)
    axes.set(yscale="log", xlabel="seconds", ylabel="ms")
    axes.legend(fontsize=8, loc="lower right", markerscale=3)
    figure.suptitle(f"{report.name}, {report.workers} workers")
    save_figure(figure, path, dpi=_DPI)


def _outcome(sample: Sample) -> str:
    return {200: "answered", 503: "refused (503)"}.get(sample.status, "failed")
