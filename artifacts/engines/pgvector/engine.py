"""Loads, opens and drops collections in PostgreSQL."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import psycopg
from psycopg import sql

from artifacts.engines.base import ALL_CONDITIONS, Capabilities, CollectionSearch, Engine, EngineAddress
from artifacts.engines.collection import Collection, RowBatch
from artifacts.engines.pgvector.connections import Connections
from artifacts.engines.pgvector.options import index_options
from artifacts.engines.pgvector.search import PgvectorSearch
from artifacts.engines.pgvector.table import Table
from artifacts.engines.reference import NAME_PREFIX
from artifacts.errors import EngineError
from artifacts.postgres.connection import Connection

_log = logging.getLogger(__name__)

#: Seconds for statements that touch few rows, and for those that read or write many.
_SECONDS, _LONG_SECONDS = 60, 3600

#: The first version with iterative scans, without which filters lose most rows.
_OLDEST = (0, 8)


class PgvectorEngine(Engine):
    """PostgreSQL with pgvector 0.8 or newer, at `postgresql://host:port/database`; the key is `user:password`.

    A collection is a table in the first schema of the `search_path`. Its comment says what it holds, and whether it is
    complete; that changes in the transaction that builds the indexes.
    """

    kind: ClassVar[str] = "pgvector"
    capabilities: ClassVar[Capabilities] = Capabilities(
        max_results=None, conditions=ALL_CONDITIONS, efforts=(50, 100, 200, 400, 800), repeatable=True
    )

    def __init__(self, address: EngineAddress) -> None:
        super().__init__(address)
        self._connections = Connections(address)

    @classmethod
    def stored_options(cls, options: Mapping[str, int | float | str]) -> dict[str, int | float | str]:
        checked = index_options(options, rows=0)
        stored = {"index": checked.index, **checked.built}
        return stored if "lists" in options else {name: value for name, value in stored.items() if name != "lists"}

    def create(self, collection: Collection) -> None:
        table = Table(collection)
        with self._connections.use(_SECONDS) as connection:
            self._check_extension(connection)
            with connection.transaction():
                found = _described(connection, collection.name)
                if found is not None and table.has_shape(found):
                    return
                if found is not None:
                    if found.get("complete"):
                        self.refuse_to_replace(collection)
                    connection.execute(sql.SQL("DROP TABLE {}").format(table.name))
                connection.execute(table.created())
                _set_comment(connection, table, complete=False)

    def _check_extension(self, connection: Connection) -> None:
        """Make the extension if the database has none.

        Raises:
            EngineError: it cannot be made, or is too old.
        """
        statement = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
        found = connection.execute(statement).fetchone()
        if found is None:
            try:
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
                raise EngineError(
                    f"PostgreSQL at {self.address.url} has no pgvector: install version 0.8 or newer there"
                ) from error
            except psycopg.errors.UniqueViolation:
                pass  # another process has made it at the same moment
            except psycopg.errors.InsufficientPrivilege as error:
                raise EngineError(
                    f"the database at {self.address.url} has no extension vector, and this user may not make it: "
                    "let its owner run CREATE EXTENSION vector"
                ) from error
            found = connection.execute(statement).fetchone()
        version = found[0] if found else ""
        if tuple(map(int, re.findall(r"\d+", version)[:2])) < _OLDEST:
            raise EngineError(
                f"PostgreSQL at {self.address.url} has pgvector {version}; install 0.8 or newer, and run "
                "ALTER EXTENSION vector UPDATE"
            )

    def write(self, collection: Collection, batch: RowBatch) -> None:
        table = Table(collection)
        rows = table.rows(batch)
        first, end = batch.first_row, batch.first_row + len(batch.vectors)
        delete = sql.SQL("DELETE FROM {} WHERE id >= %s AND id < %s").format(table.name)
        with self._connections.use(_SECONDS) as connection, connection.transaction(), connection.cursor() as cursor:
            cursor.execute(delete, (first, end))
            with cursor.copy(table.copied()) as copy:
                copy.write(rows)

    def has(self, collection: Collection, rows: np.ndarray) -> np.ndarray:
        statement = sql.SQL("SELECT id FROM {} WHERE id = ANY(%s)").format(Table(collection).name)
        with self._connections.use(_SECONDS) as connection:
            stored = connection.execute(statement, [rows.tolist()]).fetchall()
        return np.isin(rows, np.array(stored, np.int64))

    def complete(self, collection: Collection) -> None:
        table = Table(collection)
        with self._connections.use(math.inf) as connection:
            # Without indexes but the key this is one pass over the table. Frozen rows are never written again, and
            # `count` reads only the key.
            connection.execute(sql.SQL("VACUUM (FREEZE, ANALYZE) {}").format(table.name))
            with connection.transaction():
                # The server ends a build whose client has died.
                connection.execute("SET LOCAL client_connection_check_interval = '10s'")
                connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table.name))
                if _is_complete(connection, table):
                    return  # by another process, which this one waited for
                self.check_count(collection, _count(connection, table))
                if table.options.maintenance_work_mem is not None:
                    memory = sql.Literal(table.options.maintenance_work_mem)
                    connection.execute(sql.SQL("SET LOCAL maintenance_work_mem = {}").format(memory))
                if table.options.parallel_workers is not None:
                    workers = sql.Literal(table.options.parallel_workers)
                    connection.execute(sql.SQL("SET LOCAL max_parallel_maintenance_workers = {}").format(workers))
                connection.execute(table.index())
                for name in table.types:
                    _index_column(connection, table, name)
                _set_comment(connection, table, complete=True)

    def is_complete(self, collection: Collection) -> bool:
        table = Table(collection)
        with self._connections.use(_SECONDS) as connection:
            return _is_complete(connection, table)

    def count(self, collection: Collection) -> int:
        with self._connections.use(_LONG_SECONDS) as connection:
            return _count(connection, Table(collection))

    def open(self, collection: Collection) -> CollectionSearch:
        self.require_complete(collection)
        with self._connections.use(_SECONDS) as connection:
            index = (_described(connection, collection.name) or {}).get("index", {})
        return PgvectorSearch(self._connections, Table(collection), index.get("lists"))

    def ping(self, seconds: float) -> None:
        with self._connections.use(seconds) as connection:
            connection.execute("SELECT 1")

    def names(self) -> list[str]:
        with self._connections.use(_SECONDS) as connection:
            rows = connection.execute(
                "SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
                "WHERE nspname = current_schema() AND relkind = 'r' AND starts_with(relname, %s) ORDER BY relname",
                (NAME_PREFIX,),
            )
            return [name for (name,) in rows]

    def drop(self, name: str) -> None:
        with self._connections.use(_SECONDS) as connection, connection.transaction():
            if _described(connection, name) is not None:
                connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))

    def close(self) -> None:
        self._connections.close()


def _count(connection: Connection, table: Table) -> int:
    found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table.name)).fetchone()
    return found[0] if found else 0


def _is_complete(connection: Connection, table: Table) -> bool:
    found = _described(connection, table.collection.name)
    return found is not None and table.has_shape(found) and found.get("complete") is True


def _described(connection: Connection, name: str) -> dict[str, Any] | None:
    """Return what the comment of a table in the first schema of the search_path says; None if there is no table."""
    found = connection.execute(
        "SELECT coalesce(obj_description(pg_class.oid, 'pg_class'), '') FROM pg_class "
        "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE nspname = current_schema() AND relkind = 'r' AND relname = %s",
        (name,),
    ).fetchone()
    if found is None:
        return None
    try:
        return dict(json.loads(found[0]))
    except (ValueError, TypeError):  # not written here
        return {}


def _set_comment(connection: Connection, table: Table, complete: bool) -> None:
    comment = sql.Literal(table.comment(complete))
    connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(table.name, comment))


def _index_column(connection: Connection, table: Table, column: str) -> None:
    """Index a column, unless one of its texts is too long for that: nobody filters by such."""
    try:
        with connection.transaction():
            connection.execute(sql.SQL("CREATE INDEX ON {} ({})").format(table.name, sql.Identifier(column)))
    except psycopg.errors.ProgramLimitExceeded:
        _log.warning("%s: column %s has too long texts for an index of PostgreSQL", table.collection.name, column)
