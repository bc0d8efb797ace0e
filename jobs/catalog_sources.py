"""What a catalog may be, and how each kind gets into the staging.

shop.csv  shop.tsv  shop.jsonl  shop.ndjson      a text file, also .gz                      (catalog_text)
shop.parquet  parts/  parts/*.parquet            a Parquet file, a folder of them, or a glob
s3://bucket/shop.csv  memory://…  https://…      any of these on any store that fsspec reaches
postgresql+psycopg://user@host/shop#products     a table, or schema.table, of a database that SQLAlchemy reaches
sqlite:///shop.db#SELECT id AS product_id, …     a query: what follows the first # and has a blank in it
photos/                                          a local folder: every picture file below it is a product
"""

from __future__ import annotations

# ruff: noqa: S608 — what is put into the SQL is our own names, numbers and literal(); never a bare value.
import glob
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from artifacts.errors import CatalogError
from artifacts.storage import sha256_of
from jobs.catalog_sql import open_database
from jobs.catalog_staging import Staging, match_columns, run_sql
from jobs.catalog_text import stage_csv, stage_json
from jobs.workspace import fingerprint

FORMS = (
    "a .csv, .tsv, .jsonl, .ndjson (also .gz) or .parquet file, a folder or glob of .parquet parts, "
    "a database URL with #table or #SELECT …, or a local folder of pictures"
)
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
_TEXT: dict[str, Callable[[Path, Staging], None]] = {
    ".csv": stage_csv, ".tsv": stage_csv, ".jsonl": stage_json, ".ndjson": stage_json,
}  # fmt: skip
_INTEGERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})
_BIG_INTEGERS = frozenset({"UBIGINT", "HUGEINT", "UHUGEINT", "BIGNUM"})
_PLAIN = re.compile(r"VARCHAR|BLOB|UUID|ENUM\(.*|TIME|TIME_NS|TIME WITH TIME ZONE|INTERVAL|BIT", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """A catalog that is there, not yet read."""

    shown: str  # as reports and messages name it, without passwords
    base: str | None  # folder that relative picture paths are resolved against; None: there is none
    content: str | None  # fingerprint of what would be read; None: known only once it has been read
    stage: Callable[[Staging], None]


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
        parts = _parts_below(fs, path)
        if not parts:
            return _picture_folder(name, fs, path)
        return _parquet(name, fs, path, parts, scratch)
    if fs.exists(path):
        if suffix == ".parquet":
            return _parquet(name, fs, fs._parent(path), [path], scratch)
        if suffix in _TEXT:
            (file,) = _fetch(fs, fs._parent(path), [path], scratch)
            content = fingerprint(suffix, sha256_of(file))
            return Source(name, _base(fs, fs._parent(path)), content, partial(_TEXT[suffix], file))
        raise CatalogError(f"{name} is not a catalog; taken are {FORMS}")
    if glob.has_magic(path) and not source.startswith("http"):  # where a ? begins the query
        parts = sorted(str(part) for part in fs.glob(path) if str(part).endswith(".parquet"))
        if not parts:
            raise CatalogError(f"no .parquet file matches {name}; only Parquet may come in parts")
        return _parquet(name, fs, re.split(r"[*?\[]", path)[0].rpartition("/")[0], parts, scratch)
    raise CatalogError(f"there is no {name}; taken are {FORMS}")


def _base(fs: fsspec.AbstractFileSystem, folder: str) -> str:
    return str(Path(folder).absolute()) if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(folder)


def _fetch(fs: fsspec.AbstractFileSystem, root: str, paths: list[str], scratch: Path) -> list[Path]:
    """The files on this machine: where they are, or as copies that keep their place below `root`."""
    if isinstance(fs, LocalFileSystem):
        return [Path(path) for path in paths]
    copies = [scratch / "source" / path.removeprefix(root).lstrip("/") for path in paths]
    for path, copy in zip(paths, copies, strict=True):
        copy.parent.mkdir(parents=True, exist_ok=True)
        fs.get_file(path, str(copy))
    return copies


# ── Parquet ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _parts_below(fs: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    """Parquet files below the folder, sorted; without what starts with _ or . (markers, half-written files)."""
    found = (str(path) for path in fs.find(folder) if str(path).endswith(".parquet"))
    return sorted(
        path for path in found if not any(name[0] in "_." for name in path.removeprefix(folder).strip("/").split("/"))
    )


def _parquet(name: str, fs: fsspec.AbstractFileSystem, root: str, parts: list[str], scratch: Path) -> Source:
    files = _fetch(fs, root, parts, scratch)
    places = [part.removeprefix(root) for part in parts]
    content = fingerprint("parquet", [(place, sha256_of(file)) for place, file in zip(places, files, strict=True)])
    return Source(name, _base(fs, root), content, partial(_stage_parquet, files, any("=" in place for place in places)))


def _stage_parquet(files: list[Path], partitioned: bool, staging: Staging) -> None:
    """Parts are one table by column name; a column that a part does not have is empty there."""
    for file in files:
        try:
            names = [field.name for field in pq.read_schema(file)]
        except (pa.ArrowInvalid, OSError) as error:
            raise CatalogError(f"{file.name} is not a Parquet file: {error}") from None
        lowered = [name.strip().lower() for name in names]
        if len(set(lowered)) < len(lowered):
            match_columns(names)  # says which; DuckDB would rename the second one
    rows = (
        "read_parquet(?, union_by_name => true, hive_types_autocast => false, "
        f"hive_partitioning => {str(partitioned).lower()})"
    )
    paths = [[glob.escape(str(file)) for file in files]]
    try:
        described = run_sql(staging.con, f"DESCRIBE SELECT * FROM {rows}", paths)
        kinds = {str(name): str(kind) for name, kind, *_ in described}
        staging.begin(list(kinds))
        staging.finish()  # DuckDB writes the file below
        places = {number: name for name, number in staging.columns.attributes.items()}
        cells = []
        for number, (column, kind) in enumerate(kinds.items()):
            quoted = '"' + column.replace('"', '""') + '"'
            if number in places:
                staging.styles[places[number]], cell = _attribute_cell(kind, quoted)
            else:
                nested = kind.endswith(("]", ")")) and not kind.startswith(("DECIMAL", "ENUM"))
                cell = f"to_json({quoted})::VARCHAR" if nested else f"{quoted}::VARCHAR"
            cells.append(f"{cell} AS c{number}")
        numbered = "row_number() OVER () AS _row, NULL::VARCHAR AS _unreadable"
        staging.copy(f"SELECT {numbered}, {', '.join(cells)} FROM {rows}", paths)
    except (duckdb.BinderException, duckdb.ConversionException, duckdb.InvalidInputException) as error:
        raise CatalogError(f"the Parquet parts cannot be read as one table: {error}") from None


def _attribute_cell(kind: str, quoted: str) -> tuple[str, str]:
    """Style and expression of an attribute of a DuckDB type: the nearest of ATTRIBUTE_TYPES."""
    if kind == "BOOLEAN":
        return "BOOLEAN", quoted
    if kind in _INTEGERS:
        return "BIGINT", f"{quoted}::BIGINT"
    if kind in _BIG_INTEGERS:
        return "text", f"{quoted}::VARCHAR"  # int64 if all of them fit
    if kind == "FLOAT":
        return "DOUBLE", f"{quoted}::VARCHAR::DOUBLE"  # 0.1 stays 0.1, not 0.10000000149
    if kind == "DOUBLE" or kind.startswith("DECIMAL"):
        return "DOUBLE", f"{quoted}::DOUBLE"
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        return "TIMESTAMPTZ", f"TRY_CAST({quoted} AS TIMESTAMPTZ)"
    if _PLAIN.fullmatch(kind):
        return "VARCHAR", f"{quoted}::VARCHAR"
    return "VARCHAR", f"to_json({quoted})::VARCHAR"


# ── a folder of pictures ─────────────────────────────────────────────────────────────────────────────────────────────


def _picture_folder(name: str, fs: fsspec.AbstractFileSystem, path: str) -> Source:
    if not isinstance(fs, LocalFileSystem):
        raise CatalogError(f"{name} has no .parquet parts, and a folder of pictures has to be on this machine")
    catalogs = sorted(entry.name for entry in Path(path).iterdir() if entry.suffix.lower() in _TEXT)
    if catalogs:
        raise CatalogError(f"{name} is a folder with {catalogs[0]} in it; name that file, or a folder of pictures")
    return Source(name, _base(fs, path), None, partial(_stage_pictures, Path(path)))


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
