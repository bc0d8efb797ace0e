"""What `lookalike bench stress` found, for people: tables on the terminal and a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from rich.table import Table

matplotlib.use("Agg")
from matplotlib.figure import Figure

from jobs.bench.load.load import Sample
from jobs.bench.show.serve import number_table
from jobs.bench.stress import StressBench


def stress_table(bench: StressBench) -> Table:
    """A row for each phase."""
    table = number_table(
        f"{bench.name}, {bench.workers} workers, capacity {bench.capacity:,.0f} searches/s", "phase", "seconds",
        "offered/s", "answered", "503", "failed", "wrong", "p50 ms", "p99 ms", "slowest ms", "503 p99 ms",
        "late p99 ms", "stolen",
    )  # fmt: skip
    for each in bench.phases:
        table.add_row(
            each.name, f"{each.seconds:.0f}", f"{each.offered:,.0f}", f"{each.answered:,}", f"{each.refused:,}",
            str(each.failed), str(each.wrong), f"{each.p50_ms:.0f}", f"{each.p99_ms:.0f}", f"{each.slowest_ms:.0f}",
            f"{each.refused_p99_ms:.0f}" if each.refused else "",
            f"{each.late_p99_ms:,.0f}", f"{each.stolen:.0%}",
        )  # fmt: skip
    table.caption = (
        f"p99 while a release was taken over {bench.swap_p99_ms:.1f} ms, in the pauses between {bench.pause_p99_ms:.1f}"
    )
    return table


def resources_table(bench: StressBench) -> Table:
    """What each worker held before and after the reloads."""
    title = f"Before and after {bench.reloads} reloads"
    table = number_table(title, "worker", "private MB", "maps", "files", "threads")
    for before, after in zip(bench.before, bench.after, strict=True):
        table.add_row(
            str(before.pid), f"{before.private_mb:,.0f} → {after.private_mb:,.0f}", f"{before.maps} → {after.maps}",
            f"{before.files} → {after.files}", f"{before.threads} → {after.threads}",
        )  # fmt: skip
    return table


def stress_plot(bench: StressBench, path: Path) -> None:
    """Every request by the time it was sent: how long its answer took, and what that was."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    axes = figure.subplots()
    start = min(sample.at for _, samples in bench.samples for sample in samples)
    kinds = {"answered": ("#0b6e99", 2), "refused (503)": ("#c2571a", 2), "failed": ("#b00020", 24)}
    for kind, (colour, size) in kinds.items():
        chosen = [each for _, samples in bench.samples for each in samples if _kind(each) == kind]
        axes.scatter(
            np.array([each.at - start for each in chosen]),  # of lists matplotlib looks at every number by itself
            np.array([max(each.milliseconds, 0.1) for each in chosen]),
            s=size, color=colour, linewidths=0, alpha=0.5, label=kind, rasterized=True,
        )  # fmt: skip
    for number, (name, samples) in enumerate(bench.samples):
        begin, end = (f(each.at for each in samples) - start for f in (min, max))
        axes.axvspan(begin, end, color="#000" if number % 2 else "#fff", alpha=0.05, linewidth=0)
        axes.text((begin + end) / 2, 1.01, name, transform=axes.get_xaxis_transform(), ha="center", fontsize=9)
    axes.axhline(1000 * bench.deadline_seconds, color="#999", linewidth=0.8, linestyle="--")
    axes.text(0, 1050 * bench.deadline_seconds, "deadline", color="#666", fontsize=8)
    axes.set(yscale="log", xlabel="seconds", ylabel="ms")
    axes.legend(fontsize=8, loc="lower right", markerscale=3)
    figure.suptitle(f"{bench.name}, {bench.workers} workers")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _kind(sample: Sample) -> str:
    return {200: "answered", 503: "refused (503)"}.get(sample.status, "failed")
