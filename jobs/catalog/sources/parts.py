"""The files that a catalog consists of: those of a folder or of a glob, all of one form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import PurePosixPath
from typing import cast

import fsspec

from artifacts.errors import CatalogError
from jobs.catalog.readers.picture_folder import PICTURE_SUFFIXES

#: A file that is written into a folder when everything else in it is complete, as Spark does.
MARKER = "_SUCCESS"


class Form(StrEnum):
    """How a file holds rows."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


_FORMS = {".csv": Form.CSV, ".tsv": Form.CSV, ".jsonl": Form.JSON, ".ndjson": Form.JSON, ".parquet": Form.PARQUET}


def form_of(path: str) -> Form | None:
    """Return the form that a file's name tells, or None if it is no catalog."""
    name = PurePosixPath(path)
    if name.suffix.lower() != ".gz":
        return _FORMS.get(name.suffix.lower())
    form = _FORMS.get(PurePosixPath(name.stem).suffix.lower())
    return None if form == Form.PARQUET else form  # which compresses its columns itself


def require_one_form(name: str, paths: Sequence[str]) -> Form:
    """Return the form of files that are parts of one catalog.

    Args:
        name: of the source, for the message.
        paths: one or more; each has a form.

    Raises:
        CatalogError: they have more than one form.
    """
    first: dict[Form | None, str] = {}
    for path in paths:
        first.setdefault(form_of(path), path)
    form, *others = first
    if form is None or others:
        files = " and ".join(PurePosixPath(path).name for path in first.values())
        raise CatalogError(f"{name} holds catalog files of different forms, {files}; name those of one form, as a glob")
    return form


def list_parts(name: str, fs: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    """Return the catalog files below a folder, sorted; none if it has none, as a folder of pictures.

    Files and folders whose name starts with _ or . are skipped: they are markers or half-written files.

    Raises:
        CatalogError: it holds pictures, catalog files and others, so that one cannot tell which of them is meant.
    """
    files = [str(path) for path in fs.find(folder) if not _is_hidden(str(path), folder, ".")]
    pictures = {path for path in files if PurePosixPath(path).suffix.lower() in PICTURE_SUFFIXES}
    others = [path for path in files if path not in pictures and not _is_hidden(path, folder, "_.")]
    parts = _sort([path for path in others if form_of(path)])
    unknown = next((path for path in others if not form_of(path)), None)
    if parts and pictures and unknown:
        raise CatalogError(
            f"{name} is a folder of pictures with {PurePosixPath(parts[0]).name} and {PurePosixPath(unknown).name} "
            "in it; name the catalog's files, as a glob, or a folder of nothing but pictures"
        )
    return parts


def is_marked_as_empty(fs: fsspec.AbstractFileSystem, folder: str) -> bool:
    """Return whether a folder holds the marker of a complete export, and nothing else that is not hidden."""
    files = map(str, fs.find(folder))
    return fs.exists(f"{folder.rstrip('/')}/{MARKER}") and all(_is_hidden(path, folder, "_.") for path in files)


def match_parts(name: str, fs: fsspec.AbstractFileSystem, pattern: str) -> list[str]:
    """Return the catalog files that a glob matches, and those in the folders that it matches, sorted.

    Raises:
        CatalogError: there is none.
    """
    paths: list[str] = []
    for path, info in cast("dict[str, dict[str, str]]", fs.glob(pattern, detail=True)).items():
        if info["type"] == "directory":
            paths += list_parts(name, fs, path)
        elif form_of(path):
            paths.append(path)
    if not paths:
        raise CatalogError(f"no catalog file matches {name}")
    return _sort(paths)


def _sort(paths: Sequence[str]) -> list[str]:
    """Return the paths sorted, each once; that is the order of the catalog's rows.

    Raises:
        CatalogError: a path is not UTF-8.
    """
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise CatalogError(f"the file's name is not UTF-8: {os.fsencode(path)!r}; rename it") from None
    return sorted(set(paths))


def _is_hidden(path: str, folder: str, marks: str) -> bool:
    return any(name[0] in marks for name in path.removeprefix(folder).strip("/").split("/"))
