"""Writes a workspace as the steps before the index leave it, with drawn vectors and no pictures."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.encoders.identity import EncoderIdentity
from artifacts.schema import IMAGES, OK, REJECTS, catalog_schema, embeddings_schema
from jobs.bench.vectors import RECIPE, ClipLike, Drawn
from jobs.catalog.report import CatalogReport
from jobs.steps import Progress, no_progress
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.records import write_record
from jobs.workspace.shards import ShardCounts
from jobs.workspace.workspace import CATALOG_REJECTS, CATALOG_REPORT, Workspace

_READ_AT = datetime(2026, 1, 1, tzinfo=UTC)
#: Rows of a Parquet row group.
_GROUP = 8192


def draw_workspace(
    workspace: Workspace, identity: EncoderIdentity, rows: int, seed: int, progress: Progress = no_progress
) -> None:
    """Write the shards of `rows` products with one picture each, unless an earlier run has.

    Args:
        identity: of the encoder that the vectors are said to be of.
        progress: called with shards.
    """
    space = ClipLike(identity.dim, seed)
    bounds = [rows * shard // workspace.shards for shard in range(workspace.shards + 1)]
    for shard, (first, stop) in enumerate(pairwise(bounds)):
        inputs = fingerprint("drawn", RECIPE, identity.id, rows, seed, workspace.shards)
        if workspace.embeddings(identity.slug).unchanged(shard, inputs) is None:
            blocks = list(space.pictures(stop - first, seed + 1 + shard))
            drawn = Drawn(*(np.concatenate(part) for part in zip(*((b.vectors, b.categories) for b in blocks),
                                                                 strict=True)))  # fmt: skip
            for folder, table in (
                (workspace.catalog, _products(first, drawn.categories)),
                (workspace.images, _pictures(first, stop)),
                (workspace.embeddings(identity.slug), _embeddings(first, drawn.vectors)),
            ):
                folder.run(shard, inputs, partial(_write, table))
        progress(shard + 1, workspace.shards)
    with workspace.catalog.folder.writing(CATALOG_REJECTS) as path:
        pq.write_table(REJECTS.empty_table(), path)
    report = CatalogReport("drawn", "drawn", None, rows, rows, {}, {}, workspace.shards, read_at=_READ_AT)
    write_record(workspace.catalog.folder, CATALOG_REPORT, report)


def _write(table: pa.Table, path: Path) -> ShardCounts:
    pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=_GROUP)
    return ShardCounts(len(table), len(table), pictures=len(table))


def _ids(first: int, stop: int) -> pa.Array:
    return pa.array([f"p{number:09d}" for number in range(first, stop)])


def _digests(first: int, stop: int) -> pa.Array:
    """Stand for the sha256 of pictures; ascending."""
    return pa.array([f"{number:064x}" for number in range(first, stop)])


def _products(first: int, categories: np.ndarray) -> pa.Table:
    schema = catalog_schema({})
    count = len(categories)
    random = np.random.default_rng(first)
    ids = _ids(first, first + count)
    columns: dict[str, pa.Array] = {
        "product_id": ids,
        "image_url": pa.array([[f"https://shop.example/{name}.jpg"] for name in ids.to_pylist()]),
        "title": pa.array([f"Product {number} of kind {kind}" for number, kind in enumerate(categories.tolist())]),
        "category": pa.array([f"c{number:03d}" for number in categories.tolist()]),
        "brand": pa.array([f"b{number:03d}" for number in random.integers(0, 500, count).tolist()]),
        "price": pa.array(np.round(random.lognormal(3, 1, count), 2)),
        "attributes_digest": pa.array(random.integers(0, 2**63, count).astype(np.uint64)),
    }
    arrays = [columns.get(field.name, pa.nulls(count, field.type)).cast(field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _pictures(first: int, stop: int) -> pa.Table:
    count = stop - first
    ids = _ids(first, stop)
    columns: dict[str, pa.Array] = {
        "product_id": ids,
        "picture": pa.array(np.zeros(count, np.int32)),
        "url": pa.array([f"https://shop.example/{name}.jpg" for name in ids.to_pylist()]),
        "status": pa.array([OK] * count),
        "sha256": _digests(first, stop),
    }
    arrays = [columns.get(field.name, pa.nulls(count, field.type)).cast(field.type) for field in IMAGES]
    return pa.Table.from_arrays(arrays, schema=IMAGES)


def _embeddings(first: int, vectors: np.ndarray) -> pa.Table:
    count, dim = vectors.shape
    schema = embeddings_schema(dim)
    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).reshape(-1)), dim)
    columns = [_digests(first, first + count), pa.array([OK] * count), values.cast(schema.types[2])]
    return pa.Table.from_arrays(columns, schema=schema)
