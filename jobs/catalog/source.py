"""TODO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from jobs.catalog.staging import Staging

#: Suffixes of text files that are catalogs.
TEXT_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})


@dataclass(frozen=True)
class Source:
    """A catalog that is there, not yet read."""

    display_name: str  # as reports and messages name it, without passwords
    base: str | None  # folder that relative picture paths are resolved against; None: there is none
    content: str | None  # fingerprint of what would be read; None: known only once it has been read
    stage: Callable[[Staging], None]


def base_of(fs: fsspec.AbstractFileSystem, folder: str) -> str:
    return str(Path(folder).absolute()) if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(folder)


def fetch_files(fs: fsspec.AbstractFileSystem, root: str, paths: list[str], scratch: Path) -> list[Path]:
    """The files on this machine: where they are, or as copies that keep their place below `root`."""
    if isinstance(fs, LocalFileSystem):
        return [Path(path) for path in paths]
    copies = [scratch / "source" / path.removeprefix(root).lstrip("/") for path in paths]
    for path, copy in zip(paths, copies, strict=True):
        copy.parent.mkdir(parents=True, exist_ok=True)
        fs.get_file(path, str(copy))
    return copies
