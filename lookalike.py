"""The `lookalike` command: connects its verbs to `jobs` and `serving`, and does nothing else.

Each verb imports the modules that it needs, for three reasons: a server's image contains no Spark, `--help` is fast,
and the server's parent process loads no native library that its workers would inherit through the fork.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Column, Table

from artifacts.errors import EngineError, LookalikeError
from artifacts.settings import Settings
from jobs.bench.commands import bench_app
from jobs.commands import backfill, compact, refresh, stream
from jobs.console import (
    CatalogOption,
    CodecOption,
    DimOption,
    EncoderOption,
    EngineOption,
    EngineUrlOption,
    ExplainOption,
    MemoryBudgetOption,
    NlistOption,
    RefetchAllOption,
    RefetchCategoryOption,
    RefetchOption,
    ReleasesOption,
    RowsOption,
    WorkspaceOption,
    err,
    out,
    settings_with,
    text_of,
    variables_of,
)
from jobs.sizing.command import size

if TYPE_CHECKING:
    from artifacts.engines.pool import EnginePool
    from artifacts.store.store import Store

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Image search for a shop's catalog. Options override LOOKALIKE_ variables; see docs/settings.md.",
)
releases_app = typer.Typer(no_args_is_help=True, help="Manage published releases.")
app.add_typer(releases_app, name="releases")

app.add_typer(bench_app, name="bench")


@app.command()
def sample(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write catalog.csv and images/ to.")],
    products: Annotated[int, typer.Option("--products", min=1, help="Number of products.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Draw a sample catalog of any size: pictures, titles, prices."""
    from jobs.progress import Reporter
    from jobs.sample.catalog import draw_catalog

    with Reporter(err).step("sample", "products") as step:
        path = draw_catalog(products, seed, out_folder, progress=lambda done: step.at(done, products))
        step.note(str(path))


@app.command()
def build(
    catalog: CatalogOption = "",
    releases: ReleasesOption = None,
    workspace: WorkspaceOption = None,
    encoder: EncoderOption = None,
    engine: EngineOption = None,
    engine_url: EngineUrlOption = None,
    codec: CodecOption = None,
    memory_budget: MemoryBudgetOption = None,
    nlist: NlistOption = None,
    explain: ExplainOption = False,
    rows: RowsOption = None,
    dim: DimOption = None,
    shards: Annotated[int | None, typer.Option("--shards", min=1, help="Parts that the work is split into.")] = None,
    refetch: RefetchOption = None,
    refetch_category: RefetchCategoryOption = None,
    refetch_all: RefetchAllOption = False,
) -> None:
    """Build a release from a catalog, check it, and publish it."""
    from jobs.build import build as run
    from jobs.download.refetch import Refetch
    from jobs.explain import explain_index
    from jobs.progress import Reporter

    if not catalog and not explain:
        raise typer.BadParameter("name the catalog", param_hint="--catalog")
    if (rows is not None or dim is not None) and not explain:
        raise typer.BadParameter("they are for --explain-index", param_hint="--rows, --dim")
    settings = settings_with(
        releases=releases, workspace=workspace, encoder=encoder, engine=engine, engine_url=engine_url, codec=codec,
        memory_budget=memory_budget, nlist=nlist, shards=shards,
    )  # fmt: skip
    if explain:
        for line in explain_index(settings.pipeline, rows, dim):
            out.print(line, highlight=False, soft_wrap=True)
        return
    selection = Refetch.of(refetch, refetch_category, all=refetch_all)
    summary = run(catalog, settings.pipeline, Reporter(err), selection)
    if not summary.changed:
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


for verb in (refresh, compact, backfill, stream, size):
    app.command()(verb)


@app.command()
def evaluate(releases: ReleasesOption = None, workspace: WorkspaceOption = None, encoder: EncoderOption = None) -> None:
    """Measure the workspace's candidate again: recall, latency, and whether it passes the gate."""
    from jobs.evaluate.step import run_evaluate
    from jobs.progress import Reporter
    from jobs.steps import StepContext
    from jobs.workspace.workspace import REPORT, Workspace

    settings = settings_with(releases=releases, workspace=workspace, encoder=encoder)
    folder = Workspace.existing(settings.workspace)
    with Reporter(err).step("evaluate", "measurements") as step:
        context = StepContext(settings.pipeline, folder, _store(settings), progress=step.at)
        result = run_evaluate(context)
        step.note(result.note)
    for name, value in result.report.recall.items():
        out.print(f"recall, {name}: {value:.4f}", highlight=False)
    out.print(f"Report: {folder.candidate.url}/{REPORT}", highlight=False, soft_wrap=True)


@app.command()
def serve(
    releases: ReleasesOption = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Server processes.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Concurrent searches in a process.")] = None,
) -> None:
    """Serve the current release: HTTP API and web page."""
    from serving.server import run

    run(settings_with(releases=releases, host=host, port=port, workers=workers, threads=threads).server)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Folder for everything that the demo creates.")] = Path(
        "demo"
    ),
    products: Annotated[
        int, typer.Option("--products", min=20, help="Number of products in the sample catalog.")
    ] = 600,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = None,
) -> None:
    """Run a complete example: draw a catalog, run the Airflow DAG on it, and serve the result."""
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
    run_demo(
        folder,
        products=products,
        config=settings.pipeline,
        variables=variables_of(settings),
        reporter=Reporter(err),
    )
    run(settings.server)


@releases_app.command("list")
def releases_list(releases: ReleasesOption = None) -> None:
    """List all versions; a dot marks the current one."""
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
    version: Annotated[str | None, typer.Argument(help="Version; the current one by default.")] = None,
    releases: ReleasesOption = None,
) -> None:
    """Print a version's manifest as JSON."""
    sys.stdout.write(_store(settings_with(releases=releases)).manifest(version).to_json())


@releases_app.command("verify")
def releases_verify(
    version: Annotated[str | None, typer.Argument(help="Version; the current one by default.")] = None,
    releases: ReleasesOption = None,
) -> None:
    """Check every file of a version against its sha256."""
    manifest = _store(settings_with(releases=releases)).verify(version)
    out.print(f"{manifest.version}: every file is as it was published.", highlight=False, soft_wrap=True)


@releases_app.command("rollback")
def releases_rollback(
    version: Annotated[str | None, typer.Argument(help="Version; the previous one by default.")] = None,
    releases: ReleasesOption = None,
) -> None:
    """Serve an earlier version again; servers switch within seconds."""
    out.print(
        f"Now served: {_store(settings_with(releases=releases)).rollback(version)}", highlight=False, soft_wrap=True
    )


@releases_app.command("prune")
def releases_prune(
    keep: Annotated[
        int | None,
        typer.Option("--keep", min=1, help="Number of newest versions to keep, at least."),
    ] = None,
    releases: ReleasesOption = None,
) -> None:
    """Remove old versions, and segments that no version uses."""
    from artifacts.engines.pool import EnginePool

    settings = settings_with(releases=releases, keep_releases=keep)
    store = _store(settings)
    engines = EnginePool(settings.engine, settings.engine_url, settings.engine_key.get_secret_value())
    removed = store.prune(settings.keep_releases, engines=engines)
    out.print("\n".join(f"removed {name}" for name in removed) or "Nothing to remove.", highlight=False)
    if settings.engine != "faiss" and settings.engine_url:
        _print_unused(settings.engine, engines, store)
    engines.close()
    kept = Counter(store.reasons_to_keep(store.versions(), settings.keep_releases).values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in kept.items())
    out.print(f"Versions kept: {kept.total()} ({reasons or 'none'})", highlight=False, soft_wrap=True)


def _print_unused(kind: str, engines: EnginePool, store: Store) -> None:
    """Print which of a store's collections in an engine belong to none of its segments, if there are any."""
    from artifacts.store.identity import identity_of

    try:
        names = engines.engine(kind).orphans(store.folder.names("segments"), identity_of(store.folder))
    except EngineError as error:
        err.print(f"{kind} did not list its collections: {error}", highlight=False, soft_wrap=True)
        return
    if names:
        count = "1 collection" if len(names) == 1 else f"{len(names):,} collections"
        belong = "belongs" if len(names) == 1 else "belong"
        text = f"{count} in {kind} {belong} to no segment of this store any more; drop what no build is loading: "
        out.print(text + ", ".join(names), highlight=False, soft_wrap=True)


def _store(settings: Settings) -> Store:
    from artifacts.store.store import Store

    return Store(settings.releases, settings.cache)


def main() -> None:
    """Run the command; errors of Lookalike and of files are printed as one sentence, with exit status 1."""
    try:
        app()
    except LookalikeError as error:
        err.print(f"[red]Error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except ValidationError as error:
        problems = "; ".join(_problem(each["loc"], each["type"], each["msg"]) for each in error.errors())
        err.print(f"[red]Error:[/] settings: {escape(problems)}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except OSError as error:
        err.print(f"[red]Error:[/] {escape(text_of(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)


def _problem(location: tuple[int | str, ...], kind: str, message: str) -> str:
    """Return what is wrong with a setting as one sentence, given pydantic's type of error and message."""
    name = ".".join(map(str, location))
    if kind == "string_too_short":
        default = Settings.model_fields[name].default
        return f"{name} is empty: set LOOKALIKE_{name.upper()}, or remove the variable for the default {default!r}"
    return f"{name}: {message}"


if __name__ == "__main__":
    main()
