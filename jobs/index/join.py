"""Joins the products, pictures and vectors of one shard to rows of a segment, and records where the others ended."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import StepFailed
from artifacts.pictures import thumbnail
from artifacts.products.writer import first_pictures
from artifacts.schema import OK, Reason, is_http
from jobs.catalog.shards import open_products
from jobs.index.plan import IndexPlan
from jobs.index.shard_rows import JpegReader, ProductReader, VectorReader, whole_products
from jobs.index.state import state_rows
from jobs.parquet import open_for_batches
from jobs.workspace.workspace import Workspace

if TYPE_CHECKING:
    from artifacts.segments.part_writer import PartWriter

#: Columns of the pictures; JPEGs are read only where a thumbnail is made of them.
_COLUMNS = ["product_id", "picture", "url", "status", "detail", "sha256", "stamp"]


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

    The shard's products and pictures are read in step, block by block; its vectors wait in files beside the part.

    Args:
        state_writer: gets what the catalog says of the shard's products, as STATE.
        schema: of the segment's product rows.
        thumbnail_side: longest side in px.
        read_at: when the catalog was read.
        threads: that make thumbnails.

    Raises:
        StepFailed: pictures are not embedded, or are not those of the catalog's products.
    """
    vectors = VectorReader(workspace.embeddings(plan.slug), shard, plan.dim, writer.folder)
    with (
        open_products(workspace, shard) as catalog_file,
        workspace.images.open(shard) as images_file,
        ThreadPoolExecutor(threads) as pool,
    ):
        product_reader = ProductReader(open_for_batches(catalog_file))
        images = open_for_batches(images_file)
        thumbnails = _Thumbnails(images, thumbnail_side, pool)
        first = 0  # row of the images shard
        for pictures in whole_products(images, _COLUMNS):
            product_of = _product_of(pictures["product_id"])
            products = product_reader.take(int(product_of[-1]) + 1)
            _require_same_products(products, pictures, product_of, shard)
            found, statuses = _found(vectors, pictures, shard)
            embedded = ~np.isnan(found[:, 0])
            _count(pictures, product_of, statuses, embedded, tally)
            rows = np.where(embedded, writer.next_row + np.cumsum(embedded) - 1, -1)
            state_writer.write_table(state_rows(products, pictures, product_of, statuses, rows, read_at))
            if embedded.any():
                good = pictures.filter(pa.array(embedded))
                jpegs = thumbnails.make(good["url"].to_pylist(), first + np.flatnonzero(embedded))
                writer.add(_product_rows(products, good, product_of[embedded], schema), found[embedded], jpegs)
            first += pictures.num_rows
        if product_reader.take(1).num_rows:
            raise _other_products(shard)


def _product_of(product_ids: pa.ChunkedArray) -> np.ndarray:
    """Return the position of each picture's product among those of the pictures, int64[n]."""
    return np.cumsum(first_pictures(product_ids)) - 1


def _require_same_products(products: pa.Table, pictures: pa.Table, product_of: np.ndarray, shard: int) -> None:
    first = np.flatnonzero(np.diff(product_of, prepend=-1))
    if products["product_id"].to_pylist() != pictures["product_id"].take(pa.array(first)).to_pylist():
        raise _other_products(shard)


def _other_products(shard: int) -> StepFailed:
    return StepFailed(f"shard {shard} has pictures of other products than the catalog's; run the download step again")


def _found(vectors: VectorReader, pictures: pa.Table, shard: int) -> tuple[np.ndarray, list[str]]:
    """Return the vectors float16[n, dim] of pictures, NaN where there is none, and their statuses."""
    positions = vectors.positions(pictures["sha256"])
    statuses = pictures["status"].to_pylist()
    if OK in (statuses[index] for index in np.flatnonzero(positions < 0).tolist()):
        raise StepFailed(f"shard {shard} has pictures that are not embedded yet; run the embed step again")
    found = vectors.take(positions)
    for index in np.flatnonzero(np.isnan(found[:, 0])).tolist():
        if statuses[index] == OK:
            statuses[index] = Reason.BAD_EMBEDDING
    return found, statuses


def _count(pictures: pa.Table, product_of: np.ndarray, statuses: list[str], embedded: np.ndarray, tally: Tally) -> None:
    """Count products and failed pictures in the tally; a product is rejected for the first of its pictures."""
    indexed = np.zeros(int(product_of[-1]) + 1, bool)
    indexed[product_of[embedded]] = True
    tally.indexed += int(indexed.sum())
    last_rejected = -1
    for index in np.flatnonzero(~embedded).tolist():
        reason, product = statuses[index], int(product_of[index])
        if indexed[product]:
            tally.failed_pictures[reason] += 1
        elif product != last_rejected:
            detail = pictures["detail"][index].as_py() or ""
            if reason == Reason.BAD_EMBEDDING:
                detail = "the encoder returned no usable vector for the picture"
            tally.rejected[reason] += 1
            tally.rejects.append(
                {
                    "product_id": pictures["product_id"][index].as_py(),
                    "reason": reason,
                    "detail": f"{pictures['url'][index].as_py()}: {detail}",
                }
            )
            last_rejected = product


def _product_rows(products: pa.Table, pictures: pa.Table, product_of: np.ndarray, schema: pa.Schema) -> pa.Table:
    """One product row for each picture, in the pictures' order."""
    rows = products.take(pa.array(product_of))
    columns = {
        **{name: rows[name] for name in schema.names if name in rows.column_names},
        "picture": pictures["picture"],
        "image_url": pictures["url"],
    }
    return pa.table([columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema)


class _Thumbnails:
    """Makes thumbnails of the pictures of an images shard that browsers cannot fetch by their own URL."""

    def __init__(self, images: pq.ParquetFile, side: int, pool: ThreadPoolExecutor) -> None:
        self._jpegs, self._pool = JpegReader(images), pool
        self._thumbnail = partial(thumbnail, side=side)

    def make(self, urls: list[str], rows: np.ndarray) -> list[bytes | None]:
        """Return a thumbnail for each picture that needs one.

        Args:
            rows: int64[n] of the images shard, ascending.
        """
        local = [index for index, url in enumerate(urls) if not is_http(url)]
        thumbnails: list[bytes | None] = [None] * len(urls)
        blocks = self._jpegs.blocks(rows[local])
        made = chain.from_iterable(self._pool.map(self._thumbnail, jpegs) for jpegs in blocks)
        for index, jpeg in zip(local, made, strict=True):
            thumbnails[index] = jpeg
        return thumbnails
