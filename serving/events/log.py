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
import pyarrow.parquet as pq
import structlog
from prometheus_client import Counter

from artifacts.storage import Folder
from serving.events.parquet_sink import _PARQUET, SCHEMAS, _table

EVENTS = Counter("image_search_events_total", "Searches and clicks that were recorded.", ["kind"])
LOST = Counter("image_search_events_lost_total", "Events that could not be kept.")

#: Events in memory at most: a minute at 1,000 a second.
MOST = 60_000

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
