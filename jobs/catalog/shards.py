"""TODO."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import StepFailed
from artifacts.schema import REJECTS
from artifacts.storage import Folder
from jobs.catalog.report import STEP
from jobs.workspace import ShardCounts, shard_name

REJECTS_FILE = "rejects.parquet"
#: Rows of a Parquet row group: part of a shard's bytes.
GROUP_ROWS = 65_536


def _write(con: duckdb.DuckDBPyConnection, query: str, schema: pa.Schema, path: Path) -> int:
    """Write a query's rows as Parquet whose bytes depend on the rows alone, not on how they came in batches."""
    held: list[pa.Table] = []
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in con.sql(query).to_arrow_reader(GROUP_ROWS):
            held.append(pa.Table.from_batches([batch]).rename_columns(schema.names).cast(schema))
            rows += len(batch)
            while sum(map(len, held)) >= GROUP_ROWS:
                table = pa.concat_tables(held)
                writer.write_table(table.slice(0, GROUP_ROWS).combine_chunks())
                held = [table.slice(GROUP_ROWS)]
        writer.write_table(pa.concat_tables([*held, schema.empty_table()]).combine_chunks())
    return rows


def write_shard(con: duckdb.DuckDBPyConnection, shard: int, schema: pa.Schema, path: Path) -> ShardCounts:
    query = f"SELECT * EXCLUDE (_shard) FROM accepted WHERE _shard = {shard}"  # noqa: S608 — a number of ours
    rows = _write(con, query, schema, path)
    return ShardCounts(rows, rows)


def write_rejects(con: duckdb.DuckDBPyConnection, folder: Folder) -> None:
    with folder.writing(REJECTS_FILE) as path:
        _write(con, "SELECT _row, product_id, reason, detail FROM rejected ORDER BY _row", REJECTS, path)


def read_products(workspace: Folder, shard: int) -> pa.Table:
    """The products of one shard, as catalog_schema has them, sorted by product_id.

    Raises:
        StepFailed: the shard has not been written.
    """
    folder = workspace / STEP
    if not folder.exists(shard_name(shard)):
        raise StepFailed(f"{folder.url} has no {shard_name(shard)}: run the catalog step")
    with folder.open(shard_name(shard)) as file:
        return pq.read_table(file)
