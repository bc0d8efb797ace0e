"""Writes events as Parquet files, one folder per event type and day.

searches/date=2026-11-22/<time>-<random>.parquet
clicks/date=2026-11-22/<time>-<random>.parquet
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.schema import TIMESTAMP
from artifacts.storage import Folder

#: Events converted to Arrow at a time. The conversion holds the GIL, for 2 ms with this many events.
_CONVERTED_AT_ONCE = 500

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
            pa.field("product_ids", pa.list_(pa.string())),  # in the order of the answer
            pa.field("scores", pa.list_(pa.float32())),
            pa.field("vector", pa.list_(pa.float32())),  # of the query; null where the answer came from the cache
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

#: Options of `pq.write_table` by event type. Columns of distinct numbers gain nothing from a dictionary, and trying to
#: build one takes four times as long as writing them.
_WRITE_OPTIONS = {
    event_type: {
        "compression": "zstd",
        "use_dictionary": [field.name for field in schema if field.name in ("type", "release", "product_id")],
        "use_byte_stream_split": [
            f"{field.name}.list.element" for field in schema if field.type == pa.list_(pa.float32())
        ],
    }
    for event_type, schema in SCHEMAS.items()
}


class ParquetSink:
    """Writes events under a folder.

    Args:
        url: folder or URL.
    """

    def __init__(self, url: str) -> None:
        self._folder = Folder(url)

    def write(self, event_type: str, events: Sequence[dict[str, Any]]) -> None:
        """Write events of one type and one day to a new file, which appears complete or not at all.

        Args:
            event_type: a key of `SCHEMAS`.
            events: at least one, oldest first; values by column name.
        """
        first = events[0]["at"]
        name = f"{event_type}/date={first:%Y-%m-%d}/{first:%H%M%S}-{uuid.uuid4().hex[:12]}.parquet"
        with self._folder.writing(name) as path:
            pq.write_table(_table(events, SCHEMAS[event_type]), path, **_WRITE_OPTIONS[event_type])


def _table(events: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    parts = [schema.empty_table()]
    for start in range(0, len(events), _CONVERTED_AT_ONCE):
        columns: dict[str, pa.Array] = {}
        for field in schema:
            values = [event[field.name] for event in events[start : start + _CONVERTED_AT_ONCE]]
            columns[field.name] = _vector_array(values) if field.name == "vector" else pa.array(values, field.type)
        parts.append(pa.table(columns, schema))
    return pa.concat_tables(parts)


def _vector_array(vectors: Sequence[np.ndarray | None]) -> pa.Array:
    """Convert float32[dim] vectors and None to an Arrow list array, without converting each number by itself."""
    present = [vector for vector in vectors if vector is not None]
    lengths = [0 if vector is None else len(vector) for vector in vectors]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    numbers = np.concatenate(present) if present else np.empty(0, np.float32)
    mask = pa.array([vector is None for vector in vectors])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(numbers, pa.float32()), mask=mask)
