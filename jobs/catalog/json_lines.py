"""TODO."""

from __future__ import annotations

# ruff: noqa: S608 — what is put into the SQL is our own names, numbers and literal(); never a bare value.
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from artifacts.errors import CatalogError
from jobs.catalog.staging import MAX_COLUMNS, Staging, literal, run_sql
from jobs.catalog.text_file import MAX_LINE, read_blocks, truncate

# ── JSON lines ───────────────────────────────────────────────────────────────────────────────────────────────────────


def stage_json(path: Path, staging: Staging) -> None:
    """Read a file of one JSON object a line; empty lines are no rows; keys are the columns, in order of appearance.

    Raises:
        CatalogError: unusable columns, another encoding, or no line that holds an object.
    """
    lines = Staging(staging.con, staging.path.with_name("lines.parquet"), staging.progress)
    lines.begin_lines()
    buffer = b""
    for block in read_blocks(path):
        buffer += block
        end = buffer.rfind(b"\n") + 1
        if not end and len(buffer) > MAX_LINE:
            raise CatalogError(f"row {lines.rows + 1:,} is longer than {MAX_LINE:,} bytes; is it one object a line?")
        _add_lines(buffer[:end], lines)
        buffer = buffer[end:]
    _add_lines(buffer, lines)
    lines.finish()
    if not lines.rows:
        raise CatalogError("the file is empty")
    staged = f"read_parquet({literal(lines.path)})"
    keys = run_sql(
        staging.con,
        f"""SELECT key FROM (
                SELECT _row, keys, unnest(range(1, len(keys) + 1)) AS place, unnest(keys) AS key FROM (
                    SELECT _row, json_keys(c0) AS keys FROM {staged}
                    WHERE CASE WHEN json_valid(c0) THEN json_type(c0) = 'OBJECT' ELSE false END))
            GROUP BY key ORDER BY min(_row), arg_min(place, _row) LIMIT {MAX_COLUMNS + 1}""",
    )
    names = [key for (key,) in keys]
    if not names:
        (first,) = run_sql(staging.con, f"SELECT c0 FROM {staged} ORDER BY _row LIMIT 1")[0]
        raise CatalogError(f"no line is a JSON object; the first is: {truncate(first or 'not UTF-8')}")
    staging.begin(names, "json")
    staging.finish()  # DuckDB writes the file below
    pointers = "[" + ", ".join(literal("/" + name.replace("~", "~0").replace("/", "~1")) for name in names) + "]"
    known = set(staging.columns.known.values())
    cells = [
        f"{'texts' if number in known else 'vals'}[{number + 1}]::VARCHAR AS c{number}" for number in range(len(names))
    ]
    staging.copy(
        f"""SELECT _row, coalesce(_unreadable, problem) AS _unreadable, {", ".join(cells)} FROM (
                SELECT *, CASE WHEN problem IS NULL THEN json_extract_string(c0, {pointers}) END AS texts,
                    CASE WHEN problem IS NULL THEN json_extract(c0, {pointers}) END AS vals FROM (
                    SELECT *, CASE WHEN c0 IS NULL THEN ''
                        WHEN NOT json_valid(c0) THEN 'not JSON: ' || left(c0, 80)
                        WHEN json_type(c0) <> 'OBJECT' THEN 'not a JSON object: ' || left(c0, 80) END AS problem
                    FROM {staged}))"""
    )


def _add_lines(block: bytes, lines: Staging) -> None:
    found = [line for line in block.split(b"\n") if line and not line.isspace()]
    if not found:
        return
    try:
        lines.add([pa.array(found, pa.binary()).cast(pa.string())])
    except pa.ArrowInvalid:
        rows: list[list[str] | str] = []
        for line in found:
            try:
                rows.append([line.decode()])
            except UnicodeDecodeError as error:
                lines.not_utf8 += 1
                rows.append(f"not UTF-8: byte 0x{line[error.start]:02x}: {truncate(line.decode(errors='replace'))}")
        lines.add_rows(rows)
