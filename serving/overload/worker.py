"""gunicorn's threaded worker, with what gunicorn's own does not do.

It knows how long a request waited before anybody looked at it, in the kernel and for a thread. In a burst all threads
are busy, and a search's time runs from its coming; or what is let in would be answered when nobody listens any more.

While there is more to do than can be done, it says no by itself, as soon as a request has come: to hand it to a thread
first, and have it parsed and routed there, takes five times as long, and in a burst that is what most of the work is.

A thread stays with a connection for a moment after an answer. Who asks much asks again at once, and to hand the
connection back to the main thread, have it watched there and handed out anew takes longer than to read the request.

It ends a connection after some seconds, saying so with the last answer. A connection stays with its worker; one that
takes the place of another would have next to nothing to do as long as the callers kept those to the others. That is
counted in seconds: of a hundred connections, each would take minutes to have had its requests.

And it waits for nobody to close their end. gunicorn's main thread does, for up to two seconds, and nothing else comes
in meanwhile: a few callers that are slow, or mean harm, would hold up all.
"""

from __future__ import annotations

import random
import select
import socket
import threading
import time
from collections import deque
from functools import partial
from selectors import EVENT_READ
from time import perf_counter
from typing import TYPE_CHECKING, Any

from gunicorn.workers.gthread import ThreadWorker

from serving.overload.queue_time import current_request, seconds_since_data

if TYPE_CHECKING:
    from serving.overload.shedding import LoadShedder

#: Seconds that a connection is kept, at most. Half of that at least, so that those made together do not end together.
_KEPT_SECONDS = 10.0
#: Threads that may wait for the next request of the connection they have just answered.
STAYING = 32
#: How long each does.
_STAYS_SECONDS = 0.5
#: How long a connection that we have ended waits for the other end: to close at once would cut off an answer on its way
#: wherever something of the request was not read (RFC 9112, section 9.6).
_LINGER_SECONDS = 2.0
#: Connections that are taken before others are looked at. In a burst each look takes long, and gunicorn's own worker
#: takes one each time: the others would wait for seconds.
_ACCEPTED_AT_ONCE = 16
#: Bytes of a request that are looked at before it is handed to a thread; a vector of 1,024 numbers takes 22,000.
_READ = 65536
#: Bytes of a body that gunicorn skips at most.
_SKIPPED = 65536


class Worker(ThreadWorker):
    """gunicorn's, and what stands above.

    It needs `STAYING` threads more than work at once: those that stay are not there for others.

    Attributes:
        load_shedder: whom to ask whether a search can be let in; none is turned away here before there is one.
    """

    load_shedder: LoadShedder | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._may_stay = threading.Semaphore(STAYING)
        self._counting = threading.Lock()
        self._pending = 0  # searches that were let in and that no thread has read yet
        self._began = 0.0  # to take connections, by perf_counter
        self._lingering: deque[Any] = deque()  # connections that we have ended, those that were first in front

    # ── in the main thread ───────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        self._began = perf_counter()
        super().run()

    def accept(self, listener: Any) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            before = self.nr_conns
            if before < self.worker_connections:
                super().accept(listener)
            if self.nr_conns == before:
                return

    def enqueue_req(self, conn: Any) -> None:
        kept = self._shed(conn)
        if kept is None:
            # A new connection may come long before its first request does.
            conn.came = perf_counter() if conn.initialized or conn.data_ready else None
            super().enqueue_req(conn)
        elif kept:
            conn.set_timeout()
            self.keepalived_conns.append(conn)
            self.poller.register(conn.sock, EVENT_READ, partial(self.on_client_socket_readable, conn))
        else:
            self._lingering_close(conn)

    def finish_request(self, conn: Any, fs: Any) -> None:
        if fs.cancelled() or fs.exception() or fs.result():
            super().finish_request(conn, fs)
        else:
            self._lingering_close(conn)

    def murder_pending(self) -> None:
        super().murder_pending()
        while self._lingering and self._lingering[0].timeout <= time.monotonic():
            self._end_lingering(self._lingering[0])

    def _lingering_close(self, conn: Any) -> None:
        """End a connection from our side, and let the poller see when the other side has, too."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # it has already
            self._close(conn)
            return
        conn.timeout = time.monotonic() + _LINGER_SECONDS
        self._lingering.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self._on_lingering_socket_readable, conn))

    def _on_lingering_socket_readable(self, conn: Any, client: socket.socket) -> None:
        try:
            more = client.recv(_READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        if not more:
            self._end_lingering(conn)

    def _end_lingering(self, conn: Any) -> None:
        self._lingering.remove(conn)
        self.poller.unregister(conn.sock)
        self._close(conn)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

    # ── in any thread ────────────────────────────────────────────────────────────────────────────────────────────

    def _shed(self, conn: Any) -> bool | None:
        """Say no to a connection's next request if it is a search that there is no time for.

        Returns:
            None if it is to be handled. Otherwise whether the connection is kept.
        """
        if self.load_shedder is None or not self.load_shedder.busy or not self.alive or _read_ahead(conn):
            return None
        try:
            request = conn.sock.recv(_READ, socket.MSG_DONTWAIT)
        except BlockingIOError:  # a connection is there, and its request is not
            return None
        except OSError:
            return False
        if not request:
            return False
        last = _has_been_kept(conn) or len(self.keepalived_conns) >= self.max_keepalived
        seen = self.load_shedder.decide(request, self._in_kernel(conn), self._pending, last=last)
        if seen.refusal is None:
            conn.init()
            conn.parser.unreader.unread(request)
            conn.data_ready = True
            if seen.search:
                self._admit(conn)
            return None
        try:
            sent = conn.sock.send(seen.refusal, socket.MSG_DONTWAIT)
        except OSError:
            return False
        return sent == len(seen.refusal) and not last

    def _in_kernel(self, conn: Any) -> float:
        """Seconds that a connection's request has been here. Who came before the worker did is not late by that: a
        server that has just been started is slow to its first callers, and does not turn them away.
        """
        return min(seconds_since_data(conn.sock), perf_counter() - self._began)

    def _admit(self, conn: Any) -> None:
        with self._counting:
            self._pending += 1
        conn.admitted = True

    def _has_started(self, conn: Any) -> None:
        if getattr(conn, "admitted", False):
            with self._counting:
                self._pending -= 1
            conn.admitted = False

    # ── in a thread of its own ───────────────────────────────────────────────────────────────────────────────────

    def handle(self, conn: Any) -> Any:
        kept = self._handled(conn)
        # True: there may be another request. gunicorn's own sign for "not yet" is an object.
        while kept is True and self.alive and self._next_comes(conn):
            kept = self._shed(conn)
            if kept is None:
                conn.came = perf_counter()
                kept = self._handled(conn)
        return kept

    def _handled(self, conn: Any) -> Any:
        try:
            return super().handle(conn)
        finally:
            self._has_started(conn)  # if no request could be read after all

    def _next_comes(self, conn: Any) -> bool:
        """Wait for a moment for the next request of a connection; False: it is for the main thread to watch."""
        if _read_ahead(conn):
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
        self._has_started(conn)
        in_queue = 0.0 if conn.came is None else perf_counter() - conn.came
        current_request.queue_time = max(in_queue, self._in_kernel(conn))
        may_stay_unread = self.load_shedder is not None and self.load_shedder.busy and _is_long(req)
        if _has_been_kept(conn) or may_stay_unread:
            req.force_close()
        return super().handle_request(req, conn)


def _read_ahead(conn: Any) -> bool:
    """Whether something of a connection's next request was read already, together with the last one."""
    return conn.parser is not None and bool(conn.parser.unreader.buf.getvalue())


def _is_long(req: Any) -> bool:
    """Whether a request's body is, or may be, longer than what gunicorn skips of it to keep the connection.

    A search that is refused is not read; who is told that the connection is kept would ask again on a dead one.
    """
    lengths = [int(value) for name, value in req.headers if name == "CONTENT-LENGTH"]
    return any(name == "TRANSFER-ENCODING" for name, _ in req.headers) or any(each > _SKIPPED for each in lengths)


def _has_been_kept(conn: Any) -> bool:
    """Whether it is time for a connection to end; that runs from its first request."""
    if not hasattr(conn, "kept_until"):
        conn.kept_until = perf_counter() + _KEPT_SECONDS * random.uniform(0.5, 1.0)
    return perf_counter() >= conn.kept_until
