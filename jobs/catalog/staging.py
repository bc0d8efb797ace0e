"""The staging file: one local Parquet file of text cells, one line per catalog row, whatever the source is.

    staged.parquet
      _row          int64    1-based number of the catalog's data row
      _unreadable   text     why the row could not be read (its cells are null then); null for a readable row
      c0, c1, …     text     the catalog's columns in their order, as text, so that one bad value costs one row

Attributes of typed sources keep their types: a style describes how their cells are to be understood (Staging.styles).
"""

from __future__ import annotations

import glob
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import CatalogError
from artifacts.products.sql import text_literal
from artifacts.schema import CATALOG_COLUMNS, RESERVED_COLUMNS
from jobs.steps import Progress

REQUIRED = ("product_id", "image_url")
#: A known column that is not stored: true for a product that is to be deleted.
DELETED_COLUMN = "deleted"
MAX_COLUMNS = 1000
#: Rows and bytes gathered before they are written: large enough to compress, small enough for any machine.
GROUP_ROWS = 65_536
GROUP_BYTES = 64 << 20
#: Above this share of rows that are not UTF-8 the file is in another encoding; below, a few rows are damaged.
WRONG_ENCODING_RATE = 0.01


@dataclass(frozen=True)
class Columns:
    """Maps the names of a catalog's columns to the indexes of their cells."""

    known: dict[str, int]  # columns of CATALOG_COLUMNS, and DELETED_COLUMN
    attributes: dict[str, int]  # all others, in the catalog's order


def column_key(name: str) -> str:
    """Return what two names of the same column have in common."""
    return name.strip().lstrip("\ufeff").lower()


def match_columns(names: Sequence[str], *, changes_only: bool = False) -> Columns:
    """Separate the known columns (matched by name, in any case) from the attributes.

    Args:
        names: of all columns.
        changes_only: the rows are changes: image_url may be missing where they can be deletions.

    Raises:
        CatalogError: a name is empty, repeated, reserved or not printable, a required column is missing, or there are
            more than MAX_COLUMNS.
    """
    known: dict[str, int] = {}
    attributes: dict[str, int] = {}
    seen: dict[str, str] = {}
    for index, raw in enumerate(names):
        name = raw.strip().lstrip("\ufeff")
        if not name:
            raise CatalogError(f"column {index + 1} has no name; name it or remove it (columns: {_join_names(names)})")
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise CatalogError(f"column {index + 1} has control characters in its name {name!r}: is the file UTF-8?")
        key = column_key(raw)
        if key in seen:
            raise CatalogError(f"columns {seen[key]!r} and {name!r} have the same name; rename or remove one")
        if key in RESERVED_COLUMNS:
            raise CatalogError(f"column name {name!r} is reserved by Lookalike; rename the column")
        seen[key] = name
        if key in CATALOG_COLUMNS or key == DELETED_COLUMN:
            known[key] = index
        else:
            attributes[name] = index
    may_lack_pictures = changes_only and DELETED_COLUMN in known
    for name in REQUIRED:
        if name not in known and not (name == "image_url" and may_lack_pictures):
            raise CatalogError(f"there is no column {name!r}; add it, or rename one of: {_join_names(names)}")
    if len(names) > MAX_COLUMNS:
        raise CatalogError(f"{len(names)} columns, but at most {MAX_COLUMNS} are supported: remove unused columns")
    return Columns(known, attributes)


def _join_names(names: Sequence[str]) -> str:
    joined = ", ".join(repr(name) for name in names[:30])
    return f"{joined}, …" if len(names) > 30 else joined or "none"


def parquet_file_sql(path: Path) -> str:
    """Build the table of one Parquet file, whatever characters its path has."""
    return f"read_parquet({text_literal(glob.escape(str(path)))}, hive_partitioning => false)"


def run_sql(con: duckdb.DuckDBPyConnection, sql: str, parameters: object = None) -> list[tuple]:
    """Run one statement to its end and return its rows.

    DuckDB 2 streams results and holds the connection until they are drained.
    """
    return con.execute(sql, parameters).fetchall()


@dataclass
class Staging:
    """Writes a source's rows, in catalog order, to the staging file.

    A reader calls `set_columns` once, then `add_batch` and `add_rows` for the rows, and `finish` at the end; before
    the rows of each part `start_part`.

    Attributes:
        con: the DuckDB connection that the rules run on; readers may use it, too.
        path: the staging file.
        progress: called with (rows, None) after each write.
        changes_only: whether the source names only what has changed; it may then be empty.
        rows: rows staged so far, unreadable ones included.
        columns: the cell of each column.
        styles: attribute -> how its cells are to be understood: "text" (type to be inferred), "json" (cells are JSON
            values), or the name of a DuckDB type that every cell can be cast to.
        parts: label and first row of each part; rejects name those that have one.
        undecodable_rows: unreadable rows that are not UTF-8; readers count them.
    """

    con: duckdb.DuckDBPyConnection
    path: Path
    progress: Progress
    changes_only: bool = False
    rows: int = 0
    columns: Columns = field(default_factory=lambda: Columns({}, {}))
    styles: dict[str, str] = field(default_factory=dict)
    parts: list[tuple[str, int]] = field(default_factory=list)
    undecodable_rows: int = 0
    _width: int = 0  # cells of a row, as the reader gives them
    _layout: Sequence[int | str | None] = ()
    _written_rows: int = 0
    _buffered_bytes: int = 0
    _buffer: list[pa.Table] = field(default_factory=list)
    _writer: pq.ParquetWriter | None = None

    def set_columns(self, names: Sequence[str], style: str = "text") -> None:
        """Define the columns, before the first row.

        Raises:
            CatalogError: see match_columns.
        """
        self.columns = match_columns(names, changes_only=self.changes_only)
        self.styles = dict.fromkeys(self.columns.attributes, style)
        self._open(len(names))

    def declare_text(self, names: Iterable[str]) -> None:
        """Make attributes text whose cells would otherwise be looked at for their type."""
        self.styles |= {name: "VARCHAR" for name in names if name in self.styles}

    def set_lines(self, further: int) -> None:
        """Stage whole lines, in cell c0, that are split into columns later, and so many further cells."""
        self._open(1 + further)

    def set_empty(self) -> None:
        """Stage a source that has neither rows nor columns.

        Raises:
            CatalogError: only a source of changes may be empty.
        """
        if not self.changes_only:
            raise CatalogError("the catalog is empty")
        self.set_columns(REQUIRED)

    def start_part(self, name: str, width: int, layout: Sequence[int | str | None]) -> None:
        """Say how the rows that follow are laid out.

        Args:
            name: of the part.
            width: cells of its rows.
            layout: for each column, the number of its cell in a row, or the text that it has in every row, or None.
        """
        self.parts.append((name, self.rows + 1))
        self._width, self._layout = width, layout

    def _open(self, width: int) -> None:
        self._width, self._layout = width, range(width)
        cells = [pa.field(f"c{index}", pa.string()) for index in range(width)]
        schema = pa.schema([pa.field("_row", pa.int64()), pa.field("_unreadable", pa.string()), *cells])
        # Dictionaries and zstd cost less time than the bytes they save.
        self._writer = pq.ParquetWriter(self.path, schema, compression="zstd", compression_level=1)

    def add_batch(self, cells: Sequence[pa.Array | pa.ChunkedArray]) -> None:
        """Add readable rows: one string array per column, all of the same length."""
        self._add(cells, pa.nulls(len(cells[0]), pa.string()))

    def add_rows(self, rows: Sequence[Sequence[str | None] | str]) -> None:
        """Add rows one by one: each is its cells, or a message that says why it is unreadable."""
        if not rows:
            return
        nulls = (None,) * self._width
        cells = zip(*(nulls if isinstance(row, str) else row for row in rows), strict=True)
        unreadable = pa.array([row if isinstance(row, str) else None for row in rows], pa.string())
        self._add([pa.array(column, pa.string()) for column in cells], unreadable)

    def _add(self, cells: Sequence[pa.Array | pa.ChunkedArray], unreadable: pa.Array) -> None:
        if self._writer is None:
            raise RuntimeError("Staging.set_columns has not been called")
        cells = [
            cells[cell] if isinstance(cell, int) else pa.repeat(pa.scalar(cell, pa.string()), len(unreadable))
            for cell in self._layout
        ]
        numbers = pa.array(np.arange(self.rows + 1, self.rows + 1 + len(unreadable)), pa.int64())
        self._buffer.append(pa.Table.from_arrays([numbers, unreadable, *cells], schema=self._writer.schema))
        self.rows += len(unreadable)
        self._buffered_bytes += self._buffer[-1].nbytes
        if self.rows - self._written_rows >= GROUP_ROWS or self._buffered_bytes >= GROUP_BYTES:
            self._flush(self._writer)

    def _flush(self, writer: pq.ParquetWriter) -> None:
        if self._buffer:
            writer.write_table(pa.concat_tables(self._buffer))
            self._buffer.clear()
            self._written_rows, self._buffered_bytes = self.rows, 0
            self.progress(self.rows, None)

    def finish(self) -> None:
        """Write the buffered rows and complete the file.

        Raises:
            CatalogError: so many rows are not UTF-8 that the file must be in another encoding.
        """
        if self._writer is not None:
            self._flush(self._writer)
            self._writer.close()
            self._writer = None
        if self.undecodable_rows > WRONG_ENCODING_RATE * self.rows:
            raise CatalogError(
                f"the file is not UTF-8: {self.undecodable_rows:,} of {self.rows:,} rows cannot be decoded; "
                "save it as UTF-8"
            )

    def write_query(self, query: str, parameters: object = None) -> None:
        """Fill the file from a DuckDB query that yields _row, _unreadable, c0, c1, …, for files that DuckDB reads."""
        statement = f"COPY ({query}) TO {text_literal(str(self.path))} (FORMAT parquet, COMPRESSION zstd)"
        run_sql(self.con, statement, parameters)
        self.rows = pq.read_metadata(self.path).num_rows
        self.progress(self.rows, None)
