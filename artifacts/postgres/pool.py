"""Connections of a process to one database."""

from __future__ import annotations

import math
import select
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import conninfo, pq

from artifacts.postgres.connection import Connection

#: Connections that are used at the same time; further threads wait for one.
MAX_CONNECTIONS = 16

#: Seconds for which a connection is kept for the next call.
_IDLE_SECONDS = 60.0

#: Seconds for connecting where a call has no end.
_CONNECT_SECONDS = 60.0

#: A dead peer is noticed within two minutes, also while an index is built and nothing is sent.
_DEFAULTS = {
    "application_name": "lookalike",
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 6,
}


class AllInUse(psycopg.OperationalError):
    """No connection became free in time."""


class NotConnected(psycopg.OperationalError):
    """No connection could be made; the message is the server's."""


class Pool:
    """Keeps connections for the next call, and makes one where none is left. Used by many threads of one process.

    Connections are made by threads of their own, for which a call waits no longer than its own time: psycopg gives each
    host of a URL two seconds at least, and libpq the resolution of a name as long as it takes. Not psycopg_pool: that
    connects in the background, so a call would wait for all of its time where a server refuses connections, and after
    an outage for the next of ever rarer tries.

    Args:
        url: as libpq takes it, `postgresql://host:port/database?sslmode=…`.
        user: empty: as libpq finds it.
        password: empty: as libpq finds it.
        prepare: called with each new connection.

    Raises:
        psycopg.ProgrammingError: libpq cannot read the URL.
    """

    def __init__(
        self, url: str, user: str, password: str, prepare: Callable[[Connection], None] = lambda connection: None
    ) -> None:
        credentials = {name: value for name, value in (("user", user), ("password", password)) if value}
        given = conninfo.conninfo_to_dict(url)
        self._parameters: dict[str, Any] = _DEFAULTS | given | credentials | {"client_encoding": "utf8"}
        self._prepare = prepare
        self._idle: list[tuple[float, Connection]] = []  # since when, and what; the oldest first
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._connecting = ThreadPoolExecutor(MAX_CONNECTIONS, "postgres-connect")
        self._closed = False

    @contextmanager
    def use(self, seconds: float) -> Iterator[Connection]:
        """Yield a connection that commits each statement unless a transaction is begun.

        Args:
            seconds: after which the block is given up; infinity for statements that take as long as they take.

        Raises:
            AllInUse, NotConnected: see there.
            psycopg.OperationalError: no connection, or no answer, in time.
            psycopg.Error: PostgreSQL refuses what the block asks.
        """
        ends = time.monotonic() + seconds
        if not self._free.acquire(timeout=min(seconds, threading.TIMEOUT_MAX)):
            raise AllInUse(f"all {MAX_CONNECTIONS} connections are used since {seconds:g} s")
        try:
            connection = self._idle_connection() or self._connect(ends)
            connection.ends = ends
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._free.release()

    def close(self) -> None:
        """Close all connections: those in use once they are not."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()
        self._connecting.shutdown(wait=False, cancel_futures=True)

    def _idle_connection(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                _, connection = self._idle.pop()
            if not connection.closed and not _has_ended(connection):
                return connection
            connection.close()

    def _give_back(self, connection: Connection) -> None:
        now, spare = time.monotonic(), [connection]
        with self._lock:
            if connection.info.transaction_status == pq.TransactionStatus.IDLE and not self._closed:
                spare = [each for since, each in self._idle if now - since > _IDLE_SECONDS]
                self._idle = [*self._idle[len(spare) :], (now, connection)]
        for each in spare:
            each.close()

    def _connect(self, ends: float) -> Connection:
        left = ends - time.monotonic() if ends < math.inf else _CONNECT_SECONDS
        # The client takes no less than 2 s, for each host.
        parameters = {"connect_timeout": max(2, math.ceil(left))} | self._parameters
        try:
            connecting = self._connecting.submit(Connection.connect, conninfo.make_conninfo("", **parameters))
        except RuntimeError as error:
            raise NotConnected("the pool of connections is closed") from error
        try:
            connection = connecting.result(None if ends == math.inf else max(0.0, left))
        except TimeoutError:
            connecting.cancel()
            connecting.add_done_callback(_close_late)
            raise psycopg.errors.ConnectionTimeout("no connection in time") from None
        except psycopg.OperationalError as error:
            raise NotConnected(str(error)) from error
        try:
            connection.autocommit = True
            connection.ends = ends
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _close_late(connecting: Future[Connection]) -> None:
    """Close a connection that nobody waits for any more."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()


def _has_ended(connection: Connection) -> bool:
    """Return whether the server has closed an idle connection: nothing else is there to be read from one."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
