"""Options that several benchmarks share, and how their reports are written."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from jobs.console import out

RowsOption = Annotated[int, typer.Option("--rows", min=10_000, help="Vectors to draw and search.")]
DimOption = Annotated[int, typer.Option("--dim", min=8, max=4096, help="Dimensions of a vector.")]
CodecOption = Annotated[str | None, typer.Option("--codec", help="pq, opq, rabitq or sq8.")]
FolderOption = Annotated[Path, typer.Option("--folder", help="Folder that keeps the drawn index for the next run.")]
PlotOption = Annotated[Path | None, typer.Option("--plot", help="PNG file for a plot.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="JSON file for all measurements.")]


def write_report(report: Any, path: Path | None, *tables: Table) -> None:
    """Print the tables, and write the report to a JSON file if one is named."""
    for table in tables:
        out.print(table)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(report), indent=1) + "\n")
