"""Benchmarks of what others run: embedding stores, and engines that find candidates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.bench.commands.options import CodecOption, DimOption, FolderOption, JsonOption, PlotOption, write_report
from jobs.console import err, settings_with


def bench_features(
    rows: Annotated[int, typer.Option("--rows", min=1000, help="Vectors in each store.")] = 100_000,
    dim: DimOption = 512,
    urls: Annotated[
        list[str] | None,
        typer.Option(
            "--url",
            help="A store to measure, as the setting embedding_store names it; more than one is possible. Without any: "
            "Parquet, and a PostgreSQL and a Redis that are started for it, where their programs are installed.",
        ),
    ] = None,
    turns: Annotated[
        int, typer.Option("--turns", min=1, help="Measurements of each store, of which the best count.")
    ] = 3,
    folder: FolderOption = Path("bench"),
    json_file: JsonOption = None,
) -> None:
    """Measure puts and gets of embedding stores: Parquet, PostgreSQL, Redis."""
    from jobs.bench.features.measure import measure_features
    from jobs.bench.show.features import features_table
    from jobs.progress import Reporter

    key = settings_with().embedding_store_key.get_secret_value()
    with Reporter(err).step("measure", "stores") as step:
        report = measure_features(rows, dim, urls or [], key, folder, turns, progress=step.at)
        step.note(f"{sum(store.wrong for store in report.stores)} wrong vectors")
    write_report(report, json_file, features_table(report))


def bench_engines(
    engines: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            metavar="NAME=URL",
            help="An engine that runs, such as pgvector=postgresql://db/shop; more than one is possible. The name is "
            "its kind, and behind a colon what tells it from others of this kind.",
        ),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--options", metavar="NAME=JSON", help="How an engine builds its index, as in engine_options."),
    ] = None,
    pids: Annotated[
        list[str] | None, typer.Option("--pid", metavar="NAME=PID", help="Process of an engine, for its memory.")
    ] = None,
    folders: Annotated[
        list[str] | None, typer.Option("--data", metavar="NAME=FOLDER", help="Data of an engine, for its disk.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=1000, help="Vectors to draw and load.")] = 100_000,
    dim: DimOption = 512,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the drawn vectors and filters.")] = 0,
    count: Annotated[int, typer.Option("--count", min=20, help="Queries of each modality.")] = 200,
    codec: CodecOption = None,
    target: Annotated[float, typer.Option("--target", min=0.1, max=1, help="recall@100 to calibrate for.")] = 0.95,
    turns: Annotated[int, typer.Option("--turns", min=1, help="Measurements of each engine, in turns.")] = 3,
    seconds: Annotated[float, typer.Option("--seconds", min=0.05, help="Duration of one measurement.")] = 2,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of the measurement with several.")] = 4,
    folder: FolderOption = Path("bench"),
    json_file: JsonOption = None,
    plot: PlotOption = None,
) -> None:
    """Measure engines beside FAISS files: load, recall, speed, filters, disk and memory."""
    from jobs.bench.engines.measure import EnginesOptions, measure_engines
    from jobs.bench.engines.named import named_engines
    from jobs.bench.index.data import drawn_data
    from jobs.bench.show.engines import engines_tables, plot_engines
    from jobs.progress import Reporter

    settings = settings_with(codec=codec or "pq")
    key = settings.engine_key.get_secret_value()
    named = named_engines(engines or [], key, options=options or [], pids=pids or [], folders=folders or [])
    reporter = Reporter(err)
    with reporter.step("data", "vectors") as step:
        data = drawn_data(rows, dim, seed, count, folder / "index", progress=step.at)
        step.note(data.name)
    how = EnginesOptions(target, turns, seconds, threads)
    report = measure_engines(data, named, settings.pipeline.index, how, reporter)
    write_report(report, json_file, *engines_tables(report))
    if plot:
        plot_engines(report, plot)
