"""TODO."""

from __future__ import annotations

import json
import os
import re
from functools import partial
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from artifacts.errors import CatalogError
from jobs.catalog.source import TEXT_SUFFIXES, Source, base_of
from jobs.catalog.staging import Staging

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


# ── a folder of pictures ─────────────────────────────────────────────────────────────────────────────────────────────


def picture_folder_source(name: str, fs: fsspec.AbstractFileSystem, path: str) -> Source:
    if not isinstance(fs, LocalFileSystem):
        raise CatalogError(f"{name} has no .parquet parts, and a folder of pictures has to be on this machine")
    catalogs = sorted(entry.name for entry in Path(path).iterdir() if entry.suffix.lower() in TEXT_SUFFIXES)
    if catalogs:
        raise CatalogError(f"{name} is a folder with {catalogs[0]} in it; name that file, or a folder of pictures")
    return Source(name, base_of(fs, path), None, partial(_stage_pictures, Path(path)))


def _stage_pictures(root: Path, staging: Staging) -> None:
    """product_id: relative path without suffix; title: the file's name, readable; category: the folder below root."""
    staging.begin(["product_id", "image_url", "title", "category"])
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        place = Path(folder).relative_to(root)
        category = None if place == Path() else place.as_posix()
        rows: list[list[str | None] | str] = []
        for name in sorted(names):
            picture = place / name
            if picture.suffix.lower() not in PICTURE_SUFFIXES or name.startswith("."):
                continue
            try:
                picture.as_posix().encode()
            except UnicodeEncodeError:
                rows.append(f"the file's name is not UTF-8: {os.fsencode(name)!r}")
                continue
            title = re.sub(r"[\s_.+-]+", " ", picture.stem).strip()
            # A JSON list, because a name may begin with a bracket and look like one.
            url = "[" + json.dumps(picture.as_posix()) + "]"
            rows.append([picture.with_suffix("").as_posix(), url, title[:1].upper() + title[1:], category])
        staging.add_rows(rows)
    staging.finish()
    if not staging.rows:
        raise CatalogError(f"the folder holds no catalog and no pictures ({', '.join(sorted(PICTURE_SUFFIXES))})")
