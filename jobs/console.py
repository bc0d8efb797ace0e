"""The consoles that all verbs of the `lookalike` command write to, and the options that many of them take."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from artifacts.errors import InputError
from artifacts.settings import SECRETS, Settings

# In a file or a pipe tables are 200 columns wide, so that versions and paths are not wrapped.
out = Console(width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, width=None if sys.stderr.isatty() else 200)

ReleasesOption = Annotated[str | None, typer.Option("--releases", help="Folder or URL of the published releases.")]
WorkspaceOption = Annotated[str | None, typer.Option("--workspace", help="Folder or URL kept between builds.")]

CatalogOption = Annotated[
    str, typer.Option("--catalog", help="CSV, Parquet or JSONL file, folder of these, SQL URL, or folder of pictures.")
]
EncoderOption = Annotated[str | None, typer.Option("--encoder", help="Encoder spec, such as `sample`.")]

EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine", help="faiss, or an engine: pgvector, milvus, qdrant, pinecone.", rich_help_panel="The engine"
    ),
]
EngineUrlOption = Annotated[
    str | None,
    typer.Option(
        "--engine-url",
        metavar="URL",
        help="Its address, without credentials: those are in LOOKALIKE_ENGINE_KEY.",
        rich_help_panel="The engine",
    ),
]

_INDEX = "The index"
CodecOption = Annotated[
    str | None, typer.Option("--codec", help="pq, opq, rabitq, sq8, hnsw, flat or auto.", rich_help_panel=_INDEX)
]
MemoryBudgetOption = Annotated[
    str | None,
    typer.Option("--memory-budget", metavar="SIZE", help="Its limit, such as 16G or 800M.", rich_help_panel=_INDEX),
]
NlistOption = Annotated[
    int | None, typer.Option("--nlist", min=0, help="IVF lists; 0: by size.", rich_help_panel=_INDEX)
]
ExplainOption = Annotated[
    bool, typer.Option("--explain-index", help="Print what is chosen and why; build nothing.", rich_help_panel=_INDEX)
]
RowsOption = Annotated[
    int | None,
    typer.Option("--rows", min=0, help="Explain it for so many rows; not the workspace's.", rich_help_panel=_INDEX),
]
DimOption = Annotated[
    int | None,
    typer.Option("--dim", min=1, help="Explain it for this length; not the encoder's.", rich_help_panel=_INDEX),
]

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
    """Return the settings; options of the command line that are not None override the environment.

    Args:
        options: all options of a verb that are settings; of `releases` and `workspace` the folder is checked.

    Raises:
        InputError: a folder that the verb uses is a file, or may not be used.
    """
    settings = Settings(**{name: value for name, value in options.items() if value is not None})
    for name, access in (("releases", os.R_OK | os.X_OK), ("workspace", os.R_OK | os.W_OK | os.X_OK)):
        if name in options:
            _check_folder(name, getattr(settings, name), access)
    return settings


def text_of(error: OSError) -> str:
    """Return an error of the operating system as one sentence: the path, and what is wrong with it."""
    paths = " -> ".join(str(path) for path in (error.filename, error.filename2) if path is not None)
    reason = error.strerror or str(error) or type(error).__name__
    return f"{paths}: {reason}" if paths else reason


def _check_folder(name: str, url: str, access: int) -> None:
    """Raise InputError if a setting names a folder on this machine that cannot be used, or cannot be created."""
    if "://" in url:
        return
    path = Path(url).absolute()
    try:
        nearest = next(each for each in (path, *path.parents) if each.exists())
    except PermissionError as error:
        raise InputError(f"{name} {text_of(error)}: {_name_another(name)}") from None
    if not nearest.is_dir():
        raise InputError(f"{name} {url}: {nearest} is a file, not a folder: {_name_another(name)}")
    needed = access if nearest == path else os.X_OK
    if not os.access(nearest, needed):
        raise InputError(f"{name} {url}: this user lacks permission for {nearest}: {_name_another(name)}")


def _name_another(name: str) -> str:
    return f"name another folder with --{name} or LOOKALIKE_{name.upper()}"


def variables_of(settings: Settings) -> dict[str, str]:
    """Return the settings that differ from the defaults as LOOKALIKE_ variables, for another process."""
    values = settings.model_dump(mode="json", exclude_defaults=True)
    values |= {name: getattr(settings, name).get_secret_value() for name in SECRETS & values.keys()}
    return {f"LOOKALIKE_{name.upper()}": str(value) for name, value in values.items()}
