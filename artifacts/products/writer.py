"""Writes the files of a segment's product rows: rows stream in, and a batch of them is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artifacts.products.sql import sql_name
from artifacts.products.table import BATCH_ROWS

#: Columns that are read from the Arrow file only.
_NOT_IN_SQL = ("title", "image_url")
#: Rows that DuckDB is given at a time.
_SQL_ROWS = 65_536


class ProductCounts:
    """Counts the products of rows that stream in, the pictures of one product next to each other.

    Attributes:
        products: number so far.
        max_pictures: of one product.
    """

    def __init__(self) -> None:
        self.products = self.max_pictures = 0
        self._last_product: str | None = None
        self._last_pictures = 0  # of that product, so far

    def add(self, product_ids: pa.ChunkedArray) -> None:
        """Count further rows."""
        rows = len(product_ids)
        if not rows:
            return
        starts = np.flatnonzero(first_pictures(product_ids, self._last_product))
        continued = int(starts[0]) if len(starts) else rows
        pictures = np.diff(starts, append=rows)
        self.max_pictures = max(self.max_pictures, self._last_pictures + continued, int(pictures.max(initial=0)))
        self._last_pictures = int(pictures[-1]) if len(starts) else self._last_pictures + continued
        self._last_product = product_ids[-1].as_py()
        self.products += len(starts)


class ArrowWriter:
    """Writes rows in batches of BATCH_ROWS: a row is found by its number alone, and few batches make one answer."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, schema)
        self._pending: list[pa.Table] = []
        self._pending_rows = 0

    def add(self, rows: pa.Table) -> None:
        """Append rows of the schema."""
        self._pending.append(rows)
        self._pending_rows += rows.num_rows
        while self._pending_rows >= BATCH_ROWS:
            table = pa.concat_tables(self._pending)
            self._write(table.slice(0, BATCH_ROWS))
            self._pending = [table.slice(BATCH_ROWS)]
            self._pending_rows -= BATCH_ROWS

    def close(self) -> None:
        """Complete the file."""
        if self._sink.closed:
            return
        if self._pending_rows:
            self._write(pa.concat_tables(self._pending))
        self._pending = []
        self._writer.close()
        self._sink.close()

    def _write(self, table: pa.Table) -> None:
        for batch in table.combine_chunks().to_batches():
            self._writer.write_batch(batch)


def numbered_rows(path: Path, first_row: int = 0) -> Iterator[pa.RecordBatch]:
    """Yield the rows of an Arrow file with their numbers, for `write_database`.

    Args:
        first_row: number of the first row.
    """
    with pa.memory_map(str(path)) as mapped:
        file = pa.ipc.open_file(mapped)
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            for start in range(0, batch.num_rows, _SQL_ROWS):
                block = batch.slice(start, _SQL_ROWS)
                rows = np.arange(first_row, first_row + block.num_rows, dtype=np.int64)
                yield signed_rows(block, rows, 1)
                first_row += block.num_rows


def signed_rows(batch: pa.RecordBatch, rows: np.ndarray, sign: int) -> pa.RecordBatch:
    """Return product rows with their numbers int64[n] and their sign in counts, 1 or -1."""
    numbered = batch.append_column("row", pa.array(rows, pa.int64()))
    return numbered.append_column("sign", pa.array(np.full(len(rows), sign, np.int8)))


def write_database(path: Path, schema: pa.Schema, sources: Iterable[Iterable[pa.RecordBatch]]) -> None:
    """Write product rows as a DuckDB file.

    Args:
        schema: of the product rows.
        sources: of batches as `signed_rows` returns them; the pictures of a product are next to each other, and in
            one source.
    """
    names = [name for name in schema.names if name not in _NOT_IN_SQL]
    table_schema = pa.schema(
        [
            *(pa.field(sql_name(schema, name), schema.field(name).type) for name in names),
            pa.field("row", pa.int64()),
            pa.field("sign", pa.int8()),
            # Marks one row of each product, so that products can be counted without DISTINCT.
            pa.field("first_picture", pa.bool_()),
        ]
    )

    def batches() -> Iterator[pa.RecordBatch]:
        for source in sources:
            last_product: str | None = None
            for batch in source:
                if not batch.num_rows:
                    continue
                first = pa.array(first_pictures(batch["product_id"], last_product))
                last_product = batch["product_id"][-1].as_py()
                columns = [batch[name] for name in (*names, "row", "sign")]
                yield pa.RecordBatch.from_arrays([*columns, first], schema=table_schema)

    with duckdb.connect(str(path)) as connection:
        connection.register("product_rows", pa.RecordBatchReader.from_batches(table_schema, batches()))
        connection.execute("CREATE TABLE products AS SELECT * FROM product_rows")
        connection.execute("CREATE INDEX by_product ON products (product_id)")
        connection.execute("CHECKPOINT")


def first_pictures(product_ids: pa.Array | pa.ChunkedArray, previous: str | None = None) -> np.ndarray:
    """Return which rows begin a product, bool[n].

    Args:
        product_ids: of the rows, at least one.
        previous: product of the row before; None if there is none.
    """
    first = np.empty(len(product_ids), bool)
    first[0] = product_ids[0].as_py() != previous
    neighbors = [product_ids.slice(1), product_ids.slice(0, len(product_ids) - 1)]
    first[1:] = np.asarray(pc.call_function("not_equal", neighbors))
    return first
