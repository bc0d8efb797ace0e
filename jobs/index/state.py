"""The state of the catalog that a segment is written with: what a refresh compares the next catalog with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa

from artifacts.schema import ATTRIBUTES_DIGEST, STATE, picture_list, picture_source


def state_rows(
    products: pa.Table,
    pictures: pa.Table,
    product_of: np.ndarray,
    statuses: Sequence[str],
    rows: np.ndarray,
    applied_at: datetime,
) -> pa.Table:
    """Return the state of products as STATE, one row for each picture, in their order.

    Args:
        products: with ATTRIBUTES_DIGEST and updated_at.
        pictures: all of these products: product_id, picture, url, stamp and sha256 of each, as IMAGES has them.
        product_of: int64[n], the position of each picture's product; ascending.
        statuses: OK or a Reason.
        rows: int64[n], the segment's row of each; -1 for pictures that are not indexed.
        applied_at: when the catalog was read.
    """
    sources = list(zip(pictures["url"].to_pylist(), pictures["stamp"].to_pylist(), strict=True))
    digests = [
        None if row < 0 or sha256 is None else bytes.fromhex(sha256)[:16]
        for row, sha256 in zip(rows.tolist(), pictures["sha256"].to_pylist(), strict=True)
    ]
    bounds = np.searchsorted(product_of, np.arange(products.num_rows + 1)).tolist()
    lists = [picture_list(sources[first:stop]) for first, stop in pairwise(bounds)]
    positions = pa.array(product_of)
    columns = {
        "product_id": pictures["product_id"],
        "first": np.diff(product_of, prepend=-1) > 0,
        "status": statuses,
        "picture": pictures["picture"],
        "row": pa.array(rows, pa.int64(), mask=rows < 0),
        "in_delta": np.zeros(len(rows), bool),
        "source": [picture_source(url, stamp) for url, stamp in sources],
        "sha256": digests,
        "attributes": products[ATTRIBUTES_DIGEST].take(positions),
        "pictures": pa.array(lists, pa.uint64()).take(positions),
        "updated_at": products["updated_at"].take(positions),
        "applied_at": [applied_at] * len(rows),
    }
    arrays = [
        column if isinstance(column := columns[field.name], pa.ChunkedArray) else pa.array(column, field.type)
        for field in STATE
    ]
    return pa.Table.from_arrays(arrays, schema=STATE)
