"""Catalog shards as the catalog step leaves them in a workspace, for the tests of the steps after it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.schema import CATALOG_COLUMNS, catalog_schema, shard_of
from artifacts.storage import Folder
from jobs.workspace import ShardCounts, open_workspace, run_shard, shard_name


def write_catalog(
    workspace: Path,
    products: Mapping[str, Sequence[str | None]],
    *,
    shards: int = 1,
    base: str | None = None,
    price: float = 1.0,
) -> None:
    """Write catalog shards and their reports; `products` maps product_id to its pictures."""
    folder = open_workspace(str(workspace), shards) / "catalog"
    schema = catalog_schema({})
    for shard in range(shards):
        rows = [
            dict.fromkeys(CATALOG_COLUMNS) | {"product_id": product, "image_url": list(urls), "price": price}
            for product, urls in products.items()
            if shard_of(product, shards) == shard
        ]

        def work(path: Path, rows: list[dict[str, object]] = rows) -> ShardCounts:
            pq.write_table(pa.Table.from_pylist(rows, schema), path)
            return ShardCounts(rows=len(rows), ok=len(rows))

        run_shard(folder, "catalog", shard, shards, json.dumps([rows, price]), work)
    folder.write_text("report.json", json.dumps({"base": base}))


def read_shards(workspace: Path, step: str, shards: int = 1) -> pa.Table:
    """All rows of a step's output."""
    folder = Folder(workspace) / step
    return pa.concat_tables(pq.read_table(folder.local(shard_name(shard))) for shard in range(shards))
