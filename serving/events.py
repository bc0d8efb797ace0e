"""What was searched for and what was clicked, for those who measure quality: Parquet files under a folder or URL.

    searches/date=2026-11-22/<time>-<worker>.parquet
    clicks/date=2026-11-22/<time>-<worker>.parquet

A request hands its event over and goes on: events wait in memory, and a thread writes them out every minute, each file
whole. Where that fails they wait for the next time; of more than fit, the oldest are lost, and counted.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections import defaultdict, deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from prometheus_client import Counter

from artifacts.schema import TIMESTAMP
from artifacts.storage import Folder

EVENTS = Counter("image_search_events_total", "Searches and clicks that were recorded.", ["kind"])
LOST = Counter("image_search_events_lost_total", "Events that could not be kept.")

#: Events in memory at most: a minute at 1,000 a second.
MOST = 60_000
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

_log = structlog.get_logger()


class EventLog:
    """Keeps events. Recording one never waits and never fails.

    Args:
        url: folder or URL to write to; empty: events are counted and not kept.
        seconds: between two writings.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self._folder = Folder(url) if url else None
        self._seconds = seconds
        self._events: deque[tuple[str, dict[str, Any]]] = deque()
        self._lock = threading.Lock()  # of the deque's ends
        self._writing = threading.Lock()  # one writer at a time
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="event-log", daemon=True)
        if self._folder is not None:
            self._thread.start()

    def search(self, kind: str, answer: dict[str, Any], *, cached: bool, vector: np.ndarray | None) -> None:
        """A search that was answered, with its SearchAnswer."""
        results: Sequence[dict[str, Any]] = answer["results"]
        self._add(
            "searches",
            {
                "search_id": answer["search_id"],
                "type": kind,
                "release": answer["release"],
                "milliseconds": answer["query_time_ms"],
                "cached": cached,
                "total_found": answer["total_found"],
                "product_ids": [result["product_id"] for result in results],
                "scores": [result["score"] for result in results],
                "vector": vector,
            },
        )

    def click(self, search_id: str, product_id: str, position: int) -> None:
        """Somebody chose a result."""
        self._add("clicks", {"search_id": search_id, "product_id": product_id, "position": position})

    def _add(self, kind: str, event: dict[str, Any]) -> None:
        EVENTS.labels(kind).inc()
        if self._folder is None:
            return
        event["at"] = datetime.now(UTC)
        with self._lock:
            self._events.append((kind, event))
            self._trim()

    def _trim(self) -> None:
        while len(self._events) > MOST:
            self._events.popleft()
            LOST.inc()

    def _write_on(self) -> None:
        # Workers that began together need not write together, and take all cores for it.
        while not self._stop.wait(self._seconds * random.uniform(0.5, 1.0)):
            self.flush()

    def flush(self) -> None:
        """Write out what there is."""
        if self._folder is None:
            return
        with self._writing:
            with self._lock:
                events = list(self._events)
                self._events.clear()
            groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
            for kind, event in events:
                groups[kind, f"{event['at']:%Y-%m-%d}"].append(event)
            for (kind, day), group in groups.items():
                try:
                    self._write(self._folder, kind, day, group)
                except Exception as error:  # a full disk, a store out of reach: whatever it is, it may pass
                    _log.warning("events not written", kind=kind, events=len(group), error=str(error))
                    with self._lock:
                        self._events.extendleft((kind, event) for event in reversed(group))
                        self._trim()

    def _write(self, folder: Folder, kind: str, day: str, events: list[dict[str, Any]]) -> None:
        name = f"{kind}/date={day}/{events[0]['at']:%H%M%S}-{uuid.uuid4().hex[:12]}.parquet"
        with folder.writing(name) as path:
            pq.write_table(_table(events, SCHEMAS[kind]), path, **_PARQUET[kind])

    def close(self) -> None:
        """Write out what is left, and end; for the end of a process."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.flush()


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
