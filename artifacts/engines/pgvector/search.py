"""Searches in the table of a collection, with filters as SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from psycopg import sql

from artifacts.engines.base import CollectionSearch, Found
from artifacts.engines.pgvector.connections import Connection, Connections, HalfVector, halfvec_header
from artifacts.engines.pgvector.table import PARAMETER_TYPES, Table
from artifacts.errors import EngineError
from artifacts.products.filters import Condition, Filter

#: Highest `hnsw.ef_search`.
_MOST_EF = 1000


class PgvectorSearch(CollectionSearch):
    """A complete collection.

    Args:
        connections: to its database; not closed by `close`, since the engine's other collections use them, too.
        table: of the collection.
    """

    def __init__(self, connections: Connections, table: Table) -> None:
        self._connections = connections
        self._table = table

    def search(self, queries: np.ndarray, k: int, effort: int, conditions: Filter, seconds: float) -> list[Found]:
        """See CollectionSearch. All statements are sent together, so a call waits for the network once."""
        where, parameters = _where(self._table, conditions)
        statement = sql.SQL(
            "SELECT id, vector <#> %(query)s::halfvec AS distance FROM {} WHERE {} ORDER BY distance LIMIT %(k)s"
        ).format(self._table.name, where)
        with self._connections.use(seconds) as connection, connection.pipeline(), connection.transaction():
            _set(connection, self._settings(k, effort, bool(conditions)) | _timeout(seconds))
            cursors = [connection.cursor(binary=True) for _ in queries]
            for cursor, query in zip(cursors, queries, strict=True):
                cursor.execute(statement, {"query": HalfVector(query), "k": k, **parameters})
            return [_found(cursor.fetchall()) for cursor in cursors]

    def vectors(self, rows: np.ndarray, seconds: float) -> np.ndarray:
        statement = sql.SQL("SELECT id, vector FROM {} WHERE id = ANY(%s)").format(self._table.name)
        wanted, positions = np.unique(rows, return_inverse=True)
        with self._connections.use(seconds) as connection, connection.pipeline(), connection.transaction():
            _set(connection, _timeout(seconds))
            stored = connection.cursor(binary=True).execute(statement, [wanted.tolist()]).fetchall()
        by_row: dict[int, bytes] = dict(stored)
        missing = [row for row in wanted.tolist() if row not in by_row]
        if missing:
            name = self._table.collection.name
            raise EngineError(f"{name} in pgvector at {self._connections.url} has no row {missing[0]:,}")
        header = len(halfvec_header(0)) // 2
        numbers = np.frombuffer(b"".join(by_row[row] for row in wanted.tolist()), ">f2")
        return numbers.reshape(len(wanted), -1)[:, header:].astype(np.float32)[positions]

    def _settings(self, k: int, effort: int, filtered: bool) -> dict[str, str]:
        """Return the parameters of PostgreSQL for a search.

        HNSW compares at most 1,000 rows at once; an iterative scan goes on for more, and where a filter drops rows.
        """
        settings = {"jit": "off", "plan_cache_mode": "force_custom_plan" if filtered else "auto"}
        if self._table.options.index == "hnsw":
            settings["hnsw.ef_search"] = str(min(_MOST_EF, max(effort, k)))
            settings["hnsw.iterative_scan"] = "relaxed_order" if filtered or k > _MOST_EF else "off"
        return settings


def _timeout(seconds: float) -> dict[str, str]:
    return {"statement_timeout": str(max(1, round(seconds * 1000)))}


def _set(connection: Connection, settings: dict[str, str]) -> None:
    """Set parameters for the transaction."""
    connection.execute(
        "SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS settings (name, value)",
        [list(settings), list(settings.values())],
    )


def _found(rows: list[tuple[int, float]]) -> Found:
    ids, distances = np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.float32)
    order = np.argsort(distances, kind="stable")  # an iterative scan returns rows almost in order
    return Found(ids[order], -distances[order])


def _where(table: Table, conditions: Filter) -> tuple[sql.Composable, dict[str, Any]]:
    """Return a filter as an expression of SQL, TRUE for the empty one, and the values that it names."""
    values: dict[str, Any] = {}

    def bound(value: Any) -> sql.Placeholder:
        name = f"value{len(values)}"
        values[name] = value
        return sql.Placeholder(name)

    parts = [part for condition in conditions for part in _parts(table, condition, bound)]
    return sql.SQL(" AND ").join(parts) if parts else sql.SQL("TRUE"), values


def _parts(table: Table, condition: Condition, bound: Callable[[Any], sql.Placeholder]) -> Iterator[sql.Composed]:
    """Yield the parts of a condition as SQL, all of which have to hold."""
    name = table.collection.field(condition.column)
    column, sql_type = sql.Identifier(name), PARAMETER_TYPES[table.types[name]]
    if condition.any_of:
        yield sql.SQL("{} = ANY({}::{}[])").format(column, bound(list(condition.any_of)), sql_type)
    if condition.none_of:
        excluded = sql.SQL("{} <> ALL({}::{}[])").format(column, bound(list(condition.none_of)), sql_type)
        yield sql.SQL("({} IS NULL OR {})").format(column, excluded)
    bounds = (
        (sql.SQL("{} >= {}::{}"), condition.minimum),
        (sql.SQL("{} <= {}::{}"), condition.maximum),
        (sql.SQL("{} < {}::{}"), condition.below),
    )
    for comparison, value in bounds:
        if value is not None:
            yield comparison.format(column, bound(value), sql_type)
    if condition.missing is not None:
        yield sql.SQL("{} IS {}").format(column, sql.SQL("NULL" if condition.missing else "NOT NULL"))
