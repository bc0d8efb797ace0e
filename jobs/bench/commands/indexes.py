"""Benchmarks of indexes: under filters, beside others, and how they are built."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from jobs.console import ReleasesOption, WorkspaceOption, err, out, settings_with


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
    write_report(report, json_file, filters_table(report), crossover_table(report))
    for modality, params in report.params.items():
        out.print(f"{modality}: {params}", highlight=False)
    if plot:
        plot_filters(report, plot)


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
    write_report(report, json_file, build_table(report), searches_table(report))


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
    from jobs.bench.index.contenders import chosen_codecs
    from jobs.bench.index.data import drawn_data, read_data
    from jobs.bench.index.environments import chosen_peers, install
    from jobs.bench.index.runs import RunOptions, measure_indexes
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
    write_report(report, json_file, *tables(report))
    if plot:
        plot_indexes(report, plot)
