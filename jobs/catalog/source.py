"""A catalog's source, opened but not yet read, and the files that it consists of."""

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
    """A catalog that exists but has not been read yet.

    Attributes:
        display_name: the source in reports and messages, without passwords.
        base: path or URL of the folder that relative picture paths are resolved against; None for a database.
        content: fingerprint of the content; None if it is known only after reading.
        stage: reads the catalog into a staging file.
    """

    display_name: str
    base: str | None
    content: str | None
    stage: Callable[[Staging], None]


def base_url(fs: fsspec.AbstractFileSystem, folder: str) -> str:
    """Return a folder as a Source's base: an absolute path if it is local, else a URL."""
    return str(Path(folder).absolute()) if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(folder)


def fetch_files(fs: fsspec.AbstractFileSystem, root: str, paths: list[str], scratch: Path) -> list[Path]:
    """Return local paths of files; remote files are copied to `scratch`, under their paths relative to `root`."""
    if isinstance(fs, LocalFileSystem):
        return [Path(path) for path in paths]
    copies = [scratch / "source" / path.removeprefix(root).lstrip("/") for path in paths]
    for path, copy in zip(paths, copies, strict=True):
        copy.parent.mkdir(parents=True, exist_ok=True)
        fs.get_file(path, str(copy))
    return copies
