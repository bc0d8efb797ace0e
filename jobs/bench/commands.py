"""The verbs of `lookalike bench`. Modules are imported by the verb that needs them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from jobs.console import ReleasesOption, WorkspaceOption, err, out, settings_with

bench_app = typer.Typer(no_args_is_help=True, help="Measure claims about speed and recall, side by side in one run.")

RowsOption = Annotated[int, typer.Option("--rows", min=10_000, help="Vectors to draw and search.")]
CodecOption = Annotated[str | None, typer.Option("--codec", help="pq, rabitq or sq8.")]
KeptOption = Annotated[Path, typer.Option("--folder", help="Keeps the drawn index for the next run.")]
PlotOption = Annotated[Path | None, typer.Option("--plot", help="PNG file for the picture.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="File for all that was measured.")]


@bench_app.command("filters")
def bench_filters(
    rows: RowsOption = 500_000,
    dim: Annotated[int, typer.Option("--dim", min=8, max=4096, help="Numbers in a vector.")] = 512,
    queries: Annotated[int, typer.Option("--queries", min=20, help="Queries of each kind.")] = 200,
    codec: CodecOption = None,
    folder: KeptOption = Path("bench"),
    published: Annotated[
        bool, typer.Option("--published", help="Search the current release instead, with queries from its workspace.")
    ] = False,
    releases: ReleasesOption = None,
    workspace: WorkspaceOption = None,
    json_file: JsonOption = None,
    plot: PlotOption = None,
) -> None:
    """Recall and latency under filters that keep 50 % to 0.01 %: the planner, and what others do, side by side."""
    from jobs.bench.catalog import drawn_catalog, published_catalog
    from jobs.bench.filters import measure_filters
    from jobs.bench.show.filters import crossing_table, filters_plot, filters_table
    from jobs.progress import Reporter

    settings = settings_with(codec=codec, releases=releases, workspace=workspace)
    reporter = Reporter(err)
    with reporter.step("index", "vectors") as step:
        if published:
            catalog = published_catalog(queries, settings)
        else:
            catalog = drawn_catalog(rows, dim, queries, settings, folder, progress=step.at)
        step.note(catalog.name)
    with reporter.step("measure", "filters") as step:
        try:
            bench = measure_filters(catalog, settings.recall_target, settings.seed, progress=step.at)
        finally:
            catalog.segment.close()
        step.note(f"worst recall@100 as planned {bench.worst('planned'):.3f}")
    _tell(bench, json_file, filters_table(bench), crossing_table(bench))
    for kind, params in bench.params.items():
        out.print(f"{kind}: {params}", highlight=False)
    if plot:
        filters_plot(bench, plot)


@bench_app.command("serve")
def bench_serve(
    rows: RowsOption = 1_000_000,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Server processes, and threads beside them.")] = 2,
    clients: Annotated[int, typer.Option("--clients", min=1, help="Clients that ask at the same time.")] = 32,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Each measurement takes so long.")] = 15,
    codec: CodecOption = None,
    folder: KeptOption = Path("bench"),
    json_file: JsonOption = None,
    plot: PlotOption = None,
) -> None:
    """What a server answers in a second, beside what its index alone could; latency against load; memory."""
    from jobs.bench.serve import measure_serving
    from jobs.bench.show.serve import memory_table, serve_plot, serve_table
    from jobs.progress import Reporter

    settings = settings_with(codec=codec)
    with Reporter(err).step("measure", "vectors") as step:
        bench = measure_serving(
            rows, settings, folder, workers=workers, clients=clients, seconds=seconds, progress=step.at
        )
        share, of_faiss = bench.ratio("search"), bench.ratio("faiss")
        step.note(f"by vector through HTTP {share:.2f} of the index with exact scores, {of_faiss:.2f} of it alone")
    _tell(bench, json_file, serve_table(bench), memory_table(bench))
    if plot:
        serve_plot(bench, plot)


@bench_app.command("stress")
def bench_stress(
    rows: RowsOption = 100_000,
    workers: Annotated[int, typer.Option("--workers", min=2, help="Server processes.")] = 2,
    seconds: Annotated[float, typer.Option("--seconds", min=2, help="Each phase takes so long.")] = 60,
    reloads: Annotated[int, typer.Option("--reloads", min=1, help="Releases taken over under load.")] = 20,
    times: Annotated[float, typer.Option("--times", min=1, help="Overload: so many times what the server can.")] = 10,
    codec: CodecOption = None,
    folder: KeptOption = Path("bench"),
    json_file: JsonOption = None,
    plot: PlotOption = None,
) -> None:
    """What befalls a server in its life, under load: reloads, a worker killed, events not written, overload."""
    from jobs.bench.show.stress import resources_table, stress_plot, stress_table
    from jobs.bench.stress import measure_stress
    from jobs.progress import Reporter

    settings = settings_with(codec=codec)
    with Reporter(err).step("measure", "vectors") as step:
        bench = measure_stress(
            rows, settings, folder, workers=workers, seconds=seconds, reloads=reloads, times=times, progress=step.at
        )
        step.note(f"{sum(each.failed for each in bench.phases)} requests failed")
    _tell(replace(bench, samples=[]), json_file, stress_table(bench), resources_table(bench))
    if plot:
        stress_plot(bench, plot)


@bench_app.command("texts")
def bench_texts(
    texts: Annotated[int, typer.Option("--texts", min=1, help="Titles to compare by, at most.")] = 400,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="Each measurement takes so long.")] = 3,
    releases: ReleasesOption = None,
    json_file: JsonOption = None,
) -> None:
    """What texts in bfloat16 save on this machine, and what they change of what is found."""
    from jobs.bench.show.texts import texts_table
    from jobs.bench.texts import measure_texts
    from jobs.progress import Reporter

    with Reporter(err).step("measure", "times") as step:
        bench = measure_texts(settings_with(releases=releases), texts, seconds, step.at)
        step.note(f"recall@100 {bench.recall_at_100:.4f} over {bench.texts} texts")
    _tell(bench, json_file, texts_table(bench))


def _tell(result: Any, path: Path | None, *tables: Table) -> None:
    """Tables on the terminal, and all that was measured in a file if one is named."""
    for table in tables:
        out.print(table)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(result), indent=1) + "\n")
