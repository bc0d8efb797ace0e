"""Benchmarks of servers, and of the encoder that they load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from jobs.bench.commands.options import CodecOption, FolderOption, JsonOption, PlotOption, RowsOption, write_report
from jobs.console import ReleasesOption, err, settings_with


def bench_serve(
    rows: RowsOption = 1_000_000,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Server processes, and threads of the searches without a server.")
    ] = 2,
    clients: Annotated[int, typer.Option("--clients", min=1, help="Concurrent clients.")] = 32,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Duration of each measurement.")] = 15,
    codec: CodecOption = None,
    folder: FolderOption = Path("bench"),
    json_file: JsonOption = None,
    plot: PlotOption = None,
) -> None:
    """Measure a server's throughput beside its index alone, latency against load, and memory."""
    from jobs.bench.encoder import CLIP_SHAPED
    from jobs.bench.serve import measure_serving
    from jobs.bench.show.serve import memory_table, plot_serve, serve_table
    from jobs.progress import Reporter

    config = settings_with(codec=codec).pipeline
    with Reporter(err).step("measure", "vectors") as step:
        report = measure_serving(
            rows,
            replace(config.encoder, encoder=CLIP_SHAPED),
            config.index,
            config.gate,
            folder,
            workers=workers,
            clients=clients,
            seconds=seconds,
            progress=step.at,
        )
        exact, alone = report.ratio("search"), report.ratio("faiss")
        step.note(f"by vector through HTTP {exact:.2f} of the index with exact scores, {alone:.2f} of the index alone")
    write_report(report, json_file, serve_table(report), memory_table(report))
    if plot:
        plot_serve(report, plot)


def bench_stress(
    rows: RowsOption = 100_000,
    workers: Annotated[int, typer.Option("--workers", min=2, help="Server processes.")] = 2,
    seconds: Annotated[float, typer.Option("--seconds", min=2, help="Duration of each phase.")] = 60,
    reloads: Annotated[int, typer.Option("--reloads", min=1, help="Releases taken over under load.")] = 20,
    overload: Annotated[
        float, typer.Option("--times", min=1, help="Load of the overload phase, as a multiple of the capacity.")
    ] = 10,
    codec: CodecOption = None,
    folder: FolderOption = Path("bench"),
    json_file: JsonOption = None,
    plot: PlotOption = None,
) -> None:
    """Disturb a server under load: reloads, a killed worker, events that cannot be written, overload."""
    from jobs.bench.encoder import CLIP_SHAPED
    from jobs.bench.show.stress import plot_stress, resources_table, stress_table
    from jobs.bench.stress import measure_stress
    from jobs.progress import Reporter

    settings = settings_with(codec=codec)
    with Reporter(err).step("measure", "vectors") as step:
        report = measure_stress(
            rows,
            replace(settings.pipeline.encoder, encoder=CLIP_SHAPED),
            settings.pipeline.index,
            folder,
            workers=workers,
            seconds=seconds,
            reloads=reloads,
            overload=overload,
            deadline_seconds=settings.deadline_seconds,
            progress=step.at,
        )
        step.note(f"{sum(phase.failed for phase in report.phases)} requests failed")
    write_report(replace(report, samples=[]), json_file, stress_table(report), resources_table(report))
    if plot:
        plot_stress(report, plot)


def bench_texts(
    texts: Annotated[int, typer.Option("--texts", min=1, help="Maximum number of titles to compare results by.")] = 400,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="Duration of each measurement.")] = 3,
    releases: ReleasesOption = None,
    json_file: JsonOption = None,
) -> None:
    """Measure how much time texts in bfloat16 save on this machine, and how much they change the results."""
    from jobs.bench.show.texts import texts_table
    from jobs.bench.texts import measure_texts
    from jobs.progress import Reporter

    with Reporter(err).step("measure", "times") as step:
        report = measure_texts(settings_with(releases=releases).pipeline, texts, seconds, progress=step.at)
        step.note(f"recall@100 {report.recall_at_100:.4f} over {report.texts} texts")
    write_report(report, json_file, texts_table(report))
