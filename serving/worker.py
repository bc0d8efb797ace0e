"""gunicorn's threaded worker, with three things that gunicorn's own does not do.

It knows how long a request waited for a thread. In a burst all threads are busy, most with saying no; a search's time
runs from its coming, not from when somebody looks at it, or what is let in would be answered when nobody listens any
more.

A thread stays with a connection for a moment after an answer. Who asks much asks again at once, and to hand the
connection back to the main thread, have it watched there and handed out anew takes longer than to read the request.

And it ends a connection after some seconds, saying so with the last answer. A connection stays with its worker; one
that takes the place of another would have next to nothing to do as long as the callers kept those to the others. That
is counted in seconds: of a hundred connections, each would take minutes to have had its requests.
"""

from __future__ import annotations

import random
import select
import threading
from time import perf_counter
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

#: Seconds that a connection is kept, at most. Half of that at least, so that those made together do not end together.
_KEPT_SECONDS = 10.0
#: Threads that may wait for the next request of the connection they have just answered.
STAYING = 32
#: How long each does.
_STAYS_SECONDS = 0.5

_of_thread = threading.local()


def waited() -> float:
    """Seconds that the request of this thread waited before it was looked at; 0 where no such worker serves it."""
    return getattr(_of_thread, "waited", 0.0)


class Worker(ThreadWorker):
    """Takes down when each request comes, stays with its connection for the next one, and ends it in time.

    It needs `STAYING` threads more than work at once: those that stay are not there for others.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._may_stay = threading.Semaphore(STAYING)

    def enqueue_req(self, conn: Any) -> None:
        # A new connection may come long before its first request does.
        conn.came = perf_counter() if conn.initialized or conn.data_ready else None
        super().enqueue_req(conn)

    def handle(self, conn: Any) -> Any:
        kept = super().handle(conn)
        # True: there may be another request. gunicorn's own sign for "not yet" is an object.
        while kept is True and self.alive and self._next_comes(conn):
            conn.came = perf_counter()
            kept = super().handle(conn)
        return kept

    def _next_comes(self, conn: Any) -> bool:
        """Wait for a moment for the next request of a connection; False: it is for the main thread to watch."""
        if conn.parser.unreader.buf.getvalue():  # read already, together with the last one
            return False
        if not self._may_stay.acquire(blocking=False):
            return False
        try:
            poll = select.poll()
            poll.register(conn.sock, select.POLLIN)
            return bool(poll.poll(_STAYS_SECONDS * 1000))
        finally:
            self._may_stay.release()

    def handle_request(self, req: Any, conn: Any) -> bool:
        _of_thread.waited = 0.0 if conn.came is None else perf_counter() - conn.came
        if not hasattr(conn, "kept_until"):
            conn.kept_until = perf_counter() + _KEPT_SECONDS * random.uniform(0.5, 1.0)
        if perf_counter() >= conn.kept_until:
            req.force_close()
        return super().handle_request(req, conn)
