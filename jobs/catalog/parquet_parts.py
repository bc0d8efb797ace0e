"""TODO."""

from __future__ import annotations

# ruff: noqa: S608 — what is put into the SQL is our own names, numbers and literal(); never a bare value.
import glob
import re
from functools import partial
from pathlib import Path

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import CatalogError
from artifacts.storage import sha256_of
from jobs.catalog.source import Source, base_of, fetch_files
from jobs.catalog.staging import Staging, match_columns, run_sql
from jobs.workspace.fingerprints import fingerprint

_INTEGERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})
_BIG_INTEGERS = frozenset({"UBIGINT", "HUGEINT", "UHUGEINT", "BIGNUM"})
_PLAIN = re.compile(r"VARCHAR|BLOB|UUID|ENUM\(.*|TIME|TIME_NS|TIME WITH TIME ZONE|INTERVAL|BIT", re.DOTALL)


# ── Parquet ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def parts_below(fs: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    """Parquet files below the folder, sorted; without what starts with _ or . (markers, half-written files)."""
    found = (str(path) for path in fs.find(folder) if str(path).endswith(".parquet"))
    return sorted(
        path for path in found if not any(name[0] in "_." for name in path.removeprefix(folder).strip("/").split("/"))
    )


def parquet_source(name: str, fs: fsspec.AbstractFileSystem, root: str, parts: list[str], scratch: Path) -> Source:
    files = fetch_files(fs, root, parts, scratch)
    places = [part.removeprefix(root) for part in parts]
    content = fingerprint("parquet", [(place, sha256_of(file)) for place, file in zip(places, files, strict=True)])
    return Source(
        name, base_of(fs, root), content, partial(_stage_parquet, files, any("=" in place for place in places))
    )


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
