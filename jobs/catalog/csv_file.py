"""CSV and JSON lines into the staging, row by row accountable.

CSV is cut into blocks of whole rows. A block whose quotes are in order is parsed by Arrow, at about a million rows a
second; any other block, or one that Arrow refuses, is parsed again by the csv module, slower, which says for each row
what is wrong with it. A row whose quote is never closed costs that row alone: reading goes on at its second line.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from artifacts.errors import CatalogError
from jobs.catalog.staging import Staging
from jobs.catalog.text_file import MAX_LINE, read_blocks, truncate

#: A CSV row this long is not one; a JSON line this long is not read.
MAX_ROW = 4 << 20
#: Longest field of a CSV, the csv module's own limit: it is what stops a quote left open.
FIELD_LIMIT = 131_072
DELIMITERS = (",", ";", "\t", "|")
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def stage_csv(path: Path, staging: Staging) -> None:
    """Read a CSV with a header line: UTF-8, RFC 4180 quotes; delimiter , ; tab or |; empty lines are no rows.

    Raises:
        CatalogError: no header, unusable columns, or another encoding.
    """
    blocks = read_blocks(path)
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
            raise CatalogError(f"the header line cannot be read ({error}): {truncate(text[0].strip())}") from None
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
            rows.append(f"{_csv_problem(error)}: {truncate(broken)}")
            lines.at = start + 1
            continue
        if not cells:
            continue
        if bad := _undecoded(cells):
            staging.not_utf8 += 1
            rows.append(bad)
        elif len(cells) != width:
            rows.append(f"{len(cells)} fields where the header has {width}: {truncate(delimiter.join(cells))}")
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
            return f"not UTF-8: byte 0x{ord(cell[error.start]) - 0xDC00:02x} in field {number}: {truncate(cell)}"
    return None
