"""The forms that a catalog may take, and the choice of the reader for each.

shop.csv  shop.tsv  shop.jsonl  shop.ndjson      a text file, also .gz
shop.parquet  parts/  parts/*.parquet            a Parquet file, a folder of them, or a glob
s3://bucket/shop.csv  memory://…  https://…      any of these on any store that fsspec supports
postgresql+psycopg://user@host/shop#products     a table, or schema.table, of a database that SQLAlchemy supports
sqlite:///shop.db#SELECT id AS product_id, …     a query: the text after the first #, if it contains a space
photos/                                          a local folder: each picture file below it is a product
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
from jobs.catalog.readers.csv_file import stage_csv
from jobs.catalog.readers.database import open_database
from jobs.catalog.readers.json_lines import stage_json
from jobs.catalog.readers.parquet_parts import list_parts, parquet_source
from jobs.catalog.readers.picture_folder import picture_folder_source
from jobs.catalog.source import Source, base_url, fetch_files
from jobs.catalog.staging import Staging
from jobs.workspace.fingerprints import fingerprint

SUPPORTED_FORMS = (
    "a .csv, .tsv, .jsonl, .ndjson (also .gz) or .parquet file, a folder or glob of .parquet parts, "
    "a database URL with #table or #SELECT …, or a local folder of pictures"
)
TEXT_READERS: dict[str, Callable[[Path, Staging], None]] = {
    ".csv": stage_csv, ".tsv": stage_csv, ".jsonl": stage_json, ".ndjson": stage_json,
}  # fmt: skip


def without_password(source: str) -> str:
    """Return a source for messages and reports: without user and password, and without a database's table or query."""
    return re.sub(r"://([^@/]*:[^@]*|[^@/]*)@", "://***@", source.partition("#")[0] if "://" in source else source)


def open_source(source: str, scratch: Path) -> Source:
    """Find out which form a source has; remote files are copied to `scratch`.

    Raises:
        CatalogError: the source does not exist, cannot be opened, or has no supported form.
    """
    try:
        return _open(source, scratch)
    except OSError as error:  # no permission, no connection, no space for the copy
        raise CatalogError(f"cannot open {without_password(source)}: {error}") from error


def _open(source: str, scratch: Path) -> Source:
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+._-]+)://", source)
    if scheme and scheme[1].split("+")[0].lower() not in fsspec.available_protocols():
        display_name, stage = open_database(source, SUPPORTED_FORMS)
        return Source(display_name, None, None, stage)
    name = without_password(source)
    try:
        fs, path = fsspec.core.url_to_fs(source if scheme else str(Path(source).expanduser()))
    except (ImportError, ValueError) as error:  # fsspec names the missing package, or what is wrong with the URL
        raise CatalogError(f"cannot open {name}: {error}") from None
    if fs.isdir(path):
        parts = list_parts(fs, path)
        return parquet_source(name, fs, path, parts, scratch) if parts else picture_folder_source(name, fs, path)
    if fs.exists(path):
        return _open_file(name, fs, path, _suffix(urlsplit(source).path if scheme else source), scratch)
    if glob.has_magic(path) and not source.startswith("http"):  # in a URL of the web a ? begins the query
        parts = sorted(str(part) for part in fs.glob(path) if str(part).endswith(".parquet"))
        if not parts:
            raise CatalogError(f"no .parquet file matches {name}; only Parquet may be split into parts")
        return parquet_source(name, fs, re.split(r"[*?\[]", path)[0].rpartition("/")[0], parts, scratch)
    raise CatalogError(f"{name} does not exist; supported are {SUPPORTED_FORMS}")


def _open_file(name: str, fs: fsspec.AbstractFileSystem, path: str, suffix: str, scratch: Path) -> Source:
    folder = fs._parent(path)
    if suffix == ".parquet":
        return parquet_source(name, fs, folder, [path], scratch)
    if suffix in TEXT_READERS:
        (file,) = fetch_files(fs, folder, [path], scratch)
        content = fingerprint(suffix, sha256_of(file))
        return Source(name, base_url(fs, folder), content, partial(TEXT_READERS[suffix], file))
    raise CatalogError(f"{name} is not a catalog; supported are {SUPPORTED_FORMS}")


def _suffix(path: str) -> str:
    """Return a file's suffix in lower case, ignoring .gz."""
    name = PurePosixPath(path)
    return PurePosixPath(name.stem).suffix.lower() if name.suffix.lower() == ".gz" else name.suffix.lower()
