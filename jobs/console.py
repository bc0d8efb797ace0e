"""What all verbs of the `lookalike` command share: where they write to, and the options that many of them take."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from artifacts.settings import Settings

# Into a file or a pipe, a table is as wide as it has to be: versions and paths must not be folded.
out = Console(width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, width=None if sys.stderr.isatty() else 200)

ReleasesOption = Annotated[str | None, typer.Option("--releases", help="Folder or URL of the published releases.")]
WorkspaceOption = Annotated[str | None, typer.Option("--workspace", help="Folder or URL kept between builds.")]


def settings_with(**given: Any) -> Settings:
    """The settings table, with what was given on the command line in place of the environment's."""
    return Settings(**{name: value for name, value in given.items() if value is not None})


def variables_of(settings: Settings) -> dict[str, str]:
    """The settings that are not the defaults, as LOOKALIKE_ variables for another process."""
    values = settings.model_dump(mode="json", exclude_defaults=True)
    return {f"LOOKALIKE_{name.upper()}": str(value) for name, value in values.items()}
