"""The state of the catalog that a segment is written with: what a refresh compares the next catalog with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.schema import ATTRIBUTES_DIGEST, STATE, picture_list, picture_source
from jobs.workspace.shards import ShardFolder


class StateRows:
    """Makes rows of STATE from the pictures of a segment's products, in their order.

    Args:
        products: with ATTRIBUTES_DIGEST and updated_at.
        pictures_digests: product -> digest of its list of pictures.
        applied_at: when the catalog was read.
    """

    def __init__(self, products: pa.Table, pictures_digests: dict[str, int], applied_at: datetime) -> None:
        self._pictures_digests, self._applied_at = pictures_digests, applied_at
        ids = products["product_id"].to_pylist()
        self._attributes = dict(zip(ids, products[ATTRIBUTES_DIGEST].to_pylist(), strict=True))
        self._updated_at = dict(zip(ids, products["updated_at"].to_pylist(), strict=True))
        self._last_product: str | None = None

    def table(
        self,
        pictures: pa.Table,
        statuses: Sequence[str],
        rows: np.ndarray,
        *,
        in_delta: np.ndarray | None = None,
    ) -> pa.Table:
        """Return the state of pictures.

        Args:
            pictures: product_id, picture, url, stamp and sha256 of each, as IMAGES has them.
            statuses: OK or a Reason.
            rows: int64[n], the segment's row of each; -1 for pictures that are not indexed.
            in_delta: bool[n], see STATE; all false if None.
        """
        ids = pictures["product_id"].to_pylist()
        first = [product_id != previous for previous, product_id in zip([self._last_product, *ids], ids, strict=False)]
        self._last_product = ids[-1] if ids else self._last_product
        sources = zip(pictures["url"].to_pylist(), pictures["stamp"].to_pylist(), strict=True)
        digests = [
            None if row < 0 or sha256 is None else bytes.fromhex(sha256)[:16]
            for row, sha256 in zip(rows.tolist(), pictures["sha256"].to_pylist(), strict=True)
        ]
        columns = {
            "product_id": ids,
            "first": first,
            "status": statuses,
            "picture": pictures["picture"].to_pylist(),
            "row": pa.array(rows, pa.int64(), mask=rows < 0),
            "in_delta": np.zeros(len(ids), bool) if in_delta is None else in_delta,
            "source": [picture_source(url, stamp) for url, stamp in sources],
            "sha256": digests,
            "attributes": [self._attributes[product_id] for product_id in ids],
            "pictures": [self._pictures_digests[product_id] for product_id in ids],
            "updated_at": [self._updated_at[product_id] for product_id in ids],
            "applied_at": [self._applied_at] * len(ids),
        }
        return pa.Table.from_arrays([pa.array(columns[field.name], field.type) for field in STATE], schema=STATE)


def picture_digests(images: ShardFolder, shard: int) -> dict[str, int]:
    """Return product -> digest of its list of pictures, of all products of an images shard."""
    with images.open(shard) as file:
        columns = pq.read_table(file, columns=["product_id", "url", "stamp"]).to_pydict()
    rows = zip(columns["product_id"], columns["url"], columns["stamp"], strict=True)
    return digests_of(rows)


def digests_of(rows: Iterable[tuple[str, str, str | None]]) -> dict[str, int]:
    """Return product -> digest of its list of pictures.

    Args:
        rows: (product_id, url, stamp) of each picture, those of a product next to each other and in order.
    """
    return {
        product_id: picture_list([(url, stamp) for _, url, stamp in pictures])
        for product_id, pictures in groupby(rows, key=lambda row: row[0])
    }
