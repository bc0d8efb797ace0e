"""TODO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from artifacts.schema import TIMESTAMP

#: Events turned into Arrow's form at a time. Python runs nothing else meanwhile: 2 ms for so many.
_AT_ONCE = 500

SCHEMAS = {
    "searches": pa.schema(
        [
            pa.field("at", TIMESTAMP),
            pa.field("search_id", pa.string()),
            pa.field("type", pa.string()),  # text, image, hybrid, mixed, similar, batch
            pa.field("release", pa.string()),
            pa.field("milliseconds", pa.float64()),
            pa.field("cached", pa.bool_()),
            pa.field("total_found", pa.int64()),
            pa.field("product_ids", pa.list_(pa.string())),  # in the order shown
            pa.field("scores", pa.list_(pa.float32())),
            pa.field("vector", pa.list_(pa.float32())),  # of the query; null where the answer was from the cache
        ]
    ),
    "clicks": pa.schema(
        [
            pa.field("at", TIMESTAMP),
            pa.field("search_id", pa.string()),
            pa.field("product_id", pa.string()),
            pa.field("position", pa.int64()),  # from 0
        ]
    ),
}

#: How each is written. Numbers that are all different fill no dictionary; to look whether they do takes four times as
#: long as to write them.
_PARQUET = {
    kind: {
        "compression": "zstd",
        "use_dictionary": [field.name for field in schema if field.name in ("type", "release", "product_id")],
        "use_byte_stream_split": [
            f"{field.name}.list.element" for field in schema if field.type == pa.list_(pa.float32())
        ],
    }
    for kind, schema in SCHEMAS.items()
}


def _table(events: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Events as a table. Vectors go there as they are: number by number they would hold up the requests."""
    parts = [schema.empty_table()]
    for start in range(0, len(events), _AT_ONCE):
        columns: dict[str, pa.Array] = {}
        for field in schema:
            values = [event[field.name] for event in events[start : start + _AT_ONCE]]
            columns[field.name] = _vectors(values) if field.name == "vector" else pa.array(values, field.type)
        parts.append(pa.table(columns, schema))
    return pa.concat_tables(parts)


def _vectors(vectors: Sequence[np.ndarray | None]) -> pa.Array:
    """list<float> of float32[dim] and None."""
    there = [vector for vector in vectors if vector is not None]
    lengths = [0 if vector is None else len(vector) for vector in vectors]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    numbers = np.concatenate(there) if there else np.empty(0, np.float32)
    mask = pa.array([vector is None for vector in vectors])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(numbers, pa.float32()), mask=mask)
