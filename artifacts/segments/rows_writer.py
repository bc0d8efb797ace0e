"""Writes the rows of a segment while they stream in, part by part, and seals its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.index.vectors import Vectors
from artifacts.products.database import DUCKDB_FILE
from artifacts.products.table import ARROW_FILE
from artifacts.products.writer import ProductCounts, numbered_rows, write_database
from artifacts.schema import STATE
from artifacts.segments.info import STATE_FILE, PartInfo, SegmentInfo, part_name
from artifacts.segments.part_writer import PartWriter, check_shape
from artifacts.segments.sealing import seal_segment


class RowsWriter:
    """Writes vectors, product rows, thumbnails and the catalog's state into an empty folder on this machine.

    Args:
        folder: created if it does not exist.
        dim: length of a vector.
        schema: of the product rows, see `segment_schema`.
        rows_per_part: after so many rows the next part begins; None for one part of all rows.

    Attributes:
        counts: of the products so far.

    Raises:
        FileExistsError: the folder contains a segment, or the beginning of one.
    """

    def __init__(self, folder: Path, dim: int, schema: pa.Schema, rows_per_part: int | None = None) -> None:
        self.folder, self.dim, self.schema = folder, dim, schema
        self.counts = ProductCounts()
        self._rows_per_part = rows_per_part
        self._parts = [PartWriter(folder / part_name(0), dim, schema)]
        self._state: pq.ParquetWriter | None = None

    @property
    def rows(self) -> int:
        """Number of rows so far."""
        return self._parts[-1].first_row + self._parts[-1].rows

    def add(self, products: pa.Table, vectors: np.ndarray, thumbnails: Sequence[bytes | None] = ()) -> None:
        """Append rows; see PartWriter.add."""
        check_shape(products, vectors, self.dim)
        start = 0
        while start < len(vectors):
            part = self._part()
            space = len(vectors) if self._rows_per_part is None else self._rows_per_part - part.rows
            stop = min(len(vectors), start + space)
            part.add(products.slice(start, stop - start), vectors[start:stop], thumbnails[start:stop])
            start = stop
        self.counts.add(products["product_id"])

    def _part(self) -> PartWriter:
        """Return the part that has space for further rows."""
        last = self._parts[-1]
        if self._rows_per_part is not None and last.rows >= self._rows_per_part:
            last.close()
            last = PartWriter(self.folder / part_name(len(self._parts)), self.dim, self.schema, self.rows)
            self._parts.append(last)
        return last

    def add_state(self, state: pa.Table) -> None:
        """Append what the catalog says of products, as STATE."""
        if self._state is None:
            self._state = pq.ParquetWriter(self.folder / STATE_FILE, STATE, compression="zstd")
        self._state.write_table(state)

    def close(self) -> None:
        """Complete the files that rows were streamed into."""
        self._parts[-1].close()
        if self._state:
            self._state.close()

    def write_database(self) -> None:
        """Write the rows that SQL needs, from the completed files."""
        write_database(self.folder / DUCKDB_FILE, self.schema, [self.numbered_rows()])

    def numbered_rows(self, first_row: int = 0) -> Iterator[pa.RecordBatch]:
        """Yield all product rows with their numbers, for `write_database`.

        Args:
            first_row: number of the first row.
        """
        for part in self._parts:
            yield from numbered_rows(part.folder / ARROW_FILE, first_row + part.first_row)

    def parts(self) -> list[tuple[Path, np.ndarray]]:
        """Return the folder of each part, and its vectors float16[rows, dim], mapped."""
        return [(part.folder, part.vectors()) for part in self._parts]

    def vectors(self) -> Vectors:
        """Return all vectors, mapped."""
        return Vectors(*(part.vectors() for part in self._parts))

    def seal(self, info: SegmentInfo) -> SegmentInfo:
        """Write segment.json; see `seal_segment`."""
        parts = [PartInfo(rows=part.rows) for part in self._parts]
        return seal_segment(self.folder, info.model_copy(update={"parts": parts}))
