"""Stages JSON lines: DuckDB splits each line's object into the columns that occur anywhere in the file."""

from __future__ import annotations

# ruff: noqa: S608 — the SQL is built from constants, numbers and text_literal(), never from a catalog's values.
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.csv

from artifacts.errors import CatalogError
from artifacts.products.sql import text_literal
from jobs.catalog.readers.text_file import MAX_LINE, read_blocks, truncate
from jobs.catalog.source import Part, part_errors, partition_keys
from jobs.catalog.staging import MAX_COLUMNS, Staging, column_key, parquet_file_sql, run_sql


def stage_json(parts: Sequence[Part], staging: Staging) -> None:
    """Read files with one JSON object per line; empty lines are skipped; keys are columns, in order of appearance.

    Folders named key=value are columns, too.

    Raises:
        CatalogError: unusable columns, another encoding, no line that holds an object, or a line over MAX_LINE.
    """
    partitions = partition_keys(parts)
    lines = _stage_lines(parts, partitions, staging)
    if not lines.rows:
        staging.set_empty()
        staging.finish()
        return
    table = parquet_file_sql(lines.path)
    keys = {column_key(key) for key in partitions}
    names = [name for name in _column_names(staging, table) if column_key(name) not in keys]
    staging.set_columns([*names, *partitions], "json")
    staging.declare_text(partitions)
    staging.parts = lines.parts
    staging.finish()  # DuckDB writes the file below
    pointers = "[" + ", ".join(text_literal("/" + name.replace("~", "~0").replace("/", "~1")) for name in names) + "]"
    known = set(staging.columns.known.values())
    cells = [
        f"{'texts' if index in known else 'vals'}[{index + 1}]::VARCHAR AS c{index}" for index in range(len(names))
    ]
    cells += [f"further{index} AS c{len(names) + index}" for index in range(len(partitions))]
    further = "".join(f", c{index + 1} AS further{index}" for index in range(len(partitions)))
    staging.write_query(
        f"""SELECT _row, coalesce(_unreadable, problem) AS _unreadable, {", ".join(cells)} FROM (
                SELECT *, CASE WHEN problem IS NULL THEN json_extract_string(line, {pointers}) END AS texts,
                    CASE WHEN problem IS NULL THEN json_extract(line, {pointers}) END AS vals FROM (
                    SELECT _row, _unreadable, c0 AS line{further}, CASE WHEN c0 IS NULL THEN ''
                        WHEN NOT json_valid(c0) THEN 'not JSON: ' || left(c0, 80)
                        WHEN json_type(c0) <> 'OBJECT' THEN 'not a JSON object: ' || left(c0, 80) END AS problem
                    FROM {table}))"""
    )


def _stage_lines(parts: Sequence[Part], partitions: Sequence[str], staging: Staging) -> Staging:
    """Stage lines as one cell each, and the values of their partitions, in a file beside the staging file."""
    lines = Staging(staging.con, staging.path.with_name("lines.parquet"), staging.progress)
    lines.set_lines(len(partitions))
    for part in parts:
        lines.start_part(part.label, 1, [0, *map(part.partition.get, partitions)])
        with part_errors(part):
            _stage_part(part, lines)
    lines.finish()
    return lines


def _stage_part(part: Part, lines: Staging) -> None:
    buffer = b""
    for block in read_blocks(part.file):
        buffer += block
        end = buffer.rfind(b"\n") + 1
        if not end and len(buffer) > MAX_LINE:
            raise CatalogError(f"row {lines.rows + 1:,} is longer than {MAX_LINE:,} bytes; is it one object per line?")
        _add_lines(buffer[:end], lines)
        buffer = buffer[end:]
    _add_lines(buffer, lines)


def _add_lines(block: bytes, staging: Staging) -> None:
    lines = [line for line in block.split(b"\n") if line and not line.isspace()]
    if not lines:
        return
    try:
        staging.add_batch([pa.array(lines, pa.binary()).cast(pa.string())])
    except pa.ArrowInvalid:
        rows: list[list[str] | str] = []
        for line in lines:
            try:
                rows.append([line.decode()])
            except UnicodeDecodeError as error:
                staging.undecodable_rows += 1
                rows.append(f"not UTF-8: byte 0x{line[error.start]:02x}: {truncate(line.decode(errors='replace'))}")
        staging.add_rows(rows)


def _column_names(staging: Staging, lines: str) -> list[str]:
    """Return the keys of all objects, in order of appearance; at most one more than MAX_COLUMNS, which is an error."""
    keys = run_sql(
        staging.con,
        f"""SELECT key FROM (
                SELECT _row, keys, unnest(range(1, len(keys) + 1)) AS position, unnest(keys) AS key FROM (
                    SELECT _row, json_keys(c0) AS keys FROM {lines}
                    WHERE CASE WHEN json_valid(c0) THEN json_type(c0) = 'OBJECT' ELSE false END))
            GROUP BY key ORDER BY min(_row), arg_min(position, _row) LIMIT {MAX_COLUMNS + 1}""",
    )
    if not keys:
        ((first_line,),) = run_sql(staging.con, f"SELECT c0 FROM {lines} ORDER BY _row LIMIT 1")
        raise CatalogError(f"no line is a JSON object; the first line is: {truncate(first_line or 'not UTF-8')}")
    return [key for (key,) in keys]
