"""What the tables and plots of all benchmarks share."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Column, Table


def number_table(title: str, first: str, *numbers: str) -> Table:
    """Return an empty table: one column of names, and columns of numbers."""
    return Table(first, *(Column(name, justify="right") for name in numbers), title=title, title_justify="left")


def save_figure(figure: Figure, path: Path, *, dpi: int) -> None:
    """Write a figure to an image file, whose folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
