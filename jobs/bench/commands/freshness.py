"""Benchmarks of what changes: refreshes, and streams of events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.bench.commands.options import (
    CodecOption,
    DimOption,
    FolderOption,
    JsonOption,
    PlotOption,
    RowsOption,
    write_report,
)
from jobs.console import err, settings_with


def bench_refresh(
    products: Annotated[
        int, typer.Option("--products", min=100, help="Products of the sample shop that is refreshed and built.")
    ] = 100_000,
    rows: RowsOption = 500_000,
    dim: DimOption = 512,
    share: Annotated[
        float, typer.Option("--share", min=0.0001, max=0.5, help="Share of the products that change.")
    ] = 0.01,
    refreshes: Annotated[
        int, typer.Option("--refreshes", min=1, help="Deltas that follow each other, with these changes in all.")
    ] = 96,
    turns: Annotated[
        int, typer.Option("--turns", min=10, help="Searches of each release; filters and facets are a quarter of them.")
    ] = 900,
    only: Annotated[
        Literal["rebuild", "delta"] | None,
        typer.Option("--only", help="Only refreshes beside a full build, or only searches with a delta."),
    ] = None,
    codec: CodecOption = None,
    folder: FolderOption = Path("bench"),
    json_file: JsonOption = None,
    plot: PlotOption = None,
) -> None:
    """Measure refreshes beside a full build, and what a delta adds to searches, filters, facets and opening."""
    from jobs.bench.refresh.report import measure_refresh
    from jobs.bench.show.refresh import delta_table, parts_table, plot_refresh, rebuild_table
    from jobs.progress import Reporter

    config = settings_with(codec=codec, encoder="sample").pipeline
    report = measure_refresh(
        products, rows, dim, share, refreshes, config, folder, Reporter(err), turns=turns, only=only
    )
    tables = [] if report.rebuild is None else [rebuild_table(report.rebuild), parts_table(report.rebuild)]
    tables += [] if report.delta is None else [delta_table(report.delta)]
    write_report(report, json_file, *tables)
    if plot:
        plot_refresh(report, plot)


def bench_stream(
    products: Annotated[int, typer.Option("--products", min=100, help="Products of the sample catalog.")] = 6000,
    rate: Annotated[int, typer.Option("--rate", min=1, help="Events in a second.")] = 1000,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Seconds for which events are sent.")] = 60,
    folder: FolderOption = Path("bench"),
    json_file: JsonOption = None,
) -> None:
    """Measure the time from an event to searches, with a killed consumer and a broker that hangs."""
    from jobs.bench.show.stream import stream_table
    from jobs.bench.stream import measure_stream
    from jobs.progress import Reporter

    with Reporter(err).step("measure", "events") as step:
        report = measure_stream(
            settings_with(), folder / "stream", products=products, rate=rate, seconds=seconds, progress=step.at
        )
        step.note(f"searchable after {report.p99_seconds:.1f} s (p99), {report.wrong} products are wrong")
    write_report(report, json_file, stream_table(report))
