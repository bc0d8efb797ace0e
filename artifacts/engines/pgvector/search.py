"""Searches in the table of a collection, with filters as SQL."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from psycopg import sql

from artifacts.engines.base import CollectionSearch, Found
from artifacts.engines.pgvector.connections import Connections
from artifacts.engines.pgvector.table import PARAMETER_TYPES, Table, storable
from artifacts.errors import EngineError
from artifacts.postgres.binary import HalfVector, halfvec_dtype
from artifacts.postgres.connection import Connection
from artifacts.products.filters import Condition, Filter, Value

#: Highest `hnsw.ef_search`; an iterative scan goes on for more rows.
_MAX_EF = 1000

#: Rows that pass a filter are scored one by one up to here, in 25 ms, in a table of any size.
_EXACT_ROWS = 10_000

#: A row costs so much more in an iterative scan of HNSW than one that is scored (26 and 3 µs at 512-d).
_SCAN_COST = 8

#: Rows that a scan under a filter reads at most, unless the exact way would read more. Where all rows near a query are
#: dropped it would go on to the end of the table.
_SCANNED_ROWS = 50_000

#: Estimates that are kept, of the filters that were used last.
_KEPT_ESTIMATES = 1000


class PgvectorSearch(CollectionSearch):
    """A complete collection.

    Where few rows pass a filter, all of them are scored. Elsewhere a scan of the index goes on until enough rows have
    passed: at least as many as the effort says, since their order is only roughly that of their scores.

    Args:
        connections: to its database, which the engine's other collections use, too.
        table: of the collection.
        lists: of its index; None for HNSW.
    """

    def __init__(self, connections: Connections, table: Table, lists: int | None) -> None:
        self._connections = connections
        self._table, self._lists = table, lists
        self._estimates: dict[Filter, int] = {}

    def search(self, queries: np.ndarray, k: int, effort: int, conditions: Filter, seconds: float) -> list[Found]:
        """See CollectionSearch. The searches are sent together, so a call waits for the network once."""
        where, values = _where(self._table, conditions)
        rows = max(k, effort) if conditions else k
        # A scan reads `rows` × table / passing rows. It is the cheaper way if more pass than this.
        exact_rows = max(_EXACT_ROWS, math.isqrt(_SCAN_COST * rows * self._table.collection.rows))
        with self._connections.use(seconds) as connection, connection.pipeline(), connection.transaction():
            _set(connection, {"jit": "off", "plan_cache_mode": "force_custom_plan"})
            exact = bool(conditions) and self._passing(connection, conditions) <= exact_rows
            if not exact:
                _set(connection, self._index_settings(rows, effort, bool(conditions), exact_rows))
            # No index has the sum, so none is used.
            distance = sql.SQL("(vector <#> %(query)s::halfvec)" + (" + 0.0" if exact else ""))
            statement = sql.SQL("SELECT id, {} AS distance FROM {} WHERE {} ORDER BY distance LIMIT %(rows)s")
            statement = statement.format(distance, self._table.name, where)
            cursors = [connection.cursor(binary=True) for _ in queries]
            for cursor, query in zip(cursors, queries, strict=True):
                cursor.execute(statement, {"query": HalfVector(query), "rows": rows, **values})
            return [_found(cursor.fetchall(), k) for cursor in cursors]

    def vectors(self, rows: np.ndarray, seconds: float) -> np.ndarray:
        statement = sql.SQL("SELECT id, vector FROM {} WHERE id = ANY(%s)").format(self._table.name)
        wanted, positions = np.unique(rows, return_inverse=True)
        with self._connections.use(seconds) as connection, connection.pipeline(), connection.transaction():
            _set(connection, {})
            stored = connection.cursor(binary=True).execute(statement, [wanted.tolist()]).fetchall()
        by_row: dict[int, bytes] = dict(stored)
        missing = [row for row in wanted.tolist() if row not in by_row]
        if missing:
            name = self._table.collection.name
            raise EngineError(f"{name} in pgvector at {self._connections.url} has no row {missing[0]:,}")
        found = np.frombuffer(
            b"".join(by_row[row] for row in wanted.tolist()), halfvec_dtype(self._table.collection.dim)
        )
        return found["vector"].astype(np.float32)[positions]

    def _passing(self, connection: Connection, conditions: Filter) -> int:
        """Return about how many rows pass a filter, as the planner of PostgreSQL estimates it."""
        rows = self._estimates.get(conditions)
        if rows is None:
            where, values = _where(self._table, conditions)
            statement = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {} WHERE {}").format(self._table.name, where)
            ((plan,),) = connection.execute(statement, values).fetchall()
            rows = int(plan[0]["Plan"]["Plan Rows"])
            if len(self._estimates) >= _KEPT_ESTIMATES:
                self._estimates.clear()
            self._estimates[conditions] = rows
        return rows

    def _index_settings(self, rows: int, effort: int, filtered: bool, exact_rows: int) -> dict[str, str]:
        """Return how the index is scanned.

        Args:
            rows: that are to be found.
            effort: see `docs/engines/pgvector.md`.
            filtered: whether rows are dropped on the way.
            exact_rows: rows that the exact way would read for the same time.
        """
        if self._lists is not None:
            probes = math.ceil(self._lists * min(effort, 1000) / 1000)
            return {"ivfflat.probes": str(max(1, probes)), "ivfflat.iterative_scan": "relaxed_order"}
        return {
            "hnsw.ef_search": str(min(_MAX_EF, max(effort, rows, 1))),
            "hnsw.iterative_scan": "relaxed_order" if filtered or rows > _MAX_EF else "off",
            "hnsw.max_scan_tuples": str(max(_SCANNED_ROWS, exact_rows, 10 * rows)),
            "hnsw.scan_mem_multiplier": "16",  # times work_mem, which is 4 MB unless an administrator changes it
        }


def _set(connection: Connection, settings: dict[str, str]) -> None:
    """Set parameters for the transaction, and its time."""
    settings = settings | {"statement_timeout": str(connection.milliseconds)}
    connection.execute(
        "SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS settings (name, value)",
        [list(settings), list(settings.values())],
    )


def _found(rows: list[tuple[int, float]], k: int) -> Found:
    ids, distances = np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.float32)
    order = np.argsort(distances, kind="stable")[:k]
    return Found(ids[order], -distances[order])


def _where(table: Table, conditions: Filter) -> tuple[sql.Composable, dict[str, Any]]:
    """Return a filter as an expression of SQL, TRUE for the empty one, and the values that it names."""
    values: dict[str, Any] = {}

    def bound(value: Any) -> sql.Placeholder:
        name = f"value{len(values)}"
        values[name] = [_storable(each) for each in value] if isinstance(value, list) else _storable(value)
        return sql.Placeholder(name)

    parts = [part for condition in conditions for part in _parts(table, condition, bound)]
    return sql.SQL(" AND ").join(parts) if parts else sql.SQL("TRUE"), values


def _storable(value: Value) -> Value:
    return storable(value) if isinstance(value, str) else value


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
