"""The consoles that all verbs of the `lookalike` command write to, and the options that many of them take."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from artifacts.settings import Settings

# In a file or a pipe tables are 200 columns wide, so that versions and paths are not wrapped.
out = Console(width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, width=None if sys.stderr.isatty() else 200)

ReleasesOption = Annotated[str | None, typer.Option("--releases", help="Folder or URL of the published releases.")]
WorkspaceOption = Annotated[str | None, typer.Option("--workspace", help="Folder or URL kept between builds.")]

CatalogOption = Annotated[
    str, typer.Option("--catalog", help="CSV, Parquet or JSONL file, folder of these, SQL URL, or folder of pictures.")
]
EncoderOption = Annotated[str | None, typer.Option("--encoder", help="Encoder spec, such as `sample`.")]

_REFETCH = "Pictures to fetch again, although their URLs are the same"
RefetchOption = Annotated[
    str | None, typer.Option("--refetch", metavar="ID,ID", help="Those of these products.", rich_help_panel=_REFETCH)
]
RefetchCategoryOption = Annotated[
    list[str] | None,
    typer.Option(
        "--refetch-category", metavar="NAME", help="Those of a category; repeatable.", rich_help_panel=_REFETCH
    ),
]
RefetchAllOption = Annotated[bool, typer.Option("--refetch-all", help="All pictures.", rich_help_panel=_REFETCH)]


def settings_with(**options: Any) -> Settings:
    """Return the settings; options of the command line that are not None override the environment."""
    return Settings(**{name: value for name, value in options.items() if value is not None})


def variables_of(settings: Settings) -> dict[str, str]:
    """Return the settings that differ from the defaults as LOOKALIKE_ variables, for another process."""
    values = settings.model_dump(mode="json", exclude_defaults=True)
    return {f"LOOKALIKE_{name.upper()}": str(value) for name, value in values.items()}
