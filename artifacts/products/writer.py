"""Writes the two files of a segment's product rows."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from artifacts.products.database import DUCKDB_FILE
from artifacts.products.sql import sql_name
from artifacts.products.table import ARROW_FILE

#: Columns that are read from the Arrow file only.
_NOT_IN_SQL = ("title", "image_url")


def write_products(table: pa.Table, folder: Path) -> None:
    """Write product rows as Arrow and as DuckDB.

    Args:
        table: in `segment_schema`, in the order of the vectors; the pictures of one product next to each other.
        folder: the segment's folder on this machine.
    """
    _write_arrow(table, folder / ARROW_FILE)
    _write_duckdb(table, folder / DUCKDB_FILE)


def _write_arrow(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        # One batch: a row is then found by its number alone (0.07 ms for 20 rows, against 11 ms over many batches).
        for batch in table.combine_chunks().to_batches():
            writer.write_batch(batch)


def _write_duckdb(table: pa.Table, path: Path) -> None:
    rows = table.drop_columns([name for name in _NOT_IN_SQL if name in table.schema.names])
    rows = rows.rename_columns([sql_name(table.schema, name) for name in rows.schema.names])
    rows = rows.append_column("row", pa.array(np.arange(table.num_rows)))
    with duckdb.connect(str(path)) as connection:
        connection.register("product_rows", rows)
        # `first_picture` marks one row of each product, so that products can be counted without DISTINCT.
        connection.execute(
            "CREATE TABLE products AS SELECT *, picture = min(picture) OVER (PARTITION BY product_id) AS first_picture "
            "FROM product_rows ORDER BY row"
        )
        connection.execute("CREATE INDEX by_product ON products (product_id)")
        connection.execute("CHECKPOINT")
