"""Benchmark of embedding stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.bench.commands.options import DimOption, FolderOption, JsonOption, write_report
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
