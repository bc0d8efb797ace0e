"""CSV and JSON lines into the staging, row by row accountable.

CSV is cut into blocks of whole rows. A block whose quotes are in order is parsed by Arrow, at about a million rows a
second; any other block, or one that Arrow refuses, is parsed again by the csv module, slower, which says for each row
what is wrong with it. A row whose quote is never closed costs that row alone: reading goes on at its second line.
"""

from __future__ import annotations

# ruff: noqa: S608 — what is put into the SQL is our own names, numbers and literal(); never a bare value.
import csv
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from artifacts.errors import CatalogError
from jobs.catalog_staging import MAX_COLUMNS, Staging, literal, run_sql

BLOCK = 1 << 20
#: A CSV row this long is not one; a JSON line this long is not read.
MAX_ROW = 4 << 20
MAX_LINE = 64 << 20
#: Longest field of a CSV, the csv module's own limit: it is what stops a quote left open.
FIELD_LIMIT = 131_072
DELIMITERS = (",", ";", "\t", "|")
_OTHER_ENCODINGS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x00\x00\xfe\xff", "UTF-32"))
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'


def _blocks(path: Path) -> Iterator[bytes]:
    """The file's bytes without a UTF-8 mark, decompressed where it is gzip; the first block always comes."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with cast("IO[bytes]", opener(path, "rb")) as file:
        try:
            block = file.read(BLOCK)
            for mark, encoding in _OTHER_ENCODINGS:
                if block.startswith(mark):
                    raise CatalogError(f"the file is {encoding}; save it as UTF-8")
            yield block.removeprefix(b"\xef\xbb\xbf")
            while block := file.read(BLOCK):
                yield block
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise CatalogError(f"the file cannot be decompressed: {error}") from None


def shown(text: str, limit: int = 80) -> str:
    """A value as messages show it: one line, at most `limit` characters."""
    line = "".join(letter if letter.isprintable() else "\ufffd" for letter in text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def stage_csv(path: Path, staging: Staging) -> None:
    """Read a CSV with a header line: UTF-8, RFC 4180 quotes; delimiter , ; tab or |; empty lines are no rows.

    Raises:
        CatalogError: no header, unusable columns, or another encoding.
    """
    blocks = _blocks(path)
    buffer = next(blocks)
    names, delimiter, start = _header(buffer)
    staging.begin(names)
    buffer = buffer[start:]
    last = False
    while not last:
        more = next(blocks, None)
        last = more is None
        buffer += more or b""
        end = _whole_rows(buffer, ord(delimiter), last)
        if end == 0 and not last and len(buffer) < MAX_ROW:
            continue
        table = _quick(buffer[:end], names, delimiter) if end else None
        if table is not None and end:
            staging.add(table.columns)
            buffer = buffer[end:]
        else:
            buffer = buffer[_careful(buffer, len(names), delimiter, last, staging) :]
            if len(buffer) > MAX_LINE:
                raise CatalogError(f"row {staging.rows + 1:,} is longer than {MAX_LINE:,} bytes; is the file a CSV?")
    staging.finish()


def _header(block: bytes) -> tuple[list[str], str, int]:
    """The column names, the delimiter, and where the rows begin."""
    lines = block.splitlines(keepends=True)
    at = next((number for number, line in enumerate(lines) if line.strip()), None)
    if at is None:
        raise CatalogError("the file is empty")
    text = [line.decode(errors="surrogateescape") for line in lines[at : at + 50]]  # a name may hold a newline
    first: tuple[list[str], str, int] | None = None
    for delimiter in DELIMITERS:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            names = next(reader)
        except csv.Error as error:
            raise CatalogError(f"the header line cannot be read ({error}): {shown(text[0].strip())}") from None
        if _undecoded(names):
            raise CatalogError(f"the header line is {_undecoded(names)}; save the file as UTF-8")
        found = names, delimiter, sum(map(len, lines[: at + reader.line_num]))
        first = first or found
        if "product_id" in (name.strip().lower() for name in names):
            return found
    assert first is not None  # noqa: S101 — DELIMITERS is not empty
    return first


def _whole_rows(block: bytes, delimiter: int, last: bool) -> int | None:
    """Where the last whole row of the block ends; 0 if none does; None if the quotes are not in order.

    In order means: seen from the block's start, every odd quote opens a field and every even one closes it, or the two
    are a doubled quote inside of one. Then newlines after an even number of quotes, and only these, end a row.
    """
    data = np.frombuffer(block + b"\n", np.uint8)
    quotes = np.flatnonzero(data == _QUOTE)
    end = stop = len(block)
    while not last:
        newline = block.rfind(b"\n", 0, stop)
        if newline < 0:
            return 0
        before = int(np.searchsorted(quotes, newline))
        if before % 2 == 0:
            end = newline + 1
            break
        stop = int(quotes[before - 1])  # that newline is inside of a field: look before the field's quote
    quotes = quotes[: np.searchsorted(quotes, end)]
    if len(quotes) % 2:
        return None
    opening, closing = quotes[0::2], quotes[1::2]
    edges = [delimiter, _NEWLINE, _RETURN, _QUOTE]
    opens = (opening == 0) | np.isin(data[opening - 1], edges)
    return end if opens.all() and np.isin(data[closing + 1], edges).all() else None


def _quick(block: bytes, names: list[str], delimiter: str) -> pa.Table | None:
    """Whole rows as a table of text; None if any of them needs a closer look."""
    cells = [f"c{number}" for number in range(len(names))]
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(block),
            read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=cells, block_size=len(block) + 1),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(cells, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:  # a wrong number of fields, bytes that are not UTF-8, or nothing but empty lines
        return None
    lengths = (pc.call_function("max", [pc.call_function("binary_length", [column])]) for column in table.columns)
    return table if all((length.as_py() or 0) <= FIELD_LIMIT for length in lengths) else None


class _Lines:
    """Lines for the csv module, which can be set back."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines
        self.at = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self.at == len(self.lines):
            raise StopIteration
        self.at += 1
        return self.lines[self.at - 1].decode(errors="surrogateescape")


def _careful(block: bytes, width: int, delimiter: str, last: bool, staging: Staging) -> int:
    """Stage the block's rows one by one; returns where the first row that goes on after the block begins."""
    pieces = block.splitlines(keepends=True)
    if not last and not pieces[-1].endswith(b"\n"):
        pieces.pop()
    lines = _Lines(pieces)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    rows: list[list[str] | str] = []
    while True:
        start = lines.at
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            if "end of data" in str(error) and not last and (start or len(block) < MAX_ROW):
                lines.at = start
                break
            broken = pieces[start].decode(errors="replace").strip()
            rows.append(f"{_csv_problem(error)}: {shown(broken)}")
            lines.at = start + 1
            continue
        if not cells:
            continue
        if bad := _undecoded(cells):
            staging.not_utf8 += 1
            rows.append(bad)
        elif len(cells) != width:
            rows.append(f"{len(cells)} fields where the header has {width}: {shown(delimiter.join(cells))}")
        else:
            rows.append(cells)
    staging.add_rows(rows)
    return sum(map(len, pieces[: lines.at]))


def _csv_problem(error: csv.Error) -> str:
    if "field limit" in str(error):
        return f"a field is longer than {FIELD_LIMIT:,} characters; is a quote left open?"
    if "end of data" in str(error):
        return "a quote is left open"
    return "a quote inside of a quoted field is not doubled"


def _undecoded(cells: list[str]) -> str | None:
    for number, cell in enumerate(cells, start=1):
        try:
            cell.encode()
        except UnicodeEncodeError as error:
            return f"not UTF-8: byte 0x{ord(cell[error.start]) - 0xDC00:02x} in field {number}: {shown(cell)}"
    return None


# ── JSON lines ───────────────────────────────────────────────────────────────────────────────────────────────────────


def stage_json(path: Path, staging: Staging) -> None:
    """Read a file of one JSON object a line; empty lines are no rows; keys are the columns, in order of appearance.

    Raises:
        CatalogError: unusable columns, another encoding, or no line that holds an object.
    """
    lines = Staging(staging.con, staging.path.with_name("lines.parquet"), staging.progress)
    lines.begin_lines()
    buffer = b""
    for block in _blocks(path):
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
        raise CatalogError(f"no line is a JSON object; the first is: {shown(first or 'not UTF-8')}")
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
                rows.append(f"not UTF-8: byte 0x{line[error.start]:02x}: {shown(line.decode(errors='replace'))}")
        lines.add_rows(rows)
