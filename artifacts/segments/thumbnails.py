"""Thumbnails of pictures that have no public URL: a Parquet file in row order, read a few rows at a time."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

THUMBNAILS_FILE = "thumbnails.parquet"
_SCHEMA = pa.schema([pa.field("row", pa.int64(), nullable=False), pa.field("jpeg", pa.binary(), nullable=False)])
#: Rows of a row group, the smallest part that can be read: about 300 kB.
_GROUP_ROWS = 32


class ThumbnailWriter:
    """Writes thumbnails in ascending row order."""

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, _SCHEMA, compression="none")
        self._rows: list[int] = []
        self._jpegs: list[bytes] = []

    def write(self, thumbnails: Iterable[tuple[int, bytes]]) -> None:
        """Append pairs of row number and JPEG bytes."""
        for row, jpeg in thumbnails:
            self._rows.append(row)
            self._jpegs.append(jpeg)
            if len(self._rows) == _GROUP_ROWS:
                self._flush()

    def close(self) -> None:
        """Complete the file."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.table([self._rows, self._jpegs], schema=_SCHEMA))
            self._rows, self._jpegs = [], []


class Thumbnails:
    """Reads thumbnails by row number. Safe to use from several threads.

    Args:
        paths: of the files, whose rows follow each other.
    """

    def __init__(self, *paths: Path) -> None:
        self._files = [pq.ParquetFile(path, memory_map=True) for path in paths]
        self._groups: list[tuple[pq.ParquetFile, int]] = []
        self._first_rows: list[int] = []
        for file in self._files:
            for number in range(file.metadata.num_row_groups):
                self._groups.append((file, number))
                self._first_rows.append(int(file.metadata.row_group(number).column(0).statistics.min))
        self._lock = threading.Lock()  # a ParquetFile is for one thread at a time

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def get(self, row: int) -> bytes | None:
        """Return the JPEG bytes of a row's picture, or None if it has no thumbnail here."""
        group = self._group_of(row)
        return _value(self._read(group), row) if group >= 0 else None

    def take(self, rows: np.ndarray) -> list[bytes | None]:
        """Return the JPEG bytes of the pictures of rows int64[n], as `get` does; every row group is read once."""
        jpegs: list[bytes | None] = [None] * len(rows)
        positions = np.argsort(rows, kind="stable").tolist()
        for group, members in groupby(positions, key=lambda position: self._group_of(int(rows[position]))):
            table = self._read(group) if group >= 0 else None
            for position in members:
                jpegs[position] = None if table is None else _value(table, int(rows[position]))
        return jpegs

    def _group_of(self, row: int) -> int:
        """Return the position of the row group that may have a row; -1 if none may."""
        return bisect_right(self._first_rows, row) - 1

    def _read(self, group: int) -> pa.Table:
        file, number = self._groups[group]
        with self._lock:
            return file.read_row_group(number)


def _value(table: pa.Table, row: int) -> bytes | None:
    rows = table["row"].to_pylist()
    return table["jpeg"][rows.index(row)].as_py() if row in rows else None
