"""Stages CSV files; every row is read, or counted as unreadable.

The file is cut into blocks of whole rows. Arrow parses the blocks whose quotes are in order, about a million rows a
second. The csv module parses all other blocks, and those that Arrow refuses, again: it is slower, but says for each
row what is wrong with it. A quote that is never closed costs one row: reading goes on at that row's second line.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from artifacts.errors import CatalogError
from jobs.catalog.readers.text_file import MAX_LINE, read_blocks, truncate
from jobs.catalog.source import Part, part_errors, partition_keys
from jobs.catalog.staging import Staging, column_key

#: Bytes without the end of a row after which a quote counts as left open.
MAX_ROW = 4 << 20
#: Longest field in characters, the csv module's own default limit; it stops a quote that is left open.
FIELD_LIMIT = 131_072
DELIMITERS = (",", ";", "\t", "|")
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'


@dataclass(frozen=True)
class _Header:
    """The first line of a CSV file that is not empty.

    Attributes:
        names: of the columns.
        delimiter: the first of DELIMITERS that yields a column product_id, else the first of them.
        end: offset of the first row in bytes.
    """

    names: list[str]
    delimiter: str
    end: int


def stage_csv(parts: Sequence[Part], staging: Staging) -> None:
    """Read CSV files with a header line: UTF-8, RFC 4180 quotes; delimiter , ; tab or |; empty lines are skipped.

    Columns are matched by name; one that a part lacks is null in its rows. Folders named key=value are columns, too.

    Raises:
        CatalogError: no header, unusable columns, another encoding, or a row that is longer than MAX_LINE.
    """
    headers: list[_Header | None] = []
    for part in parts:
        with part_errors(part):
            headers.append(_read_header(part.file))
    if not any(headers):
        staging.set_empty()
    else:
        partitions = {column_key(key): key for key in partition_keys(parts)}
        columns: dict[str, str] = {}
        for name in (name for header in headers if header for name in header.names):
            columns.setdefault(column_key(name), name)
        # Two columns of one part that have the same name are both kept here, for the message.
        repeated = next((header.names for header in headers if header and _has_repeated(header.names)), None)
        staging.set_columns(repeated or [*(columns | partitions).values()])
        staging.declare_text(partitions.values())
        for part, header in zip(parts, headers, strict=True):
            if header is not None:
                with part_errors(part):
                    _stage_part(part, header, [*(columns | partitions)], staging)
    staging.finish()


def _has_repeated(names: Sequence[str]) -> bool:
    return len({column_key(name) for name in names}) < len(names)


def _stage_part(part: Part, header: _Header, columns: Sequence[str], staging: Staging) -> None:
    """Stage the rows of one file.

    Args:
        columns: keys of the catalog's columns.
    """
    cells: dict[str, int | str | None] = {column_key(name): cell for cell, name in enumerate(header.names)}
    cells |= {column_key(key): value for key, value in part.partition.items()}
    width, delimiter = len(header.names), header.delimiter
    staging.start_part(part.label, width, [cells.get(column) for column in columns])
    blocks = read_blocks(part.file)
    buffer = next(blocks)[header.end :]
    at_end = False
    while not at_end:
        block = next(blocks, None)
        at_end = block is None
        buffer += block or b""
        end = _end_of_whole_rows(buffer, ord(delimiter), at_end)
        if end == 0 and not at_end and len(buffer) < MAX_ROW:
            continue
        table = _parse_with_arrow(buffer[:end], width, delimiter) if end else None
        if table is not None and end:
            staging.add_batch(table.columns)
            buffer = buffer[end:]
        else:
            buffer = buffer[_stage_row_by_row(buffer, width, delimiter, at_end, staging) :]
            if len(buffer) > MAX_LINE:
                raise CatalogError(f"row {staging.rows + 1:,} is longer than {MAX_LINE:,} bytes; is the file a CSV?")


def _read_header(path: Path) -> _Header | None:
    """Return a file's header; None if the file is empty."""
    with closing(read_blocks(path)) as blocks:
        lines = next(blocks).splitlines(keepends=True)
    header_line = next((index for index, line in enumerate(lines) if line.strip()), None)
    if header_line is None:
        return None
    # 50 lines, because a name may contain newlines
    text = [line.decode(errors="surrogateescape") for line in lines[header_line : header_line + 50]]
    fallback: _Header | None = None
    for delimiter in DELIMITERS:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            names = next(reader)
        except csv.Error as error:
            raise CatalogError(f"the header line cannot be read ({error}): {truncate(text[0].strip())}") from None
        if problem := _encoding_problem(names):
            raise CatalogError(f"the header line is {problem}; save the file as UTF-8")
        header = _Header(names, delimiter, sum(map(len, lines[: header_line + reader.line_num])))
        fallback = fallback or header
        if "product_id" in map(column_key, names):
            return header
    return fallback


def _end_of_whole_rows(block: bytes, delimiter: int, at_end: bool) -> int | None:
    """Return the offset at which the block's last whole row ends, 0 if none ends, None if its quotes are not in order.

    Quotes are in order if, counted from the start of the block, every odd quote opens a field and every even one
    closes it, or both are a doubled quote inside a field. Then a newline ends a row if and only if the number of
    quotes before it is even.
    """
    data = np.frombuffer(block + b"\n", np.uint8)
    quotes = np.flatnonzero(data == _QUOTE)
    end = search_end = len(block)
    while not at_end:
        newline = block.rfind(b"\n", 0, search_end)
        if newline < 0:
            return 0
        quotes_before = int(np.searchsorted(quotes, newline))
        if quotes_before % 2 == 0:
            end = newline + 1
            break
        search_end = int(quotes[quotes_before - 1])  # this newline is inside a field: search before the field's quote
    quotes = quotes[: np.searchsorted(quotes, end)]
    if len(quotes) % 2:
        return None
    opening, closing = quotes[0::2], quotes[1::2]
    field_edges = [delimiter, _NEWLINE, _RETURN, _QUOTE]
    opens_field = (opening == 0) | np.isin(data[opening - 1], field_edges)
    return end if opens_field.all() and np.isin(data[closing + 1], field_edges).all() else None


def _parse_with_arrow(block: bytes, width: int, delimiter: str) -> pa.Table | None:
    """Parse whole rows as a table of strings; return None if a row needs the csv module."""
    cells = [f"c{index}" for index in range(width)]
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(block),
            read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=cells, block_size=len(block) + 1),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(cells, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:  # a wrong number of fields, bytes that are not UTF-8, or only empty lines
        return None
    lengths = (pc.call_function("max", [pc.call_function("binary_length", [column])]) for column in table.columns)
    return table if all((length.as_py() or 0) <= FIELD_LIMIT for length in lengths) else None


class _LineReader:
    """Iterates over lines for the csv module; setting `position` back reads lines again."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines
        self.position = 0  # of the next line

    def __iter__(self) -> _LineReader:
        return self

    def __next__(self) -> str:
        if self.position == len(self.lines):
            raise StopIteration
        self.position += 1
        return self.lines[self.position - 1].decode(errors="surrogateescape")


def _stage_row_by_row(block: bytes, width: int, delimiter: str, at_end: bool, staging: Staging) -> int:
    """Stage the block's rows with the csv module; return the offset of the first row that the next block continues."""
    lines = block.splitlines(keepends=True)
    if not at_end and not lines[-1].endswith(b"\n"):
        lines.pop()
    line_reader = _LineReader(lines)
    reader = csv.reader(line_reader, delimiter=delimiter, strict=True)
    rows: list[list[str] | str] = []
    while True:
        start = line_reader.position
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            if "end of data" in str(error) and not at_end and (start or len(block) < MAX_ROW):
                line_reader.position = start
                break
            first_line = lines[start].decode(errors="replace").strip()
            rows.append(f"{_csv_problem(error)}: {truncate(first_line)}")
            line_reader.position = start + 1
            continue
        if not cells:
            continue
        if problem := _encoding_problem(cells):
            staging.undecodable_rows += 1
            rows.append(problem)
        elif len(cells) != width:
            rows.append(f"{len(cells)} fields where the header has {width}: {truncate(delimiter.join(cells))}")
        else:
            rows.append(cells)
    staging.add_rows(rows)
    return sum(map(len, lines[: line_reader.position]))


def _csv_problem(error: csv.Error) -> str:
    if "field limit" in str(error):
        return f"a field is longer than {FIELD_LIMIT:,} characters; is a quote left open?"
    if "end of data" in str(error):
        return "a quote is left open"
    return "a quote inside a quoted field is not doubled"


def _encoding_problem(cells: list[str]) -> str | None:
    """Describe the first byte that is not UTF-8 (a surrogate, as decoded), or return None."""
    for number, cell in enumerate(cells, start=1):
        try:
            cell.encode()
        except UnicodeEncodeError as error:
            return f"not UTF-8: byte 0x{ord(cell[error.start]) - 0xDC00:02x} in field {number}: {truncate(cell)}"
    return None
