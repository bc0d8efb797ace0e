"""Product rows in DuckDB: finds the rows that pass a filter, and counts products, over a base and its delta.

A delta's table names every product that differs from the base: its rows as they are now count 1 (`sign`), and the rows
of the base that they replace count -1. So counts need one scan of each table and no list of the rows to leave out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from artifacts.products.columns import filterable_columns, type_of_column
from artifacts.products.connection import connect, statement_parser
from artifacts.products.filters import Filter
from artifacts.products.sql import quoted, sql_name, where

DUCKDB_FILE = "products.duckdb"

#: Up to this many ids are looked up in the index one by one (0.2 ms each); for more, one scan of the column is faster.
_MAX_INDEXED_IDS = 100

#: Makes the SQL expression of a value to count from the name of its column: text and parameters.
Expression = Callable[[str], tuple[str, list[Any]]]


@dataclass(frozen=True)
class FacetCount:
    """Number of products with a value, or in a band of values."""

    value: Any
    count: int


class ProductTableSql:
    """One table of product rows, and the SQL that selects from it.

    Args:
        name: of the table, as SQL text.
        schema: of the product rows.
    """

    def __init__(self, name: str, schema: pa.Schema) -> None:
        self.name = name
        self.columns = filterable_columns(schema)
        self._sql_names = {column: sql_name(schema, column) for column in self.columns}

    def column(self, column: str) -> str:
        """Return a column's name as SQL text."""
        return quoted(self._sql_names[column])

    def condition(self, conditions: Filter) -> tuple[str, list[Any]] | None:
        """Return a filter as a WHERE expression and its parameters; None if no row of this table can pass.

        A column that this table lacks is one of a newer segment: no row has a value in it.
        """
        if any(condition.needs_value for condition in conditions if condition.column not in self.columns):
            return None
        return where(
            tuple(
                replace(condition, column=self._sql_names[condition.column])
                for condition in conditions
                if condition.column in self.columns
            )
        )


class ProductDatabase:
    """The product rows of a segment, or of a base and its delta. Read only; safe to use from several threads at once.

    Args:
        folder: the segment's folder on this machine.
        schema: of its product rows.
        delta: folder and schema of the delta, if there is one.
        threads: threads of one SQL statement.
    """

    def __init__(
        self, folder: Path, schema: pa.Schema, *, delta: tuple[Path, pa.Schema] | None = None, threads: int = 1
    ) -> None:
        files = {"base": folder / DUCKDB_FILE}
        if delta is not None:
            files["delta"] = delta[0] / DUCKDB_FILE
        self._connection = connect(files, threads=threads)
        self._base = ProductTableSql("base.products", schema)
        self._delta = None if delta is None else ProductTableSql("delta.products", delta[1])
        self._parse = statement_parser(self._connection)

    def close(self) -> None:
        """Close the files."""
        self._connection.close()

    # ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def matching_rows(self, conditions: Filter) -> np.ndarray:
        """Return the rows of the base that pass a filter, as the base has them: int64."""
        return self._rows(self._base, conditions)

    def matching_changes(self, conditions: Filter) -> np.ndarray:
        """Return the rows whose attributes are the delta's, of the base and of the delta, that pass a filter: int64.

        Rows of the delta are numbered from the base's number of rows.
        """
        return _no_rows() if self._delta is None else self._rows(self._delta, conditions, "sign > 0")

    def matching(self, conditions: Filter) -> tuple[np.ndarray, np.ndarray]:
        """Return `matching_rows` and `matching_changes` by one statement: two take 0.12 ms more."""
        found = [_selection(self._base, conditions, "row")]
        if self._delta is not None:
            found.append(_selection(self._delta, conditions, "-1 - row", "sign > 0"))
        selections = [selection for selection in found if selection is not None]
        if not selections:
            return _no_rows(), _no_rows()
        statement = " UNION ALL ".join(statement for statement, _ in selections)
        rows = self._fetch_rows(statement, [value for _, parameters in selections for value in parameters])
        return rows[rows >= 0], -1 - rows[rows < 0]

    def base_rows_of(self, product_ids: Sequence[str]) -> np.ndarray:
        """Return the row numbers of these products' pictures in the base: int64; unknown ids have none."""
        return self._rows_of(self._base, product_ids, "TRUE")

    def changed_rows_of(self, product_ids: Sequence[str]) -> np.ndarray:
        """Return the rows of these products whose attributes are the delta's, as `matching_changes` does."""
        return _no_rows() if self._delta is None else self._rows_of(self._delta, product_ids, "sign > 0")

    def first_pictures(self) -> np.ndarray:
        """Return the number of one row of each product of the base: int64."""
        return self._rows(self._base, (), "first_picture")

    def _rows(self, table: ProductTableSql, conditions: Filter, further: str = "TRUE") -> np.ndarray:
        selection = _selection(table, conditions, "row", further)
        return _no_rows() if selection is None else self._fetch_rows(*selection)

    def _rows_of(self, table: ProductTableSql, product_ids: Sequence[str], further: str) -> np.ndarray:
        ids = [product_id for product_id in dict.fromkeys(product_ids) if _is_encodable(product_id)]
        if not ids:
            return _no_rows()
        few = len(ids) <= _MAX_INDEXED_IDS
        listed = ", ".join("?" * len(ids)) if few else "SELECT unnest(?)"
        statement = f"SELECT row FROM {table.name} WHERE product_id IN ({listed}) AND {further}"  # noqa: S608
        return np.sort(self._fetch_rows(statement, ids if few else [ids]))

    def _fetch_rows(self, statement: str, parameters: list[Any]) -> np.ndarray:
        # Each call has a cursor of its own: a connection's result belongs to one thread until it is read.
        with self._connection.cursor() as cursor:
            (rows,) = cursor.execute(self._parse(statement), parameters).fetchnumpy().values()
        return np.ascontiguousarray(rows, np.int64)

    # ── counts ───────────────────────────────────────────────────────────────────────────────────────────────────

    def facet(
        self, column: str, conditions: Filter, *, dtype: pa.DataType | None = None, limit: int | None = None
    ) -> list[FacetCount]:
        """Count the products that pass a filter by their value in a column, most frequent first.

        Args:
            dtype: type to cast the values to; a value that cannot be cast counts as missing.
            limit: maximum number of values.
        """

        def expression(table: ProductTableSql) -> Expression:
            if dtype is None or dtype == table.columns[column]:
                return lambda name: (name, [])
            return lambda name: (f"TRY_CAST({name} AS {type_of_column(dtype).sql})", [])

        return self._count(column, conditions, expression, limit)

    def bands(self, column: str, edges: Sequence[float], conditions: Filter) -> list[FacetCount]:
        """Count the products that pass a filter by the band of their number in a column, most frequent first.

        Args:
            edges: ascending. Band 0 is below the first edge; band i is from edge i-1 (included) to edge i.
        """

        def band(name: str) -> tuple[str, list[Any]]:
            number = f"TRY_CAST({name} AS DOUBLE)"
            reached = " + ".join(["0", *(f"({number} >= ?::DOUBLE)::INT" for _ in edges)])
            return f"CASE WHEN {number} IS NOT NULL THEN {reached} END", list(edges)

        return self._count(column, conditions, lambda _: band)

    def quantiles(self, column: str, shares: Sequence[float]) -> list[float]:
        """Return quantiles of a numeric column over the products; [] where no product has a value.

        Args:
            shares: of the products, 0 to 1.
        """
        parts: list[str] = []
        for table in self._tables():
            if column in table.columns:
                rows = "sign > 0" if table is self._delta else "TRUE"
                if table is self._base and self._delta is not None:
                    rows = f"row NOT IN (SELECT row FROM {self._delta.name} WHERE sign < 0)"  # noqa: S608
                number = f"TRY_CAST({table.column(column)} AS DOUBLE)"
                parts.append(f"SELECT {number} AS number FROM {table.name} WHERE first_picture AND {rows}")  # noqa: S608
        if not parts:
            return []
        statement = f"SELECT quantile_disc(number, ?::DOUBLE[]) FROM ({' UNION ALL '.join(parts)})"  # noqa: S608
        with self._connection.cursor() as cursor:
            row = cursor.execute(self._parse(statement), [list(shares)]).fetchone()
        return list(row[0]) if row and row[0] else []

    def _tables(self) -> Iterator[ProductTableSql]:
        yield self._base
        if self._delta is not None:
            yield self._delta

    def _count(
        self,
        column: str,
        conditions: Filter,
        expression: Callable[[ProductTableSql], Expression],
        limit: int | None = None,
    ) -> list[FacetCount]:
        """Count products by an SQL expression of a column's name, over all that have a value and pass a filter."""
        counts: list[str] = []
        parameters: list[Any] = []
        for table in self._tables():
            translated = table.condition(conditions)
            if translated is None or column not in table.columns:
                continue
            value, value_parameters = expression(table)(table.column(column))
            condition, condition_parameters = translated
            # The delta's rows are few: grouping them together with the base's counts takes 0.2 ms less.
            number, group = ("sign", "") if table is self._delta else ("count(*)", " GROUP BY 1")
            counts.append(
                f"SELECT {value} AS value, {number} AS n FROM {table.name} "  # noqa: S608
                f"WHERE first_picture AND value IS NOT NULL AND {condition}{group}"
            )
            parameters += [*value_parameters, *condition_parameters]
        if not counts:
            return []
        statement = counts[0]
        if self._delta is not None:
            statement = f"SELECT value, sum(n) AS n FROM ({' UNION ALL '.join(counts)}) GROUP BY 1 HAVING sum(n) > 0"  # noqa: S608
        statement += f" ORDER BY n DESC, 1{'' if limit is None else f' LIMIT {limit:d}'}"
        with self._connection.cursor() as cursor:
            rows = cursor.execute(self._parse(statement), parameters).fetchall()
        return [FacetCount(value, int(count)) for value, count in rows]


def _selection(
    table: ProductTableSql, conditions: Filter, expression: str, further: str = "TRUE"
) -> tuple[str, list[Any]] | None:
    """Return a statement that selects the rows of a table that pass a filter, and its parameters; None if none can."""
    translated = table.condition(conditions)
    if translated is None:
        return None
    condition, parameters = translated
    return f"SELECT {expression} FROM {table.name} WHERE {further} AND {condition}", parameters  # noqa: S608


def _no_rows() -> np.ndarray:
    return np.empty(0, np.int64)


def _is_encodable(text: str) -> bool:
    """Return whether a text is valid Unicode; JSON can spell half of a surrogate pair, which no product id contains."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
