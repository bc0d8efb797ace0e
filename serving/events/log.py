"""Records searches and clicks without delaying requests.

Events wait in memory, and a thread writes them every minute. Events that cannot be written are kept for the next
attempt; when they exceed the limit, the oldest are dropped and counted.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import structlog

from serving.events.parquet_sink import ParquetSink
from serving.metrics import EVENTS_LOST, EVENTS_RECORDED

#: Default limit of events in memory: a minute at 1,000 a second.
MAX_PENDING = 60_000

_log = structlog.get_logger()


class EventLog:
    """Collects events and writes them in the background. Recording an event never waits and never fails.

    Args:
        url: folder or URL to write to; empty: events are counted and not kept.
        seconds: interval between two writes.
        max_pending: limit of events in memory.
    """

    def __init__(self, url: str, seconds: float, max_pending: int = MAX_PENDING) -> None:
        self._sink = ParquetSink(url) if url else None
        self._seconds, self._max_pending = seconds, max_pending
        self._events: deque[tuple[str, dict[str, Any]]] = deque()
        self._events_lock = threading.Lock()
        self._flush_lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._flush_periodically, name="event-log", daemon=True)
        if self._sink is not None:
            self._thread.start()

    @property
    def pending(self) -> int:
        """Number of events that are not written yet."""
        return len(self._events)

    def search(self, search_type: str, answer: dict[str, Any], *, cached: bool, vector: np.ndarray | None) -> None:
        """Record an answered search.

        Args:
            search_type: "text", "image", "hybrid", "mixed", "similar" or "batch".
            answer: a SearchAnswer as a dictionary.
            cached: whether the answer came from the result cache.
            vector: float32[dim] of the query, if it was computed.
        """
        results: Sequence[dict[str, Any]] = answer["results"]
        self._add(
            "searches",
            {
                "search_id": answer["search_id"],
                "type": search_type,
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
        """Record a click on the result at a position, from 0."""
        self._add("clicks", {"search_id": search_id, "product_id": product_id, "position": position})

    def flush(self) -> None:
        """Write all pending events."""
        if self._sink is None:
            return
        with self._flush_lock:
            with self._events_lock:
                events = list(self._events)
                self._events.clear()
            groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
            for event_type, event in events:
                groups[event_type, f"{event['at']:%Y-%m-%d}"].append(event)
            for (event_type, _), group in groups.items():
                try:
                    self._sink.write(event_type, group)
                except Exception as error:  # a full disk, an unreachable store: each raises its own, and may recover
                    _log.warning("events not written", kind=event_type, events=len(group), error=str(error))
                    with self._events_lock:
                        self._events.extendleft((event_type, event) for event in reversed(group))
                        self._drop_excess()

    def close(self) -> None:
        """Stop the thread and write all pending events."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.flush()

    def _add(self, event_type: str, event: dict[str, Any]) -> None:
        EVENTS_RECORDED.labels(event_type).inc()
        if self._sink is None:
            return
        event["at"] = datetime.now(UTC)
        with self._events_lock:
            self._events.append((event_type, event))
            self._drop_excess()

    def _drop_excess(self) -> None:
        while len(self._events) > self._max_pending:
            self._events.popleft()
            EVENTS_LOST.inc()

    def _flush_periodically(self) -> None:
        # Random intervals: workers that started together would otherwise write at the same time and take all cores.
        while not self._stop.wait(self._seconds * random.uniform(0.5, 1.0)):
            self.flush()
