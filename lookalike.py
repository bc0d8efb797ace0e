"""The front door: the `lookalike` command. It wires verbs to jobs/ and serving/, and does nothing else.

Modules are imported by the verb that needs them: a server's image has no Spark, `--help` is quick, and the server's
parent process holds no native library that its workers would inherit through the fork.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Column, Table

from artifacts.errors import LookalikeError
from artifacts.settings import Settings

if TYPE_CHECKING:
    from artifacts.store import Store

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Image search for a shop's catalog. Every option's default is a LOOKALIKE_ variable; see the README's table.",
)
releases_app = typer.Typer(no_args_is_help=True, help="Look after published releases.")
app.add_typer(releases_app, name="releases")

bench_app = typer.Typer(no_args_is_help=True, help="Measure claims about speed and recall, side by side in one run.")
app.add_typer(bench_app, name="bench")

# Into a file or a pipe, a table is as wide as it has to be: versions and paths must not be folded.
out = Console(width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, width=None if sys.stderr.isatty() else 200)

ReleasesOption = Annotated[str | None, typer.Option("--releases", help="Folder or URL of the published releases.")]
WorkspaceOption = Annotated[str | None, typer.Option("--workspace", help="Folder or URL kept between builds.")]
EncoderOption = Annotated[str | None, typer.Option("--encoder", help="Encoder spec, such as `sample`.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="File for all that was measured.")]
CatalogOption = Annotated[str, typer.Option("--catalog", help="CSV, Parquet, JSONL, SQL URL, or folder of pictures.")]


def settings_with(**given: Any) -> Settings:
    """The settings table, with what was given on the command line in place of the environment's."""
    return Settings(**{name: value for name, value in given.items() if value is not None})


@app.command()
def sample(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write catalog.csv and images/ to.")],
    products: Annotated[int, typer.Option("--products", min=1, help="Products to draw.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same bytes.")] = 0,
) -> None:
    """Draw a sample catalog: pictures, titles, prices, any number of them."""
    from jobs.progress import Reporter
    from jobs.sample.catalog import draw_catalog

    with Reporter(err).step("sample", "products") as step:
        path = draw_catalog(products, seed, out_folder, progress=lambda done: step.at(done, products))
        step.note(str(path))


@app.command()
def build(
    catalog: CatalogOption,
    releases: ReleasesOption = None,
    workspace: WorkspaceOption = None,
    encoder: EncoderOption = None,
    codec: Annotated[str | None, typer.Option("--codec", help="pq, rabitq, sq8 or flat.")] = None,
    shards: Annotated[int | None, typer.Option("--shards", min=1, help="Parts the work is split in.")] = None,
) -> None:
    """Build a release from a catalog, check it, and publish it."""
    from jobs.build import build as run
    from jobs.progress import Reporter

    settings = settings_with(releases=releases, workspace=workspace, encoder=encoder, codec=codec, shards=shards)
    summary = run(catalog, settings, Reporter(err))
    if summary.nothing_changed:
        out.print(
            f"Nothing changed: no picture downloaded, none embedded; {summary.published.version} is still served."
        )
        return
    out.print(f"Published {summary.published.version}", highlight=False)
    table = Table(show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_row("catalog rows", f"{summary.counts.input_rows:,}")
    table.add_row("products indexed", f"{summary.counts.indexed:,}")
    table.add_row("pictures indexed", f"{summary.counts.pictures:,}")
    for reason, count in summary.counts.rejected.items():
        table.add_row(f"rejected: {reason}", f"{count:,}")
    for name, value in summary.recall.items():
        table.add_row(f"recall, {name}", f"{value:.4f}")
    table.add_row("seconds", f"{summary.seconds:.1f}")
    out.print(table)
    out.print(f"Serve it with: lookalike serve --releases {settings.releases}", highlight=False, soft_wrap=True)


@app.command()
def evaluate(releases: ReleasesOption = None, workspace: WorkspaceOption = None, encoder: EncoderOption = None) -> None:
    """Measure the workspace's candidate again: recall, latency, the gate's verdict."""
    from jobs.candidate import REPORT
    from jobs.evaluate import run_evaluate
    from jobs.progress import Reporter
    from jobs.workspace import recorded_shards

    settings = settings_with(releases=releases, workspace=workspace, encoder=encoder)
    folder, shards = recorded_shards(settings.workspace)
    with Reporter(err).step("evaluate", "measurements") as step:
        candidate, _ = run_evaluate(folder, _store(settings), settings, shards=shards, progress=step.at)
    for name, value in candidate.recall.items():
        out.print(f"recall, {name}: {value:.4f}", highlight=False)
    out.print(f"Report: {folder.url}/{REPORT}", highlight=False, soft_wrap=True)


@app.command()
def serve(
    releases: ReleasesOption = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Server processes.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Requests at once in a process.")] = None,
) -> None:
    """Serve the current release: HTTP API and web page."""
    from serving.server import run

    run(settings_with(releases=releases, host=host, port=port, workers=workers, threads=threads))


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where the demo keeps what it makes.")] = Path("demo"),
    products: Annotated[int, typer.Option("--products", min=20, help="Products of the sample catalog.")] = 600,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = None,
) -> None:
    """See all of it: draw a catalog, run the Airflow DAG on it, and serve the result."""
    from jobs.demo import run_demo
    from jobs.progress import Reporter
    from serving.server import run

    releases = str(folder.resolve() / "releases")
    settings = settings_with(
        releases=releases,
        workspace=str(folder.resolve() / "workspace"),
        encoder="sample",
        shards=4,
        host=host,
        port=port,
    )
    run_demo(folder, products=products, settings=settings, reporter=Reporter(err))
    run(settings)


@releases_app.command("list")
def releases_list(releases: ReleasesOption = None) -> None:
    """All versions, the one being served marked."""
    store = _store(settings_with(releases=releases))
    current = store.current()
    table = Table("", Column("version", no_wrap=True), "products", "encoder", "recall@100", "MB")
    for version in store.versions():
        manifest = store.manifest(version)
        recall = " ".join(f"{name} {value:.3f}" for name, value in manifest.recall.items() if name.endswith("@100"))
        size = sum(segment.bytes for segment in manifest.segments) / 1e6
        mark = "●" if version == current else ""
        table.add_row(mark, version, f"{manifest.counts.indexed:,}", manifest.encoder["id"], recall, f"{size:,.1f}")
    out.print(table)


@releases_app.command("show")
def releases_show(
    version: Annotated[str | None, typer.Argument(help="The current one if none is named.")] = None,
    releases: ReleasesOption = None,
) -> None:
    """A version's manifest, as JSON."""
    sys.stdout.write(_store(settings_with(releases=releases)).manifest(version).to_json())


@releases_app.command("verify")
def releases_verify(
    version: Annotated[str | None, typer.Argument(help="The current one if none is named.")] = None,
    releases: ReleasesOption = None,
) -> None:
    """Check every file of a version against its sha256."""
    manifest = _store(settings_with(releases=releases)).verify(version)
    out.print(f"{manifest.version}: every file is as it was published.", highlight=False, soft_wrap=True)


@releases_app.command("rollback")
def releases_rollback(
    version: Annotated[str | None, typer.Argument(help="The one served before, if none is named.")] = None,
    releases: ReleasesOption = None,
) -> None:
    """Serve an earlier version again. Servers follow within seconds."""
    out.print(
        f"Now served: {_store(settings_with(releases=releases)).rollback(version)}", highlight=False, soft_wrap=True
    )


@releases_app.command("prune")
def releases_prune(
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Newest versions to keep.")] = None,
    releases: ReleasesOption = None,
) -> None:
    """Remove old versions, and what no version uses."""
    settings = settings_with(releases=releases, keep_releases=keep)
    removed = _store(settings).prune(settings.keep_releases)
    out.print("\n".join(f"removed {name}" for name in removed) or "Nothing to remove.", highlight=False)


@bench_app.command("filters")
def bench_filters(
    rows: Annotated[int, typer.Option("--rows", min=10_000, help="Vectors to draw and search.")] = 500_000,
    dim: Annotated[int, typer.Option("--dim", min=8, max=4096, help="Numbers in a vector.")] = 512,
    queries: Annotated[int, typer.Option("--queries", min=20, help="Queries of each kind.")] = 200,
    codec: Annotated[str | None, typer.Option("--codec", help="pq, rabitq or sq8.")] = None,
    folder: Annotated[Path, typer.Option("--folder", help="Keeps the drawn index for the next run.")] = Path("bench"),
    published: Annotated[
        bool, typer.Option("--published", help="Search the current release instead, with queries from its workspace.")
    ] = False,
    releases: ReleasesOption = None,
    workspace: WorkspaceOption = None,
    json_file: JsonOption = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="PNG file for the picture.")] = None,
) -> None:
    """Recall and latency under filters that keep 50 % to 0.01 %: the planner, and what others do, side by side."""
    from jobs.bench.catalog import drawn_catalog, published_catalog
    from jobs.bench.filters import measure_filters
    from jobs.bench.show import crossing_table, filters_plot, filters_table
    from jobs.progress import Reporter

    settings = settings_with(codec=codec, releases=releases, workspace=workspace)
    reporter = Reporter(err)
    with reporter.step("index", "vectors") as step:
        if published:
            catalog = published_catalog(queries, settings)
        else:
            kept = folder / f"{settings.codec}-{rows}x{dim}"
            catalog = drawn_catalog(rows, dim, queries, settings, kept, progress=step.at)
        step.note(catalog.name)
    with reporter.step("measure", "filters") as step:
        try:
            bench = measure_filters(catalog, settings.recall_target, settings.seed, progress=step.at)
        finally:
            catalog.segment.close()
        step.note(f"worst recall@100 as planned {bench.worst('planned'):.3f}")
    out.print(filters_table(bench))
    out.print(crossing_table(bench))
    for kind, params in bench.params.items():
        out.print(f"{kind}: {params}", highlight=False)
    _write_json(json_file, bench)
    if plot:
        filters_plot(bench, plot)


@bench_app.command("serve")
def bench_serve(
    rows: Annotated[int, typer.Option("--rows", min=10_000, help="Vectors to draw and serve.")] = 1_000_000,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Server processes, and threads beside them.")] = 2,
    clients: Annotated[int, typer.Option("--clients", min=1, help="Clients that ask at the same time.")] = 32,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Each measurement takes so long.")] = 15,
    codec: Annotated[str | None, typer.Option("--codec", help="pq, rabitq or sq8.")] = None,
    folder: Annotated[Path, typer.Option("--folder", help="Keeps the drawn index for the next run.")] = Path("bench"),
    json_file: JsonOption = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="PNG file for the picture.")] = None,
) -> None:
    """What a server answers in a second, beside what its index alone could; latency against load; memory."""
    from jobs.bench.serve import measure_serving
    from jobs.bench.show import memory_table, serve_plot, serve_table
    from jobs.progress import Reporter

    settings = settings_with(codec=codec)
    with Reporter(err).step("measure", "vectors") as step:
        bench = measure_serving(
            rows, settings, folder, workers=workers, clients=clients, seconds=seconds, progress=step.at
        )
        step.note(f"by vector through HTTP {bench.ratio:.2f} of the index alone")
    out.print(serve_table(bench))
    out.print(memory_table(bench))
    _write_json(json_file, bench)
    if plot:
        serve_plot(bench, plot)


@bench_app.command("stress")
def bench_stress(
    rows: Annotated[int, typer.Option("--rows", min=10_000, help="Vectors to draw and serve.")] = 100_000,
    workers: Annotated[int, typer.Option("--workers", min=2, help="Server processes.")] = 2,
    seconds: Annotated[float, typer.Option("--seconds", min=2, help="Each phase takes so long.")] = 60,
    reloads: Annotated[int, typer.Option("--reloads", min=1, help="Releases taken over under load.")] = 20,
    times: Annotated[float, typer.Option("--times", min=1, help="Overload: so many times what the server can.")] = 10,
    codec: Annotated[str | None, typer.Option("--codec", help="pq, rabitq or sq8.")] = None,
    folder: Annotated[Path, typer.Option("--folder", help="Keeps the drawn index for the next run.")] = Path("bench"),
    json_file: JsonOption = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="PNG file for the picture.")] = None,
) -> None:
    """What befalls a server in its life, under load: reloads, a worker killed, events not written, overload."""
    from jobs.bench.show_stress import resources_table, stress_plot, stress_table
    from jobs.bench.stress import measure_stress
    from jobs.progress import Reporter

    with Reporter(err).step("measure", "vectors") as step:
        settings = settings_with(codec=codec)
        bench = measure_stress(
            rows, settings, folder, workers=workers, seconds=seconds, reloads=reloads, times=times, progress=step.at
        )
        step.note(f"{sum(each.failed for each in bench.phases)} requests failed")
    out.print(stress_table(bench))
    out.print(resources_table(bench))
    out.print(f"p99 during a swap {bench.swap_p99_ms:.0f} ms, calm {bench.of('calm').p99_ms:.0f} ms", highlight=False)
    _write_json(json_file, bench)
    if plot:
        stress_plot(bench, plot)


def _write_json(path: Path | None, result: Any) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(result), indent=1) + "\n")


def _store(settings: Settings) -> Store:
    from artifacts.store import Store

    return Store(settings.releases, settings.cache)


def main() -> None:
    """Run the command; errors raised on purpose end as one sentence and exit status 1."""
    try:
        app()
    except LookalikeError as error:
        err.print(f"[red]Error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        err.print(f"[red]Error:[/] settings: {problems}", highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
