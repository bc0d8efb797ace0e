"""The DuckDB file of a segment's product rows: finds the rows that pass a filter, and counts products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from artifacts.products.columns import filterable_columns, type_of_column
from artifacts.products.filters import Filter
from artifacts.products.sql import quoted, sql_name, where

DUCKDB_FILE = "products.duckdb"

#: Up to this many ids are looked up in the index one by one (0.2 ms each); for more, one scan of the column is faster.
_MAX_INDEXED_IDS = 100


@dataclass(frozen=True)
class FacetCount:
    """Number of products with a value, or in a band of values."""

    value: Any
    count: int


class ProductDatabase:
    """The product rows of one segment in DuckDB, read only. Safe to use from several threads at once.

    Args:
        folder: the segment's folder on this machine.
        schema: of the segment's product rows.
        threads: threads of one SQL statement.
    """

    def __init__(self, folder: Path, schema: pa.Schema, *, threads: int = 1) -> None:
        self._columns = filterable_columns(schema)
        self._sql_names = {name: sql_name(schema, name) for name in self._columns}
        self._connection = connect(folder / DUCKDB_FILE, threads=threads)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def matching_rows(self, conditions: Filter) -> np.ndarray:
        """Return the numbers of the rows that pass a filter: int64, ascending.

        A column that this segment lacks is one of a newer segment: no row has a value in it.
        """
        translated = self._translate(conditions)
        return _no_rows() if translated is None else self._rows(*where(translated))

    def rows_of(self, product_ids: Sequence[str]) -> np.ndarray:
        """Return the row numbers of all pictures of these products: int64, ascending; unknown ids have none."""
        ids = [product_id for product_id in set(product_ids) if _is_encodable(product_id)]
        if not ids:
            return _no_rows()
        if len(ids) <= _MAX_INDEXED_IDS:
            return self._rows(f"product_id IN ({', '.join('?' * len(ids))})", ids)
        return self._rows("product_id IN (SELECT unnest(?))", [ids])

    def first_pictures(self) -> np.ndarray:
        """Return the number of one row of each product: int64, ascending."""
        return self._rows("first_picture", [])

    def _rows(self, condition: str, parameters: list[Any]) -> np.ndarray:
        statement = f"SELECT row FROM products WHERE {condition} ORDER BY row"  # noqa: S608
        # Each call has a cursor of its own: a connection's result belongs to one thread until it is read.
        with self._connection.cursor() as cursor:
            return np.ascontiguousarray(cursor.execute(statement, parameters).fetchnumpy()["row"], np.int64)

    # ── counts ───────────────────────────────────────────────────────────────────────────────────────────────────

    def facet(
        self,
        column: str,
        conditions: Filter,
        excluded: np.ndarray | None = None,
        *,
        dtype: pa.DataType | None = None,
        limit: int | None = None,
    ) -> list[FacetCount]:
        """Count the products that pass a filter by their value in a column, most frequent first.

        Args:
            excluded: row numbers int64 of products that are not counted.
            dtype: type to cast the values to; a value that cannot be cast counts as missing.
            limit: maximum number of values.
        """
        cast = "{}"
        if dtype is not None and dtype != self._columns.get(column):
            cast = f"TRY_CAST({{}} AS {type_of_column(dtype).sql})"
        return self._count(column, conditions, excluded, lambda name: (cast.format(name), []), limit)

    def bands(
        self, column: str, edges: Sequence[float], conditions: Filter, excluded: np.ndarray | None = None
    ) -> list[FacetCount]:
        """Count the products that pass a filter by the band of their number in a column, most frequent first.

        Args:
            edges: ascending. Band 0 is below the first edge; band i is from edge i-1 (included) to edge i.
            excluded: row numbers int64 of products that are not counted.
        """

        def band(name: str) -> tuple[str, list[Any]]:
            number = f"TRY_CAST({name} AS DOUBLE)"
            reached = " + ".join(["0", *(f"({number} >= ?::DOUBLE)::INT" for _ in edges)])
            return f"CASE WHEN {number} IS NOT NULL THEN {reached} END", list(edges)

        return self._count(column, conditions, excluded, band)

    def quantiles(self, column: str, shares: Sequence[float]) -> list[float]:
        """Return quantiles of a numeric column over the products; [] where no product has a value.

        Args:
            shares: of the products, 0 to 1.
        """
        name = quoted(self._sql_names[column])
        statement = f"SELECT quantile_disc(TRY_CAST({name} AS DOUBLE), ?::DOUBLE[]) FROM products WHERE first_picture"  # noqa: S608
        with self._connection.cursor() as cursor:
            row = cursor.execute(statement, [list(shares)]).fetchone()
        return list(row[0]) if row and row[0] else []

    def _count(
        self,
        column: str,
        conditions: Filter,
        excluded: np.ndarray | None,
        expression: Callable[[str], tuple[str, list[Any]]],
        limit: int | None = None,
    ) -> list[FacetCount]:
        """Count products by an SQL expression of a column's name, over all that have a value and pass a filter."""
        translated = self._translate(conditions)
        if translated is None or column not in self._columns:
            return []
        value, value_parameters = expression(quoted(self._sql_names[column]))
        condition, parameters = where(translated)
        statement = (
            f"SELECT {value} AS value, count(*) AS n FROM products "  # noqa: S608
            f"WHERE first_picture AND value IS NOT NULL AND {condition}"
        )
        with self._connection.cursor() as cursor:
            if excluded is not None:
                # Only this cursor sees it. As a bound list, a million rows would take seconds.
                cursor.register("excluded", pa.table({"row": excluded}))
                statement += " AND row NOT IN (SELECT row FROM excluded)"
            statement += f" GROUP BY 1 ORDER BY n DESC, 1{'' if limit is None else f' LIMIT {limit:d}'}"
            counts = cursor.execute(statement, [*value_parameters, *parameters]).fetchall()
        return [FacetCount(value, int(count)) for value, count in counts]

    def _translate(self, conditions: Filter) -> Filter | None:
        """Put columns under their SQL names; None if a condition needs a value of a column that this segment lacks."""
        if any(condition.needs_value for condition in conditions if condition.column not in self._columns):
            return None
        return tuple(
            replace(condition, column=self._sql_names[condition.column])
            for condition in conditions
            if condition.column in self._columns
        )


def connect(path: Path, *, threads: int = 1) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file read only. SQL can reach nothing but this file, and no statement can change that."""
    return duckdb.connect(
        str(path),
        read_only=True,
        config={"enable_external_access": "false", "lock_configuration": "true", "threads": str(threads)},
    )


def _no_rows() -> np.ndarray:
    return np.empty(0, np.int64)


def _is_encodable(text: str) -> bool:
    """Return whether a text is valid Unicode; JSON can spell half of a surrogate pair, which no product id contains."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
