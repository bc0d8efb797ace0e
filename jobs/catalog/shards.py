"""The files of the catalog step: shards of products, and the rows that were rejected."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import StepFailed
from artifacts.schema import REJECTS
from jobs.parquet import read_parquet
from jobs.workspace.shards import ShardCounts, shard_name
from jobs.workspace.workspace import CATALOG_REJECTS, Workspace

#: Rows of a Parquet row group; they shape a shard's bytes.
GROUP_ROWS = 65_536
#: Selects the table `rejected` as REJECTS, in the order of the catalog's rows.
REJECTS_QUERY = "SELECT _row, product_id, reason, detail FROM rejected ORDER BY _row"


def write_shard(con: duckdb.DuckDBPyConnection, shard: int, schema: pa.Schema, path: Path) -> ShardCounts:
    """Write one shard of the table `accepted` as Parquet."""
    query = f"SELECT * EXCLUDE (_shard) FROM accepted WHERE _shard = {shard}"  # noqa: S608 (a number of our own)
    rows = write_query(con, query, schema, path)
    return ShardCounts(rows, rows)


def write_rejects(con: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
    """Write the table `rejected` as REJECTS, in the order of the catalog's rows."""
    with workspace.catalog.folder.writing(CATALOG_REJECTS) as path:
        write_query(con, REJECTS_QUERY, REJECTS, path)


def write_query(con: duckdb.DuckDBPyConnection, query: str, schema: pa.Schema, path: Path) -> int:
    """Write a query's rows as Parquet whose bytes depend on the rows alone, not on the batches they came in."""
    pending: list[pa.Table] = []
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in con.sql(query).to_arrow_reader(GROUP_ROWS):
            pending.append(pa.Table.from_batches([batch]).rename_columns(schema.names).cast(schema))
            rows += len(batch)
            while sum(map(len, pending)) >= GROUP_ROWS:
                table = pa.concat_tables(pending)
                writer.write_table(table.slice(0, GROUP_ROWS).combine_chunks())
                pending = [table.slice(GROUP_ROWS)]
        writer.write_table(pa.concat_tables([*pending, schema.empty_table()]).combine_chunks())
    return rows


def open_products(workspace: Workspace, shard: int) -> IO[bytes]:
    """Return the file of one shard for reading: products as catalog_schema has them, sorted by product_id.

    Raises:
        StepFailed: the shard has not been written.
    """
    shards = workspace.catalog
    if not shards.exists(shard):
        raise StepFailed(f"{shards.url} has no {shard_name(shard)}: run the catalog step")
    return shards.open(shard)


def product_schema(workspace: Workspace) -> pa.Schema:
    """Return the schema of the products, catalog_schema; see `open_products`."""
    with open_products(workspace, 0) as file:
        return pq.read_schema(file)


def read_products(workspace: Workspace, shard: int) -> pa.Table:
    """Return the products of one shard; see `open_products`."""
    with open_products(workspace, shard) as file:
        return read_parquet(file)


def read_rejects(workspace: Workspace) -> pa.Table:
    """Return the catalog's rejected rows, as REJECTS."""
    with workspace.catalog.folder.open(CATALOG_REJECTS) as file:
        return read_parquet(file).cast(REJECTS)
