"""Stages Parquet: DuckDB reads one file, or many as one table, and the attributes keep the nearest of their types."""

from __future__ import annotations

# ruff: noqa: S608 — the SQL is built from constants, numbers and quoted names, never from a catalog's values.
import glob
import re
from functools import partial
from pathlib import Path

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import CatalogError
from artifacts.products.sql import quoted
from artifacts.storage import sha256_of
from jobs.catalog.source import Source, base_url, fetch_files
from jobs.catalog.staging import Staging, match_columns, run_sql
from jobs.workspace.fingerprints import fingerprint

# DuckDB types
_INTEGERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})
_BIG_INTEGERS = frozenset({"UBIGINT", "HUGEINT", "UHUGEINT", "BIGNUM"})
_PLAIN = re.compile(r"VARCHAR|BLOB|UUID|ENUM\(.*|TIME|TIME_NS|TIME WITH TIME ZONE|INTERVAL|BIT", re.DOTALL)


def list_parts(fs: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    """Return the Parquet files below a folder, sorted.

    Files and folders whose name starts with _ or . are skipped: they are markers or half-written files.
    """
    files = (str(path) for path in fs.find(folder) if str(path).endswith(".parquet"))
    return sorted(
        path for path in files if not any(name[0] in "_." for name in path.removeprefix(folder).strip("/").split("/"))
    )


def parquet_source(name: str, fs: fsspec.AbstractFileSystem, root: str, parts: list[str], scratch: Path) -> Source:
    """Return a source of Parquet files; remote files are copied to `scratch`.

    Args:
        name: the source's display name.
        fs: the file system of the parts.
        root: the folder that relative pictures start from; folders like size=42 below it are columns.
        parts: paths of the files, in the order of their rows.
        scratch: a local folder.
    """
    files = fetch_files(fs, root, parts, scratch)
    relative_paths = [part.removeprefix(root) for part in parts]
    digests = [(path, sha256_of(file)) for path, file in zip(relative_paths, files, strict=True)]
    partitioned = any("=" in path for path in relative_paths)
    return Source(
        name, base_url(fs, root), fingerprint("parquet", digests), partial(_stage_parquet, files, partitioned)
    )


def _stage_parquet(files: list[Path], partitioned: bool, staging: Staging) -> None:
    """Stage the files as one table: columns are matched by name, and null where a file lacks them."""
    for file in files:
        _validate_file(file)
    table = (
        "read_parquet(?, union_by_name => true, hive_types_autocast => false, "
        f"hive_partitioning => {str(partitioned).lower()})"
    )
    paths = [[glob.escape(str(file)) for file in files]]
    try:
        description = run_sql(staging.con, f"DESCRIBE SELECT * FROM {table}", paths)
        duckdb_types = {str(name): str(duckdb_type) for name, duckdb_type, *_ in description}
        staging.set_columns(list(duckdb_types))
        staging.finish()  # DuckDB writes the file below
        attributes = {index: name for name, index in staging.columns.attributes.items()}
        cells = []
        for index, (column, duckdb_type) in enumerate(duckdb_types.items()):
            if index in attributes:
                staging.styles[attributes[index]], cell = _attribute_cell(duckdb_type, quoted(column))
            else:
                nested = duckdb_type.endswith(("]", ")")) and not duckdb_type.startswith(("DECIMAL", "ENUM"))
                cell = f"to_json({quoted(column)})::VARCHAR" if nested else f"{quoted(column)}::VARCHAR"
            cells.append(f"{cell} AS c{index}")
        numbered = "row_number() OVER () AS _row, NULL::VARCHAR AS _unreadable"
        staging.write_query(f"SELECT {numbered}, {', '.join(cells)} FROM {table}", paths)
    except (duckdb.BinderException, duckdb.ConversionException, duckdb.InvalidInputException) as error:
        raise CatalogError(f"the Parquet parts cannot be read as one table: {error}") from None


def _validate_file(file: Path) -> None:
    try:
        names = [field.name for field in pq.read_schema(file)]
    except (pa.ArrowInvalid, OSError) as error:
        raise CatalogError(f"{file.name} is not a Parquet file: {error}") from None
    keys = [name.strip().lower() for name in names]
    if len(set(keys)) < len(keys):
        match_columns(names)  # raises an error that names both columns; DuckDB would rename the second one


def _attribute_cell(duckdb_type: str, column: str) -> tuple[str, str]:
    """Return the style and the SQL expression of an attribute's cell: the nearest of ATTRIBUTE_TYPES.

    Args:
        duckdb_type: the type of the column in the files.
        column: the column as an SQL identifier.
    """
    if duckdb_type == "BOOLEAN":
        return "BOOLEAN", column
    if duckdb_type in _INTEGERS:
        return "BIGINT", f"{column}::BIGINT"
    if duckdb_type in _BIG_INTEGERS:
        return "text", f"{column}::VARCHAR"  # int64 if all values fit
    if duckdb_type == "FLOAT":
        return "DOUBLE", f"{column}::VARCHAR::DOUBLE"  # 0.1 stays 0.1 and does not become 0.10000000149
    if duckdb_type == "DOUBLE" or duckdb_type.startswith("DECIMAL"):
        return "DOUBLE", f"{column}::DOUBLE"
    if duckdb_type == "DATE" or duckdb_type.startswith("TIMESTAMP"):
        return "TIMESTAMPTZ", f"TRY_CAST({column} AS TIMESTAMPTZ)"
    if _PLAIN.fullmatch(duckdb_type):
        return "VARCHAR", f"{column}::VARCHAR"
    return "VARCHAR", f"to_json({column})::VARCHAR"
