"""The verbs of `lookalike bench`. Each imports the modules that it needs: they load FAISS, torch and matplotlib."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from jobs.console import ReleasesOption, WorkspaceOption, err, out, settings_with

bench_app = typer.Typer(no_args_is_help=True, help="Measure claims about speed and recall, side by side in one run.")

RowsOption = Annotated[int, typer.Option("--rows", min=10_000, help="Vectors to draw and search.")]
DimOption = Annotated[int, typer.Option("--dim", min=8, max=4096, help="Dimensions of a vector.")]
CodecOption = Annotated[str | None, typer.Option("--codec", help="pq, opq, rabitq or sq8.")]
FolderOption = Annotated[Path, typer.Option("--folder", help="Folder that keeps the drawn index for the next run.")]
PlotOption = Annotated[Path | None, typer.Option("--plot", help="PNG file for a plot.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="JSON file for all measurements.")]


@bench_app.command("filters")
def bench_filters(
    rows: RowsOption = 500_000,
    dim: DimOption = 512,
    queries: Annotated[int, typer.Option("--queries", min=20, help="Queries of each modality.")] = 200,
    codec: CodecOption = None,
    folder: FolderOption = Path("bench"),
    published: Annotated[
        bool, typer.Option("--published", help="Search the current release instead, with queries from its workspace.")
    ] = False,
    releases: ReleasesOption = None,
    workspace: WorkspaceOption = None,
    json_file: JsonOption = None,
    plot: PlotOption = None,
) -> None:
    """Measure recall and latency under filters that keep 50 % to 0.01 %: the planner beside other methods."""
    from jobs.bench.catalog import drawn_catalog, published_catalog
    from jobs.bench.filters import measure_filters
    from jobs.bench.show.filters import crossover_table, filters_table, plot_filters
    from jobs.progress import Reporter

    config = settings_with(codec=codec, releases=releases, workspace=workspace).pipeline
    reporter = Reporter(err)
    with reporter.step("index", "vectors") as step:
        if published:
            catalog = published_catalog(queries, config)
        else:
            catalog = drawn_catalog(rows, dim, queries, config.index, folder, progress=step.at)
        step.note(catalog.name)
    with reporter.step("measure", "filters") as step:
        try:
            report = measure_filters(catalog, config.gate, progress=step.at)
        finally:
            catalog.segment.close()
        step.note(f"worst recall@100 as planned {report.worst('planned'):.3f}")
    _write(report, json_file, filters_table(report), crossover_table(report))
    for modality, params in report.params.items():
        out.print(f"{modality}: {params}", highlight=False)
    if plot:
        plot_filters(report, plot)


@bench_app.command("build")
def bench_build(
    rows: RowsOption = 1_000_000,
    dim: DimOption = 512,
    tasks: Annotated[str, typer.Option("--tasks", metavar="N,N", help="Numbers of tasks, ascending.")] = "1,2",
    codec: CodecOption = None,
    shards: Annotated[int, typer.Option("--shards", min=1, help="Shards of the drawn workspace.")] = 32,
    rows_per_index: Annotated[int, typer.Option("--rows-per-index", min=1, help="Most rows of a part.")] = 250_000,
    folder: FolderOption = Path("bench"),
    json_file: JsonOption = None,
) -> None:
    """Measure the build of an index: training, parts by one and several tasks, the seal, and the memory of each."""
    from jobs.bench.build.measure import measure_build
    from jobs.bench.show.build import build_table, searches_table
    from jobs.progress import Reporter

    counts = sorted(int(count) for count in tasks.split(",") if count.strip().isdigit() and int(count) > 0)
    if not counts:
        raise typer.BadParameter(f"{tasks!r} is not like 1,2", param_hint="--tasks")
    config = settings_with(codec=codec, shards=shards, rows_per_index=rows_per_index).pipeline
    with Reporter(err).step("build", "shards") as step:
        report = measure_build(config, folder, rows=rows, dim=dim, tasks=counts, progress=step.at)
        step.note(f"{report.runs[-1].vectors_per_second:,.0f} vectors/s with {report.runs[-1].tasks} tasks")
    _write(report, json_file, build_table(report), searches_table(report))


@bench_app.command("serve")
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
    _write(report, json_file, serve_table(report), memory_table(report))
    if plot:
        plot_serve(report, plot)


@bench_app.command("stress")
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
    _write(replace(report, samples=[]), json_file, stress_table(report), resources_table(report))
    if plot:
        plot_stress(report, plot)


@bench_app.command("texts")
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
    _write(report, json_file, texts_table(report))


@bench_app.command("refresh")
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
    _write(report, json_file, *tables)
    if plot:
        plot_refresh(report, plot)


@bench_app.command("stream")
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
    _write(report, json_file, stream_table(report))


def _write(report: Any, path: Path | None, *tables: Table) -> None:
    """Print the tables, and write the report to a JSON file if one is named."""
    for table in tables:
        out.print(table)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(report), indent=1) + "\n")
