"""Where every catalog goes first: one local Parquet file of cells, one line per catalog row, whatever the source was.

    staged.parquet
      _row          int64    1-based number of the catalog's data row
      _unreadable   text     why the row could not be read; its cells are null then; null for a row that could be
      c0, c1, …     text     the catalog's columns in their order, as text, so that one bad value costs one row

Attributes of sources that have types keep them: their cells are described by a style (see Staging.styles).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import CatalogError
from artifacts.schema import CATALOG_COLUMNS, RESERVED_COLUMNS

Progress = Callable[[int, int | None], None]

REQUIRED = ("product_id", "image_url")
MAX_COLUMNS = 1000
#: Rows and bytes gathered before they are written: large enough to compress, small enough for any machine.
GROUP_ROWS = 65_536
GROUP_BYTES = 64 << 20
#: Above this share of rows that are not UTF-8 the file is in another encoding; below, a few rows are damaged.
WRONG_ENCODING_RATE = 0.01


@dataclass(frozen=True)
class Columns:
    """Which cell of a staged row holds what: name -> number of the cell."""

    known: dict[str, int]
    attributes: dict[str, int]  # in the catalog's order


def match_columns(names: Sequence[str]) -> Columns:
    """Tell known columns (by name, in any case) from attributes.

    Raises:
        CatalogError: a name is empty, taken twice, reserved or not printable, or a required column is missing.
    """
    known: dict[str, int] = {}
    attributes: dict[str, int] = {}
    seen: dict[str, str] = {}
    for number, raw in enumerate(names):
        name = raw.strip().lstrip("\ufeff")
        if not name:
            raise CatalogError(f"column {number + 1} has no name; name it or leave it out (columns: {_listed(names)})")
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise CatalogError(f"column {number + 1} has control characters in its name {name!r}: is the file UTF-8?")
        key = name.lower()
        if key in seen:
            raise CatalogError(f"columns {seen[key]!r} and {name!r} have the same name; rename or leave out one")
        if key in RESERVED_COLUMNS:
            raise CatalogError(f"column name {name!r} is reserved by Lookalike; rename the column")
        seen[key] = name
        if key in CATALOG_COLUMNS:
            known[key] = number
        else:
            attributes[name] = number
    for name in REQUIRED:
        if name not in known:
            raise CatalogError(f"there is no column {name!r}; add it, or rename one of: {_listed(names)}")
    if len(names) > MAX_COLUMNS:
        raise CatalogError(f"{len(names)} columns; at most {MAX_COLUMNS} are taken: leave out what nobody filters on")
    return Columns(known, attributes)


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:30])
    return f"{listed}, …" if len(names) > 30 else listed or "none at all"


def literal(value: str | Path) -> str:
    """A text as an SQL literal, where SQL takes no bound parameter (file names, CREATE VIEW)."""
    return "'" + str(value).replace("'", "''") + "'"


def run_sql(con: duckdb.DuckDBPyConnection, sql: str, parameters: object = None) -> list[tuple]:
    """Run one statement to its end: results of DuckDB 2 stream and hold the connection until they are drained."""
    return con.execute(sql, parameters).fetchall()


@dataclass
class Staging:
    """Takes a source's rows, in catalog order, and writes staged.parquet.

    Attributes:
        styles: attribute -> how its cells are to be understood: "text" (type to be inferred), "json" (cells are JSON
            values), or the name of a DuckDB type that every cell can be cast to.
    """

    con: duckdb.DuckDBPyConnection
    path: Path
    progress: Progress
    rows: int = 0
    columns: Columns = field(default_factory=lambda: Columns({}, {}))
    styles: dict[str, str] = field(default_factory=dict)
    not_utf8: int = 0
    _width: int = 0
    _written: int = 0  # rows
    _bytes: int = 0  # held, not written
    _held: list[pa.Table] = field(default_factory=list)
    _writer: pq.ParquetWriter | None = None

    def begin(self, names: Sequence[str], style: str = "text") -> None:
        """Name the columns, before the first row.

        Raises:
            CatalogError: see match_columns.
        """
        self.columns = match_columns(names)
        self.styles = dict.fromkeys(self.columns.attributes, style)
        self._open(len(names))

    def begin_lines(self) -> None:
        """A staging of whole lines (cell c0), which become columns later."""
        self._open(1)

    def _open(self, width: int) -> None:
        self._width = width
        cells = [pa.field(f"c{number}", pa.string()) for number in range(width)]
        schema = pa.schema([pa.field("_row", pa.int64()), pa.field("_unreadable", pa.string()), *cells])
        # Dictionaries and zstd cost less time than the bytes they save.
        self._writer = pq.ParquetWriter(self.path, schema, compression="zstd", compression_level=1)

    def add(self, cells: Sequence[pa.Array | pa.ChunkedArray]) -> None:
        """Add readable rows: one array of text per column, all of one length."""
        self._hold(cells, pa.nulls(len(cells[0]), pa.string()))

    def add_rows(self, rows: Sequence[Sequence[str | None] | str]) -> None:
        """Add rows one by one: their cells, or a text that says why the row is unreadable."""
        if not rows:
            return
        nothing = (None,) * self._width
        cells = zip(*(nothing if isinstance(row, str) else row for row in rows), strict=True)
        unreadable = pa.array([row if isinstance(row, str) else None for row in rows], pa.string())
        self._hold([pa.array(column, pa.string()) for column in cells], unreadable)

    def _hold(self, cells: Sequence[pa.Array | pa.ChunkedArray], unreadable: pa.Array) -> None:
        if self._writer is None:
            raise RuntimeError("Staging.begin has not been called")
        numbers = pa.array(np.arange(self.rows + 1, self.rows + 1 + len(unreadable)), pa.int64())
        self._held.append(pa.Table.from_arrays([numbers, unreadable, *cells], schema=self._writer.schema))
        self.rows += len(unreadable)
        self._bytes += self._held[-1].nbytes
        if self.rows - self._written >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._write(self._writer)

    def _write(self, writer: pq.ParquetWriter) -> None:
        if self._held:
            writer.write_table(pa.concat_tables(self._held))
            self._held.clear()
            self._written, self._bytes = self.rows, 0
            self.progress(self.rows, None)

    def finish(self) -> None:
        """Write what is still held; the file is complete then.

        Raises:
            CatalogError: so many rows are not UTF-8 that the file must be in another encoding.
        """
        if self._writer is not None:
            self._write(self._writer)
            self._writer.close()
            self._writer = None
        if self.not_utf8 > WRONG_ENCODING_RATE * self.rows:
            raise CatalogError(
                f"the file is not UTF-8: {self.not_utf8:,} of {self.rows:,} rows cannot be decoded; save it as UTF-8"
            )

    def copy(self, query: str, parameters: object = None) -> None:
        """Fill the file from a query that yields _row, _unreadable, c0, c1, … — for what DuckDB itself can read."""
        target = f"COPY ({query}) TO {literal(self.path)} (FORMAT parquet, COMPRESSION zstd)"
        run_sql(self.con, target, parameters)
        self.rows = pq.read_metadata(self.path).num_rows
        self.progress(self.rows, None)
