"""Joins the products, pictures and vectors of one shard to rows of a segment, and records where the others ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artifacts.errors import StepFailed
from artifacts.pictures import thumbnail
from artifacts.schema import OK, Reason, is_http
from jobs.catalog.shards import read_products
from jobs.index.plan import IndexPlan
from jobs.index.state import StateRows, picture_digests
from jobs.workspace.shards import ShardFolder
from jobs.workspace.workspace import Workspace

if TYPE_CHECKING:
    from artifacts.segments.part_writer import PartWriter

#: Pictures that are joined and written at once.
_BATCH = 1024


@dataclass
class Tally:
    """Counts of the products and pictures of a part's shards so far, and the rejects to write."""

    indexed: int = 0  # products
    rejected: Counter[str] = field(default_factory=Counter)  # Reason -> products
    failed_pictures: Counter[str] = field(default_factory=Counter)  # Reason -> pictures of indexed products
    rejects: list[dict[str, object]] = field(default_factory=list)  # rows of REJECTS


def add_shard(
    workspace: Workspace,
    shard: int,
    plan: IndexPlan,
    writer: PartWriter,
    state_writer: pq.ParquetWriter,
    tally: Tally,
    *,
    schema: pa.Schema,
    thumbnail_side: int,
    read_at: datetime,
    threads: int,
) -> None:
    """Append one shard's pictures to a part, and count its products in the tally.

    Args:
        state_writer: gets what the catalog says of the shard's products, as STATE.
        schema: of the segment's product rows.
        thumbnail_side: longest side in px.
        read_at: when the catalog was read.
        threads: that make thumbnails.
    """
    products = read_products(workspace, shard)
    state = StateRows(products, picture_digests(workspace.images, shard), read_at)
    with workspace.embeddings(plan.slug).open(shard) as file:
        embeddings = pq.read_table(file)
    vectors = _vectors(embeddings, plan.dim)
    usable = embeddings["status"].to_numpy() == OK
    indexed: set[str] = set()
    failures: dict[str, list[tuple[str, str]]] = {}  # product -> (reason, detail) of each picture that failed
    with ThreadPoolExecutor(threads) as pool:
        for batch in _batches(workspace.images, shard):
            positions = _positions(batch["sha256"], embeddings["sha256"])
            embedded = (positions >= 0) & usable[positions] if len(usable) else positions >= 0
            statuses = batch["status"].to_pylist()
            if OK in (statuses[index] for index in np.flatnonzero(positions < 0).tolist()):
                raise StepFailed(f"shard {shard} has pictures that are not embedded yet; run the embed step again")
            for index in np.flatnonzero(~embedded).tolist():
                reason, detail = statuses[index], batch["detail"][index].as_py() or ""
                if reason == OK:
                    reason, detail = Reason.BAD_EMBEDDING, "the encoder returned no usable vector for the picture"
                    statuses[index] = reason
                detail = f"{batch['url'][index].as_py()}: {detail}"
                failures.setdefault(batch["product_id"][index].as_py(), []).append((reason, detail))
            rows = np.where(embedded, writer.next_row + np.cumsum(embedded) - 1, -1)
            state_writer.write_table(state.table(batch, statuses, rows))
            good = batch.filter(pa.array(embedded))
            if good.num_rows == 0:
                continue
            indexed.update(good["product_id"].to_pylist())
            jpegs = _thumbnails(good, thumbnail_side, pool)
            writer.add(_product_rows(products, good, schema), vectors[positions[embedded]], jpegs)
    for product_id in products["product_id"].to_pylist():
        if product_id not in indexed:
            # Every product has a row in the images: the catalog step rejects products without pictures.
            reason, detail = failures[product_id][0]
            tally.rejected[reason] += 1
            tally.rejects.append({"product_id": product_id, "reason": reason, "detail": detail})
    for product_id, reasons in failures.items():
        if product_id in indexed:
            tally.failed_pictures.update(reason for reason, _ in reasons)
    tally.indexed += len(indexed)


def _batches(images: ShardFolder, shard: int) -> Iterator[pa.Table]:
    with images.open(shard) as file:
        for batch in pq.ParquetFile(file).iter_batches(_BATCH):
            yield pa.Table.from_batches([batch])


def _vectors(embeddings: pa.Table, dim: int) -> np.ndarray:
    """float16[rows, dim]; rows without a vector are undefined."""
    column = embeddings["vector"].combine_chunks()
    return column.values.to_numpy(zero_copy_only=False).reshape(-1, dim).astype(np.float16, copy=False)


def _positions(values: pa.ChunkedArray, column: pa.ChunkedArray) -> np.ndarray:
    """Return the position of each value in a column, int64[n]; -1 where the value is null or not in the column."""
    options = pc.SetLookupOptions(value_set=column, skip_nulls=True)
    return pc.call_function("index_in", [values], options).fill_null(-1).to_numpy().astype(np.int64)


def _product_rows(products: pa.Table, pictures: pa.Table, schema: pa.Schema) -> pa.Table:
    """One product row for each picture, in the pictures' order."""
    rows = products.take(pa.array(_positions(pictures["product_id"], products["product_id"])))
    columns = {
        **{name: rows[name] for name in schema.names if name in rows.column_names},
        "picture": pictures["picture"],
        "image_url": pictures["url"],
    }
    return pa.table([columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema)


def _thumbnails(pictures: pa.Table, side: int, pool: ThreadPoolExecutor) -> list[bytes | None]:
    """Return a thumbnail for each picture that browsers cannot fetch by its own URL."""
    urls = pictures["url"].to_pylist()
    local = [index for index, url in enumerate(urls) if not is_http(url)]
    thumbnails: list[bytes | None] = [None] * len(urls)
    jpegs = pictures["jpeg"].take(pa.array(local, pa.int64())).to_pylist()
    for index, jpeg in zip(local, pool.map(partial(thumbnail, side=side), jpegs), strict=True):
        thumbnails[index] = jpeg
    return thumbnails
