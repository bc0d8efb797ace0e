"""Catalogs for tests: rows as a reader stages them, and shards as the catalog step leaves them in a workspace."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.schema import ATTRIBUTES_DIGEST, CATALOG_COLUMNS, catalog_schema, digest64, shard_of
from artifacts.storage import Folder
from jobs.catalog.report import CatalogReport
from jobs.catalog.source import Part
from jobs.catalog.staging import Staging
from jobs.workspace.records import write_record
from jobs.workspace.shards import ShardCounts, shard_name
from jobs.workspace.workspace import CATALOG_REPORT, Workspace


def stage_rows(
    reader: Callable[[Sequence[Part], Staging], None], path: Path, content: bytes, con: duckdb.DuckDBPyConnection
) -> list[list[str | None] | str]:
    """Stage a file with this content; return each row as its cells, or as the message why it is unreadable."""
    path.write_bytes(content)
    staging = Staging(con, path.with_name("staged.parquet"), lambda done, total: None)
    reader([Part(path.name, path)], staging)
    rows = pq.read_table(staging.path).to_pylist()
    assert [row["_row"] for row in rows] == list(range(1, staging.rows + 1))
    cells = [name for name in pq.read_schema(staging.path).names if name.startswith("c")]
    return [row["_unreadable"] or [row[name] for name in cells] for row in rows]


def write_catalog(
    workspace: Path,
    products: Mapping[str, Sequence[str | None]],
    *,
    shards: int = 1,
    base: str | None = None,
    price: float = 1.0,
    categories: Mapping[str, str | None] | None = None,
) -> Workspace:
    """Write catalog shards and their reports; `products` and `categories` map product_id to its pictures, category."""
    opened = Workspace.open(str(workspace), shards)
    schema = catalog_schema({})
    for shard in range(shards):
        rows = [
            dict.fromkeys(CATALOG_COLUMNS)
            | {"product_id": product, "image_url": list(urls), "price": price, ATTRIBUTES_DIGEST: digest64(str(price))}
            | {"category": (categories or {}).get(product)}
            for product, urls in products.items()
            if shard_of(product, shards) == shard
        ]

        def work(path: Path, rows: list[dict[str, object]] = rows) -> ShardCounts:
            pq.write_table(pa.Table.from_pylist(rows, schema), path)
            return ShardCounts(rows=len(rows), ok=len(rows))

        opened.catalog.run(shard, json.dumps([rows, price]), work)
    count = len(products)
    report = CatalogReport("catalog", "", base, count, count, rejected={}, attributes={}, shards=shards)
    write_record(opened.catalog.folder, CATALOG_REPORT, report)
    return opened


def read_shards(workspace: Path, step: str, shards: int = 1) -> pa.Table:
    """Read all rows of a step's output."""
    folder = Folder(workspace) / step
    return pa.concat_tables(pq.read_table(folder.local(shard_name(shard))) for shard in range(shards))
