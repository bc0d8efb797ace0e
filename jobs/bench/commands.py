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
CodecOption = Annotated[str | None, typer.Option("--codec", help="pq, rabitq or sq8.")]
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


@bench_app.command("index")
def bench_index(
    rows: Annotated[
        int | None, typer.Option("--rows", min=1000, help="Vectors to draw, 100,000 by default, or to read at most.")
    ] = None,
    dim: Annotated[int, typer.Option("--dim", min=8, max=4096, help="Dimensions of a drawn vector.")] = 512,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the drawn vectors and filters.")] = 0,
    count: Annotated[int, typer.Option("--count", min=20, help="Queries of each modality.")] = 200,
    vectors: Annotated[Path | None, typer.Option("--vectors", help="File of vectors, instead of drawn ones.")] = None,
    queries: Annotated[Path | None, typer.Option("--queries", help="File of queries, or --vectors if HDF5.")] = None,
    truth: Annotated[Path | None, typer.Option("--truth", help="File of each query's nearest by cosine.")] = None,
    codecs: Annotated[str, typer.Option("--codecs", help="Lookalike's codecs to measure; all by default.")] = "",
    against: Annotated[str, typer.Option("--against", help="Peers, such as lancedb,usearch:f16.")] = "",
    filters: Annotated[bool, typer.Option("--filters/--no-filters", help="Measure under filters too.")] = True,
    target: Annotated[float, typer.Option("--target", min=0.1, max=1, help="recall@100 to tune everything to.")] = 0.95,
    turns: Annotated[int, typer.Option("--turns", min=1, help="Measurements of each index, in turns.")] = 3,
    seconds: Annotated[float, typer.Option("--seconds", min=0.05, help="Duration of one measurement.")] = 3,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Minutes that a peer's stage may take.")] = 60,
    install_peers: Annotated[
        bool, typer.Option("--install-peers", help="Only install the peers of --against, each into an environment.")
    ] = False,
    peers_folder: Annotated[
        Path | None,
        typer.Option("--peers-folder", help="Folder of their environments; in --folder by default."),
    ] = None,
    folder: FolderOption = Path("bench"),
    json_file: JsonOption = None,
    plot: PlotOption = None,
) -> None:
    """Measure recall, speed, size and build of each codec, beside what people would use instead, tuned alike."""
    from jobs.bench.index.data import drawn_data, read_data
    from jobs.bench.index.environments import chosen_peers, install
    from jobs.bench.index.runs import RunOptions, chosen_codecs, measure_indexes
    from jobs.bench.show.index import plot_indexes, tables
    from jobs.progress import Reporter

    reporter, peers = Reporter(err), chosen_peers(against)
    environments = peers_folder or folder / "peers"
    if install_peers:
        for name, peer in peers.items():
            with reporter.step(name, "packages") as step:
                install(name, peer, environments)
                step.note(", ".join(peer.requirements))
        return
    chosen = chosen_codecs(codecs)
    with reporter.step("data", "vectors") as step:
        if vectors is None:
            data = drawn_data(rows or 100_000, dim, seed, count, folder / "index", progress=step.at)
        else:
            data = read_data(
                vectors, queries or vectors, truth, folder / "index",
                rows=rows, queries=count, seed=seed, progress=step.at,
            )  # fmt: skip
        step.note(data.name)
    options = RunOptions(target, turns, seconds, 60 * timeout, filters)
    report = measure_indexes(data, chosen, peers, environments, options, reporter)
    _write(report, json_file, *tables(report))
    if plot:
        plot_indexes(report, plot)


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
