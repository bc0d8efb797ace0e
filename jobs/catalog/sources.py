"""What a catalog may be, and how each kind gets into the staging.

shop.csv  shop.tsv  shop.jsonl  shop.ndjson      a text file, also .gz                      (catalog_text)
shop.parquet  parts/  parts/*.parquet            a Parquet file, a folder of them, or a glob
s3://bucket/shop.csv  memory://…  https://…      any of these on any store that fsspec reaches
postgresql+psycopg://user@host/shop#products     a table, or schema.table, of a database that SQLAlchemy reaches
sqlite:///shop.db#SELECT id AS product_id, …     a query: what follows the first # and has a blank in it
photos/                                          a local folder: every picture file below it is a product
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import fsspec

from artifacts.errors import CatalogError
from artifacts.storage import sha256_of
from jobs.catalog.csv_file import stage_csv
from jobs.catalog.database import open_database
from jobs.catalog.json_lines import stage_json
from jobs.catalog.parquet_parts import parquet_source, parts_below
from jobs.catalog.picture_folder import picture_folder_source
from jobs.catalog.source import Source, base_of, fetch_files
from jobs.catalog.staging import Staging
from jobs.workspace.fingerprints import fingerprint

FORMS = (
    "a .csv, .tsv, .jsonl, .ndjson (also .gz) or .parquet file, a folder or glob of .parquet parts, "
    "a database URL with #table or #SELECT …, or a local folder of pictures"
)
TEXT_READERS: dict[str, Callable[[Path, Staging], None]] = {
    ".csv": stage_csv, ".tsv": stage_csv, ".jsonl": stage_json, ".ndjson": stage_json,
}  # fmt: skip


def without_password(source: str) -> str:
    """The source as messages and reports may show it: without who reads it, and without the query."""
    return re.sub(r"://([^@/]*:[^@]*|[^@/]*)@", "://***@", source.partition("#")[0] if "://" in source else source)


def open_source(source: str, scratch: Path) -> Source:
    """Find out what `source` is; files on a URL are copied to `scratch` first.

    Raises:
        CatalogError: nothing is there, or it is of a form that is not taken.
    """
    try:
        return _open(source, scratch)
    except OSError as error:  # no permission, no connection, no room for the copy
        raise CatalogError(f"cannot open {without_password(source)}: {error}") from error


def _open(source: str, scratch: Path) -> Source:
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+._-]+)://", source)
    if scheme and scheme[1].split("+")[0].lower() not in fsspec.available_protocols():
        shown, stage = open_database(source, FORMS)
        return Source(shown, None, None, stage)
    name = without_password(source)
    try:
        fs, path = fsspec.core.url_to_fs(source if scheme else str(Path(source).expanduser()))
    except (ImportError, ValueError) as error:  # fsspec names the package that is missing, or what is wrong
        raise CatalogError(f"cannot open {name}: {error}") from None
    kind = PurePosixPath(urlsplit(source).path if scheme else source)
    suffix = PurePosixPath(kind.stem).suffix.lower() if kind.suffix.lower() == ".gz" else kind.suffix.lower()
    if fs.isdir(path):
        parts = parts_below(fs, path)
        if not parts:
            return picture_folder_source(name, fs, path)
        return parquet_source(name, fs, path, parts, scratch)
    if fs.exists(path):
        if suffix == ".parquet":
            return parquet_source(name, fs, fs._parent(path), [path], scratch)
        if suffix in TEXT_READERS:
            (file,) = fetch_files(fs, fs._parent(path), [path], scratch)
            content = fingerprint(suffix, sha256_of(file))
            return Source(name, base_of(fs, fs._parent(path)), content, partial(TEXT_READERS[suffix], file))
        raise CatalogError(f"{name} is not a catalog; taken are {FORMS}")
    if glob.has_magic(path) and not source.startswith("http"):  # where a ? begins the query
        parts = sorted(str(part) for part in fs.glob(path) if str(part).endswith(".parquet"))
        if not parts:
            raise CatalogError(f"no .parquet file matches {name}; only Parquet may come in parts")
        return parquet_source(name, fs, re.split(r"[*?\[]", path)[0].rpartition("/")[0], parts, scratch)
    raise CatalogError(f"there is no {name}; taken are {FORMS}")
