"""gunicorn's threaded worker, with two things that gunicorn's own does not do.

It knows how long a request waited for a thread. In a burst all threads are busy, most with saying no; a search's time
runs from its coming, not from when somebody looks at it, or what is let in would be answered when nobody listens any
more.

And it ends a connection after some requests, saying so with the last answer. A connection stays with its worker; one
that takes the place of another would have next to nothing to do as long as the callers kept those to the others.
"""

from __future__ import annotations

import threading
from time import perf_counter
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

#: Requests on one connection. To make a new one costs less than a request, once in so many.
_REQUESTS = 200

_of_thread = threading.local()


def waited() -> float:
    """Seconds that the request of this thread waited before it was looked at; 0 where no such worker serves it."""
    return getattr(_of_thread, "waited", 0.0)


class Worker(ThreadWorker):
    """Takes down when each request comes, and counts those of a connection."""

    def enqueue_req(self, conn: Any) -> None:
        # A new connection may come long before its first request does.
        conn.came = perf_counter() if conn.initialized or conn.data_ready else None
        super().enqueue_req(conn)

    def handle_request(self, req: Any, conn: Any) -> bool:
        _of_thread.waited = 0.0 if conn.came is None else perf_counter() - conn.came
        conn.requests = getattr(conn, "requests", 0) + 1
        if conn.requests >= _REQUESTS:
            req.force_close()
        return super().handle_request(req, conn)
