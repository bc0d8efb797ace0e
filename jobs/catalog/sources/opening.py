"""The forms that a catalog may take, and the choice of the reader for each.

shop.csv  shop.tsv  shop.jsonl  shop.ndjson      a text file, also .gz
shop.parquet                                     a Parquet file
parts/  parts/*.csv.gz                           a folder of such files, or a glob: the parts of one catalog
exports/date={date}/                             any of these, one for each date; see `jobs.catalog.sources.dates`
s3://bucket/shop.csv  memory://…  https://…      any of these on any store that fsspec supports
postgresql+psycopg://user@host/shop#products     a table, or schema.table, of a database that SQLAlchemy supports
sqlite:///shop.db#SELECT id AS product_id, …     a query: the text after the first #, if it contains a space
photos/                                          a local folder: each picture file below it is a product
"""

from __future__ import annotations

import glob
import posixpath
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path

import fsspec
from aiohttp import ClientError

from artifacts.errors import CatalogError
from jobs.catalog.readers.csv_file import stage_csv
from jobs.catalog.readers.database import open_database
from jobs.catalog.readers.json_lines import stage_json
from jobs.catalog.readers.parquet_parts import stage_parquet
from jobs.catalog.readers.picture_folder import picture_folder_source
from jobs.catalog.source import Part, Source, base_url, fetch_part, is_database, open_filesystem, without_password
from jobs.catalog.sources.dates import resolve_date
from jobs.catalog.sources.parts import Form, form_of, is_marked_as_empty, list_parts, match_parts, require_one_form
from jobs.catalog.staging import Staging
from jobs.workspace.fingerprints import fingerprint

SUPPORTED_FORMS = (
    "a .csv, .tsv, .jsonl, .ndjson (also .gz) or .parquet file, a folder or glob of such parts, "
    "a database URL with #table or #SELECT …, or a local folder of pictures"
)
READERS: dict[Form, Callable[[Sequence[Part], Staging], None]] = {
    Form.CSV: stage_csv, Form.JSON: stage_json, Form.PARQUET: stage_parquet,
}  # fmt: skip


def open_source(source: str, scratch: Path, *, day: date | None = None, since: datetime | None = None) -> Source:
    """Find out which form a source has; remote files are copied to `scratch`.

    Args:
        source: a catalog, with or without the placeholder `{date}`.
        day: the date that replaces `{date}`; None for the newest partition that is complete.
        since: a database is asked only for rows that were updated later; aware; None for all.

    Raises:
        CatalogError: the source does not exist, cannot be opened, or has no supported form.
    """
    try:
        if is_database(source):
            if day is not None:
                raise CatalogError(f"a database has no partitions: the date {day} cannot be used")
            display_name, stage = open_database(source, SUPPORTED_FORMS, since)
            return Source(display_name, None, None, lambda _, staging: stage(staging))
        return _open(resolve_date(source, day), scratch)
    except FileNotFoundError:
        raise CatalogError(f"{without_password(source)} does not exist; supported are {SUPPORTED_FORMS}") from None
    except (OSError, ClientError) as error:  # no permission, no connection, no space for the copy
        raise CatalogError(f"cannot open {without_password(source)}: {error}") from error


def _open(source: str, scratch: Path) -> Source:
    name = without_password(source)
    fs, path = open_filesystem(source)
    on_web = source.lower().startswith("http")
    file = path.partition("?")[0] if on_web else path
    form = form_of(file)
    known_file = on_web and form is not None  # isdir would fetch it, and exists would hide why it cannot be fetched
    if not known_file and fs.isdir(path):
        paths = list_parts(name, fs, path)
        if not paths and is_marked_as_empty(fs, path):
            return Source(name, base_url(fs, path), fingerprint("empty"), _stage_nothing)
        return _open_parts(name, fs, path, paths, scratch) if paths else picture_folder_source(name, fs, path)
    if known_file or fs.exists(path):
        if form is None:
            raise CatalogError(f"{name} is not a catalog; supported are {SUPPORTED_FORMS}")
        return _source(name, fs, posixpath.dirname(file), form, [fetch_part(fs, path, Path(file).name, scratch)])
    if glob.has_magic(path) and not on_web:  # in a URL of the web a ? begins the query
        paths = match_parts(name, fs, path)
        return _open_parts(name, fs, posixpath.dirname(re.split(r"[*?\[]", path)[0]), paths, scratch)
    raise CatalogError(f"{name} does not exist; supported are {SUPPORTED_FORMS}")


def _open_parts(name: str, fs: fsspec.AbstractFileSystem, root: str, paths: Sequence[str], scratch: Path) -> Source:
    """Open the catalog that consists of files of one form below the folder `root`."""
    form = require_one_form(name, paths)
    names = [path.removeprefix(root).lstrip("/") for path in paths]
    several = len(paths) > 1
    parts = [fetch_part(fs, path, part, scratch, of_several=several) for path, part in zip(paths, names, strict=True)]
    return _source(name, fs, root, form, parts)


def _source(name: str, fs: fsspec.AbstractFileSystem, root: str, form: Form, parts: Sequence[Part]) -> Source:
    # The name of a part is in the rejects; that of a single file is not.
    digests = [(part.label or part.partition, part.digest) for part in parts]
    return Source(name, base_url(fs, root), fingerprint(form, digests), READERS[form], parts)


def _stage_nothing(_: Sequence[Part], staging: Staging) -> None:
    staging.set_empty()
    staging.finish()
