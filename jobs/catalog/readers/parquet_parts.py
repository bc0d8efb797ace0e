"""Stages Parquet: DuckDB reads one file, or many as one table, and the attributes keep the nearest of their types."""

from __future__ import annotations

# ruff: noqa: S608 — the SQL is built from constants, numbers and quoted names, never from a catalog's values.
import glob
import re
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import CatalogError
from artifacts.products.sql import quoted, text_literal
from jobs.catalog.source import HIVE_NULL, Part, partition_keys
from jobs.catalog.staging import Staging, column_key, match_columns, run_sql

#: Column with a row's file.
_FILE = "_lookalike_file"
# DuckDB types
_INTEGERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})
_BIG_INTEGERS = frozenset({"UBIGINT", "HUGEINT", "UHUGEINT", "BIGNUM"})
_PLAIN = re.compile(r"VARCHAR|BLOB|UUID|ENUM\(.*|TIME|TIME_NS|TIME WITH TIME ZONE|INTERVAL|BIT", re.DOTALL)


def stage_parquet(parts: Sequence[Part], staging: Staging) -> None:
    """Read Parquet files as one table: columns are matched by name, and null where a file lacks them.

    Folders named key=value are columns, too.

    Raises:
        CatalogError: unusable columns, a file that is no Parquet, or types that have nothing in common.
    """
    for part in parts:
        _validate_file(part.file)
        staging.parts.append((part.label, staging.rows + 1))
        staging.rows += pq.read_metadata(part.file).num_rows
    # DuckDB's own columns of partitions would be those of the folders above the catalog's, too.
    table = f"read_parquet(?, union_by_name => true, hive_partitioning => false, filename => '{_FILE}')"
    paths = [[glob.escape(str(part.file)) for part in parts]]
    try:
        description = run_sql(staging.con, f"DESCRIBE SELECT * EXCLUDE ({_FILE}) FROM {table}", paths)
        keys = partition_keys(parts)
        columns = {column_key(str(name)): (str(name), str(duckdb_type)) for name, duckdb_type, *_ in description}
        columns = {key: column for key, column in columns.items() if key not in map(column_key, keys)}
        staging.set_columns([*(name for name, _ in columns.values()), *keys])
        staging.declare_text(keys)
        staging.finish()  # DuckDB writes the file below
        attributes = {index: name for name, index in staging.columns.attributes.items()}
        cells = []
        for index, (column, duckdb_type) in enumerate(columns.values()):
            if index in attributes:
                staging.styles[attributes[index]], cell = _attribute_cell(duckdb_type, quoted(column))
            else:
                nested = duckdb_type.endswith(("]", ")")) and not duckdb_type.startswith(("DECIMAL", "ENUM"))
                cell = f"to_json({quoted(column)})::VARCHAR" if nested else f"{quoted(column)}::VARCHAR"
            cells.append(f"{cell} AS c{index}")
        cells += [f"{_partition_sql(key, parts[0])} AS c{len(columns) + index}" for index, key in enumerate(keys)]
        numbered = "row_number() OVER () AS _row, NULL::VARCHAR AS _unreadable"
        staging.write_query(f"SELECT {numbered}, {', '.join(cells)} FROM {table}", paths)
    except (duckdb.BinderException, duckdb.ConversionException, duckdb.InvalidInputException) as error:
        raise CatalogError(f"the Parquet parts cannot be read as one table: {error}") from None


def _partition_sql(key: str, part: Part) -> str:
    """Build the value that the folder key=value has in the path of a row's file; null if there is no such folder.

    Args:
        part: any part; all are below the same folder.
    """
    root = len(str(part.file)) - len(part.name)
    folder = "".join(rf"\x{{{ord(letter):x}}}" for letter in key)
    pattern = text_literal(f"(?:^|/){folder}=([^/]*)/")
    value = f"regexp_extract(substr({_FILE}, {root + 1}), {pattern}, 1)"
    return f"CASE WHEN {value} <> {text_literal(HIVE_NULL)} THEN nullif(url_decode({value}), '') END"


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
