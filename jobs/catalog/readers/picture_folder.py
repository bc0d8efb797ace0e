"""Stages a local folder of pictures: each picture file is a product, described by its path."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from artifacts.errors import CatalogError
from jobs.catalog.source import Source, base_url
from jobs.catalog.staging import Staging

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


def picture_folder_source(name: str, fs: fsspec.AbstractFileSystem, path: str) -> Source:
    """Return a source of the pictures below a folder.

    Raises:
        CatalogError: the folder is not local.
    """
    if not isinstance(fs, LocalFileSystem):
        raise CatalogError(f"{name} holds no catalog files, and a folder of pictures must be on this machine")
    return Source(name, base_url(fs, path), None, lambda _, staging: _stage_pictures(Path(path), staging))


def _stage_pictures(root: Path, staging: Staging) -> None:
    """Stage every picture file below `root`, sorted by path.

    product_id is the relative path without suffix, title the file's name as words, category the folder below `root`.
    """
    staging.set_columns(["product_id", "image_url", "title", "category"])
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        relative = Path(folder).relative_to(root)
        category = None if relative == Path() else relative.as_posix()
        pictures = [relative / name for name in sorted(names) if not name.startswith(".")]
        staging.add_rows(
            [_to_row(picture, category) for picture in pictures if picture.suffix.lower() in PICTURE_SUFFIXES]
        )
    staging.finish()
    if not staging.rows:
        raise CatalogError(f"the folder holds no catalog and no pictures ({', '.join(sorted(PICTURE_SUFFIXES))})")


def _to_row(picture: Path, category: str | None) -> list[str | None] | str:
    """Return a picture's cells, or why it cannot be staged."""
    try:
        picture.as_posix().encode()
    except UnicodeEncodeError:
        return f"the file's name is not UTF-8: {os.fsencode(picture.name)!r}"
    title = re.sub(r"[\s_.+-]+", " ", picture.stem).strip()
    # A JSON list, because a name that begins with a bracket would be read as one.
    url = "[" + json.dumps(picture.as_posix()) + "]"
    return [picture.with_suffix("").as_posix(), url, title[:1].upper() + title[1:], category]
