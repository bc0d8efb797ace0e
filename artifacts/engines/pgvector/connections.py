"""Connections of a process to one database, and the errors of PostgreSQL in this project's words."""

from __future__ import annotations

import logging
import math
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import psycopg
from psycopg import conninfo, pq
from psycopg.abc import PQGen
from psycopg.adapt import Dumper
from psycopg.rows import TupleRow

from artifacts.engines.base import EngineAddress
from artifacts.errors import EngineError, EngineUnavailable

_log = logging.getLogger(__name__)

#: Connections that are used at the same time; further threads wait for one.
MOST = 16

#: Seconds that a server has for saying itself that the time is over, before its connection is given up.
_GRACE = 0.5

#: A dead peer is noticed within two minutes, also while an index is built and nothing is sent.
_DEFAULTS = {
    "application_name": "lookalike",
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 6,
}

#: What the server says to a connection that it will refuse again.
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "not permitted to log in",
    "permission denied",
    "invalid",
)


class HalfVector:
    """A vector as a parameter of a statement.

    Args:
        vector: float32[dim]; sent as float16.
    """

    def __init__(self, vector: np.ndarray) -> None:
        self.binary = halfvec_header(len(vector)) + vector.astype(">f2").tobytes()


def halfvec_header(dim: int) -> bytes:
    """Return what precedes the big-endian float16 numbers of a halfvec in PostgreSQL's binary format."""
    return np.array([dim, 0], ">i2").tobytes()


class _HalfVectorDumper(Dumper):
    """Sends a HalfVector in the binary format. Its type is that of the cast in the statement."""

    format = pq.Format.BINARY
    oid = 0

    def dump(self, obj: HalfVector) -> bytes:
        return obj.binary


class Connection(psycopg.Connection[TupleRow]):
    """A connection that is closed if it still waits after a time: a server that hangs keeps no `statement_timeout`.

    Attributes:
        ends: that time, of `time.monotonic`.
    """

    ends = math.inf

    @property
    def milliseconds(self) -> int:
        """What is left of the time, at least 1, as `statement_timeout` takes it."""
        return max(1, round((self.ends - time.monotonic()) * 1000))

    def wait(self, gen: PQGen, interval: float = 0.1, timeout: float | None = None):
        gives_up = self.ends + _GRACE
        if timeout is None and gives_up < math.inf:
            timeout = max(0.0, gives_up - time.monotonic())
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.OperationalError:
            if time.monotonic() >= gives_up:
                self.close()
                with suppress(psycopg.Error):  # a pipeline's would go on sending when it is collected
                    gen.close()
            raise


class Connections:
    """Keeps connections for the next call, and makes one where none is left, in the thread that needs it.

    Used by many threads of one process.

    Not psycopg_pool: that connects in the background, so a call would wait for all of its time where a server refuses
    connections, and after an outage for the next of ever rarer tries.

    Args:
        address: its URL as libpq takes it, `postgresql://host:port/database?sslmode=…`; its key is `user:password`.

    Raises:
        EngineError: the URL is not one of PostgreSQL.
    """

    def __init__(self, address: EngineAddress) -> None:
        self.url = address.url
        if not self.url.startswith(("postgresql://", "postgres://")):
            raise EngineError(f"engine_url: {self.url!r} is not of the form postgresql://host:port/database")
        try:
            given = conninfo.conninfo_to_dict(self.url)
        except psycopg.ProgrammingError:
            raise EngineError("engine_url: PostgreSQL cannot read it; use postgresql://host:port/database") from None
        user, _, password = address.key.partition(":")
        credentials = {"user": user, "password": password}
        self._parameters = _DEFAULTS | given | {name: value for name, value in credentials.items() if value}
        self._idle: list[Connection] = []
        self._free = threading.BoundedSemaphore(MOST)
        self._closed = False

    def __repr__(self) -> str:
        return f"Connections({self.url!r})"

    @contextmanager
    def use(self, seconds: float) -> Iterator[Connection]:
        """Yield a connection that commits each statement unless a transaction is begun.

        Args:
            seconds: after which the block is given up; infinity for a statement that takes as long as it takes.

        Raises:
            EngineUnavailable: no connection, or no answer, in time.
            EngineError: PostgreSQL refuses what the block asks.
        """
        ends = time.monotonic() + seconds
        if not self._free.acquire(timeout=min(seconds, threading.TIMEOUT_MAX)):
            raise EngineUnavailable(f"pgvector at {self.url}: all {MOST} connections are used since {seconds:g} s")
        try:
            with self._translated(seconds, ends):
                connection = self._idle_connection() or self._connect(ends)
                connection.ends = ends
                try:
                    yield connection
                finally:
                    if connection.info.transaction_status == pq.TransactionStatus.IDLE and not self._closed:
                        self._idle.append(connection)
                    else:
                        connection.close()
        finally:
            self._free.release()

    def close(self) -> None:
        """Close all connections: those in use once they are not."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _idle_connection(self) -> Connection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if not connection.closed and not _has_ended(connection):
                return connection
            connection.close()

    def _connect(self, ends: float) -> Connection:
        left = max(2, math.ceil(ends - time.monotonic())) if ends < math.inf else 60  # psycopg takes no less than 2 s
        parameters = {"connect_timeout": left} | self._parameters
        try:
            connection = Connection.connect(conninfo.make_conninfo("", **parameters), autocommit=True)
        except psycopg.OperationalError as error:
            message = self._message(error)
            if any(refusal in message for refusal in _REFUSALS):
                raise EngineError(message) from error
            raise EngineUnavailable(message) from error
        connection.add_notice_handler(_log_notice)
        connection.adapters.register_dumper(HalfVector, _HalfVectorDumper)
        return connection

    @contextmanager
    def _translated(self, seconds: float, ends: float) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.ProgramLimitExceeded as error:  # psycopg counts it among the operational errors
            raise EngineError(self._message(error)) from error
        except psycopg.OperationalError as error:
            if isinstance(error, psycopg.errors.QueryCanceled) or time.monotonic() >= ends:
                raise EngineUnavailable(f"pgvector at {self.url}: no answer within {seconds:g} s") from error
            raise EngineUnavailable(self._message(error)) from error
        except psycopg.Error as error:
            raise EngineError(self._message(error)) from error

    def _message(self, error: psycopg.Error) -> str:
        return f"pgvector at {self.url}: {' '.join(str(error).split())}"


def _has_ended(connection: Connection) -> bool:
    """Return whether the server has closed an idle connection: nothing else is there to be read from one."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _log_notice(notice: psycopg.errors.Diagnostic) -> None:
    """Log what PostgreSQL remarks, such as that maintenance_work_mem is too small for an index."""
    _log.warning("pgvector: %s %s", notice.message_primary, notice.message_hint or "")
