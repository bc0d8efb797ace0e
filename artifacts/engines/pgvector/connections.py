"""Connections of a process to one database, and the errors of PostgreSQL in this project's words."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from artifacts.engines.base import EngineAddress
from artifacts.errors import EngineError, EngineUnavailable
from artifacts.postgres.binary import accept_half_vectors
from artifacts.postgres.connection import Connection
from artifacts.postgres.pool import AllInUse, NotConnected, Pool

_log = logging.getLogger(__name__)

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


class Connections:
    """The pool of an engine.

    Args:
        address: its URL as libpq takes it, `postgresql://host:port/database?sslmode=…`; its key is `user:password`.

    Raises:
        EngineError: the URL is not one of PostgreSQL.
    """

    def __init__(self, address: EngineAddress) -> None:
        self.url = address.url
        if not self.url.startswith(("postgresql://", "postgres://")):
            raise EngineError(f"engine_url: {self.url!r} is not of the form postgresql://host:port/database")
        user, _, password = address.key.partition(":")
        try:
            self._pool = Pool(self.url, user, password, _prepare)
        except psycopg.ProgrammingError:
            raise EngineError("engine_url: PostgreSQL cannot read it; use postgresql://host:port/database") from None

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
        try:
            with self._pool.use(seconds) as connection:
                yield connection
        except (AllInUse, NotConnected) as error:
            message = self._message(error)
            if any(refusal in message for refusal in _REFUSALS):
                raise EngineError(message) from error
            raise EngineUnavailable(message) from error
        except psycopg.errors.ProgramLimitExceeded as error:  # psycopg counts it among the operational errors
            raise EngineError(self._message(error)) from error
        except psycopg.OperationalError as error:
            if isinstance(error, psycopg.errors.QueryCanceled) or time.monotonic() >= ends:
                raise EngineUnavailable(f"pgvector at {self.url}: no answer within {seconds:g} s") from error
            raise EngineUnavailable(self._message(error)) from error
        except psycopg.Error as error:
            raise EngineError(self._message(error)) from error

    def close(self) -> None:
        """Close all connections: those in use once they are not."""
        self._pool.close()

    def _message(self, error: psycopg.Error) -> str:
        return f"pgvector at {self.url}: {' '.join(str(error).split())}"


def _prepare(connection: Connection) -> None:
    connection.add_notice_handler(_log_notice)
    accept_half_vectors(connection)


def _log_notice(notice: psycopg.errors.Diagnostic) -> None:
    """Log what PostgreSQL remarks, such as that maintenance_work_mem is too small for an index."""
    _log.warning("pgvector: %s %s", notice.message_primary, notice.message_hint or "")
