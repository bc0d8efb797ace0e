"""gunicorn's threaded worker, extended for overload.

- It measures how long a request waited in the kernel and for a thread. A search's deadline runs from its arrival; in a
  burst all threads are busy, and without the queue time searches would be admitted that are answered too late.
- While searches have to wait, it rejects excess ones itself, as soon as their request has arrived. Handing a request to
  a thread that parses and routes it takes five times as long, and in a burst rejecting is most of the work.
- A thread waits briefly on a connection after each response. A caller with many requests sends the next one at once,
  and to return the connection to the main thread, which polls it and hands it out again, takes longer than to read the
  request.
- It closes a connection some seconds after its first request, and announces that with the last response. A connection
  stays with its worker, so a worker that replaces another would get hardly any while callers keep theirs. The limit is
  a time and not a number of requests: shared by a hundred connections, those would take minutes.
- It lingers on a closed connection without blocking. gunicorn's main thread waits up to two seconds for the other end
  and accepts nothing meanwhile, so a few slow or malicious callers could stop the worker.

gunicorn has no interface for this, so the class depends on internals of gunicorn 25 to 27 (pinned in pyproject.toml):

- It overrides `run`, `accept`, `enqueue_req`, `finish_request`, `murder_pending`, `handle` and `handle_request` of
  ThreadWorker, and relies on which thread calls them and on `handle` returning True for a connection to keep.
- It uses ThreadWorker's `alive`, `nr_conns`, `worker_connections`, `max_keepalived`, `keepalived_conns`, `poller` and
  `on_client_socket_readable`.
- It uses a connection's `sock`, `initialized`, `data_ready`, `timeout`, `init`, `set_timeout`, `close` and
  `parser.unreader` (`buf`, `unread`), and sets attributes of its own on it: `queued_at`, `admitted`, `close_after`.
- It uses a request's `headers` and `force_close`.
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

from serving.overload.queue_time import record_queue_time, seconds_since_data

if TYPE_CHECKING:
    from serving.overload.shedding import LoadShedder

#: Connections accepted before others are polled. In a burst each poll takes long, and gunicorn's own worker accepts one
#: connection each time: callers would wait for seconds.
_ACCEPT_BATCH = 16
#: Bytes of a request that are examined before it is handed to a thread; a vector of 1,024 numbers takes 22,000.
_RECV_BYTES = 65536
#: The longest body that gunicorn drains to keep a connection.
_MAX_DRAINED_BYTES = 65536


class Worker(ThreadWorker):
    """A gunicorn worker that sheds load; see the module's docstring.

    It needs `keepalive_threads` more threads than handle requests at the same time: a thread that waits for the next
    request of its connection is not available to others.

    Attributes:
        load_shedder: decides about searches; nothing is rejected by the worker while it is None.
        keepalive_threads: threads that may wait for the next request of the connection they have just answered.
        keepalive_wait_seconds: how long each of them waits.
        connection_seconds: maximum age of a connection, counted from its first request. The actual limit is a random
            half to all of it, so that connections opened together do not close together.
        linger_seconds: how long a connection that the worker has shut down waits for the other end. To close at once
            would cut off a response on its way wherever part of the request was not read (RFC 9112, section 9.6).
    """

    load_shedder: LoadShedder | None = None
    keepalive_threads = 32
    keepalive_wait_seconds = 0.5
    connection_seconds = 10.0
    linger_seconds = 2.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._keepalive_slots = threading.Semaphore(self.keepalive_threads)
        self._pending_lock = threading.Lock()
        self._pending = 0
        self._started = 0.0  # when it began to accept connections, by perf_counter
        self._lingering: deque[Any] = deque()  # oldest first

    @property
    def pending(self) -> int:
        """Number of searches that were admitted and that no thread has read yet."""
        return self._pending

    @property
    def lingering(self) -> int:
        """Number of connections that were shut down and wait for the other end to close."""
        return len(self._lingering)

    # ── in the main thread ───────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        self._started = perf_counter()
        super().run()

    def accept(self, listener: Any) -> None:
        for _ in range(_ACCEPT_BATCH):
            before = self.nr_conns
            if before < self.worker_connections:
                super().accept(listener)
            if self.nr_conns == before:
                return

    def enqueue_req(self, conn: Any) -> None:
        keep = self._shed(conn)
        if keep is None:
            # A new connection may be opened long before its first request is sent.
            conn.queued_at = perf_counter() if conn.initialized or conn.data_ready else None
            super().enqueue_req(conn)
        elif keep:
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
        """Shut down a connection, and let the poller report when the other end has closed it too."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # the other end has closed it already
            self._close(conn)
            return
        conn.timeout = time.monotonic() + self.linger_seconds
        self._lingering.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self._on_lingering_socket_readable, conn))

    def _on_lingering_socket_readable(self, conn: Any, client: socket.socket) -> None:
        try:
            data = client.recv(_RECV_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
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
        """Reject the next request of a connection if it is a search that would not be answered in time.

        Returns:
            None if the request has to be handled. Otherwise whether to keep the connection.
        """
        if self.load_shedder is None or not self.load_shedder.busy or not self.alive or _has_unread_data(conn):
            return None
        try:
            request = conn.sock.recv(_RECV_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:  # connected, but no request has arrived yet
            return None
        except OSError:
            return False
        if not request:
            return False
        last = self._has_expired(conn) or len(self.keepalived_conns) >= self.max_keepalived
        decision = self.load_shedder.decide(request, self._kernel_queue_time(conn), self._pending, last=last)
        if decision.refusal is None:
            conn.init()
            conn.parser.unreader.unread(request)
            conn.data_ready = True
            if decision.search:
                self._add_pending(conn)
            return None
        try:
            sent = conn.sock.send(decision.refusal, socket.MSG_DONTWAIT)
        except OSError:
            return False
        return sent == len(decision.refusal) and not last

    def _kernel_queue_time(self, conn: Any) -> float:
        """Return the seconds since a connection's request arrived, or since the worker started if that is later.

        A server that has just started is slow to answer its first callers, and should not reject them.
        """
        return min(seconds_since_data(conn.sock), perf_counter() - self._started)

    def _add_pending(self, conn: Any) -> None:
        with self._pending_lock:
            self._pending += 1
        conn.admitted = True

    def _remove_pending(self, conn: Any) -> None:
        if getattr(conn, "admitted", False):
            with self._pending_lock:
                self._pending -= 1
            conn.admitted = False

    def _has_expired(self, conn: Any) -> bool:
        """Tell whether a connection has reached its maximum age."""
        if not hasattr(conn, "close_after"):
            conn.close_after = perf_counter() + self.connection_seconds * random.uniform(0.5, 1.0)
        return perf_counter() >= conn.close_after

    # ── in a thread of the pool ──────────────────────────────────────────────────────────────────────────────────

    def handle(self, conn: Any) -> Any:
        keep = self._handle_request_of(conn)
        # True: another request may follow. gunicorn returns an object of its own where no request has arrived yet.
        while keep is True and self.alive and self._next_request_arrives(conn):
            keep = self._shed(conn)
            if keep is None:
                conn.queued_at = perf_counter()
                keep = self._handle_request_of(conn)
        return keep

    def _handle_request_of(self, conn: Any) -> Any:
        try:
            return super().handle(conn)
        finally:
            self._remove_pending(conn)  # if no request could be read

    def _next_request_arrives(self, conn: Any) -> bool:
        """Wait briefly for the next request of a connection; False: the main thread has to poll it."""
        if _has_unread_data(conn):
            return False
        if not self._keepalive_slots.acquire(blocking=False):
            return False
        try:
            poll = select.poll()
            poll.register(conn.sock, select.POLLIN)
            return bool(poll.poll(self.keepalive_wait_seconds * 1000))
        finally:
            self._keepalive_slots.release()

    def handle_request(self, req: Any, conn: Any) -> bool:
        self._remove_pending(conn)
        waited_for_thread = 0.0 if conn.queued_at is None else perf_counter() - conn.queued_at
        record_queue_time(max(waited_for_thread, self._kernel_queue_time(conn)))
        body_may_stay_unread = self.load_shedder is not None and self.load_shedder.busy and _may_be_long(req)
        if self._has_expired(conn) or body_may_stay_unread:
            req.force_close()
        return super().handle_request(req, conn)


def _has_unread_data(conn: Any) -> bool:
    """Tell whether part of a connection's next request was already read together with the previous one."""
    return conn.parser is not None and bool(conn.parser.unreader.buf.getvalue())


def _may_be_long(req: Any) -> bool:
    """Tell whether a request's body may be longer than what gunicorn drains to keep the connection.

    The body of a rejected search is not read. If the response announced a kept connection, the caller would send its
    next request on one that is being closed.
    """
    lengths = [int(value) for name, value in req.headers if name == "CONTENT-LENGTH"]
    chunked = any(name == "TRANSFER-ENCODING" for name, _ in req.headers)
    return chunked or any(length > _MAX_DRAINED_BYTES for length in lengths)
