"""gunicorn's threaded worker, which also knows how long a request waited for a thread.

In a burst all threads are busy, most with saying no. A search's time runs from its coming, not from when somebody looks
at it: otherwise what is let in would be answered when nobody listens any more.
"""

from __future__ import annotations

import threading
from time import perf_counter
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

_of_thread = threading.local()


def waited() -> float:
    """Seconds that the request of this thread waited before it was looked at; 0 where no such worker serves it."""
    return getattr(_of_thread, "waited", 0.0)


class Worker(ThreadWorker):
    """Takes down when each request comes."""

    def enqueue_req(self, conn: Any) -> None:
        # A new connection may come long before its first request does.
        conn.came = perf_counter() if conn.initialized or conn.data_ready else None
        super().enqueue_req(conn)

    def handle_request(self, req: Any, conn: Any) -> bool:
        _of_thread.waited = 0.0 if conn.came is None else perf_counter() - conn.came
        return super().handle_request(req, conn)
