"""The product rows of a segment: an Arrow file to show rows from, a DuckDB file to filter and count with.

Both hold the same rows in the order of the vectors. Taking 20 rows from the mapped Arrow file costs 0.1 ms; the same
through SQL costs 2-50 ms. Finding which of a million rows pass a filter is what DuckDB is for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from artifacts.products.filters import Filter
from artifacts.products.sql import quoted, to_sql
from artifacts.schema import CATALOG_COLUMNS, TIMESTAMP, attributes_of

ARROW_FILE = "products.arrow"
DUCKDB_FILE = "products.duckdb"

#: Columns of the segment that are not for filtering; of these SQL keeps what the others need.
_HIDDEN = ("product_id", "picture", "image_url", "title")
#: Columns that every answer has under their own names.
_KNOWN = frozenset(("product_id", "picture", "image_url", *CATALOG_COLUMNS))
#: SQL types of the types that a catalog's columns have.
_SQL_TYPES = {
    "double": "DOUBLE", "int64": "BIGINT", "bool": "BOOLEAN", "string": "VARCHAR", "large_string": "VARCHAR",
    str(TIMESTAMP): "TIMESTAMPTZ",
}  # fmt: skip

#: Up to so many ids are looked up in the index one by one (0.2 ms each); for more, one scan of the column is faster.
_INDEXED_IDS = 100


def sql_name(schema: pa.Schema, column: str) -> str:
    """The name of a column in the DuckDB file.

    The catalog's own columns go by their position: SQL does not tell Color from color, and `row` is taken.
    """
    known = column in CATALOG_COLUMNS or column == "picture"
    return column if known else f"attribute_{schema.get_field_index(column)}"


@dataclass(frozen=True)
class FacetCount:
    """How many products have a value."""

    value: Any
    count: int


class Products:
    """Reads the product rows of one segment. Safe to use from several threads at once.

    Args:
        folder: the segment's folder on this machine.
        threads: threads of one SQL statement.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        self._mapped = pa.memory_map(str(folder / ARROW_FILE))
        self.table = pa.ipc.open_file(self._mapped).read_all()
        self.rows = self.table.num_rows
        # The columns of the one batch: to take from these costs a third of taking from the table. They are where they
        # are mapped; combine_chunks would copy them into the memory of each worker.
        self._arrays = {
            field.name: column.chunk(0) if column.num_chunks else pa.array([], field.type)
            for field, column in zip(self.table.schema, self.table.columns, strict=True)
        }
        #: All columns, each with an array [1] of no value, as `as_numpy` has it.
        self.nothing = {field.name: as_numpy(pa.nulls(1, field.type)) for field in self.table.schema}
        #: Those that can be filtered on, with their types.
        self.columns = {field.name: field.type for field in self.table.schema if field.name not in _HIDDEN}
        self._connection = duckdb.connect(
            str(folder / DUCKDB_FILE),
            read_only=True,
            # Nothing but this file can be reached from SQL, and no statement can change that.
            config={"enable_external_access": "false", "lock_configuration": "true", "threads": str(threads)},
        )

    def close(self) -> None:
        self._connection.close()
        self.table = self.table.slice(0, 0)
        self._arrays = {}
        self._mapped.close()

    @property
    def attributes(self) -> list[str]:
        """Names of the catalog's own columns."""
        return list(attributes_of(self.table.schema))

    def take(self, rows: Sequence[int] | np.ndarray, columns: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """These columns, or all, of the rows of these numbers, in this order.

        A column that is not here is one of a newer segment: no row has a value in it.
        """
        columns = self.table.schema.names if columns is None else list(columns)
        here = [name for name in columns if name in self.table.schema.names]
        absent = dict.fromkeys(name for name in columns if name not in here)
        return [{**dict(zip(here, values, strict=True)), **absent} for values in self._values(rows, here)]

    def to_results(self, rows: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        """The rows of these numbers as answers show them: the known columns, then the catalog's own in `attributes`."""
        own = [name for name in self.table.schema.names if name not in _KNOWN]
        known = [name for name in self.table.schema.names if name in _KNOWN]
        cut = len(known)
        return [
            {
                **dict(zip(known, values[:cut], strict=True)),
                "attributes": dict(zip(own, values[cut:], strict=True)),
            }
            for values in self._values(rows, known + own)
        ]

    def _values(self, rows: Sequence[int] | np.ndarray, columns: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        """Row by row the values of these columns."""
        if not columns:
            return itertools.repeat((), len(rows))
        numbers = pa.array(rows, pa.int64())
        return zip(*(_listed(self._arrays[name].take(numbers)) for name in columns), strict=True)

    def arrays(self, rows: Sequence[int] | np.ndarray, columns: Iterable[str]) -> dict[str, np.ndarray]:
        """These columns, of those that are here, of the rows of these numbers; see `as_numpy`."""
        numbers = pa.array(rows, pa.int64())
        return {name: as_numpy(self._arrays[name].take(numbers)) for name in columns if name in self._arrays}

    def product_ids(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        return self._arrays["product_id"].take(pa.array(rows, pa.int64())).to_pylist()

    def rows_of(self, product_ids: Sequence[str]) -> np.ndarray:
        """Row numbers int64 of all pictures of these products, ascending; unknown ids have none."""
        ids = [product_id for product_id in set(product_ids) if _is_text(product_id)]
        if len(ids) <= _INDEXED_IDS:
            return self._rows(f"product_id IN ({', '.join('?' * len(ids))})", ids) if ids else _no_rows()
        return self._rows("product_id IN (SELECT unnest(?))", [ids])

    def matching_rows(self, conditions: Filter) -> np.ndarray:
        """Row numbers int64, ascending, of the rows that pass a filter.

        A column that is not here is one that a newer segment introduced: no row has a value in it.
        """
        here = self._conditions_here(conditions)
        return _no_rows() if here is None else self._rows(*to_sql(here))

    def first_pictures(self) -> np.ndarray:
        """Row numbers int64, ascending, of one row of each product."""
        return self._rows("first_picture", [])

    def facet(
        self,
        column: str,
        conditions: Filter,
        excluded: np.ndarray | None = None,
        *,
        dtype: pa.DataType | None = None,
        limit: int | None = None,
    ) -> list[FacetCount]:
        """Number of products for each value of a column among those that pass a filter; limit frequent first.

        Args:
            excluded: row numbers int64 of products that are not counted.
            dtype: count the values as this type, what cannot be cast as if there were no value.
            limit: no more values than these.
        """
        here = self.columns.get(column)
        cast = "{}" if dtype is None or dtype == here else f"TRY_CAST({{}} AS {_SQL_TYPES[str(dtype)]})"
        return self._count(column, conditions, excluded, lambda name: (cast.format(name), []), limit)

    def bands(
        self, column: str, edges: Sequence[float], conditions: Filter, excluded: np.ndarray | None = None
    ) -> list[FacetCount]:
        """The same for numbers, by band: value 0 is below the first edge, value i from edge i-1 to below edge i."""

        def band(name: str) -> tuple[str, list[Any]]:
            number = f"TRY_CAST({name} AS DOUBLE)"
            reached = " + ".join(["0", *(f"({number} >= ?::DOUBLE)::INT" for _ in edges)])
            return f"CASE WHEN {number} IS NOT NULL THEN {reached} END", list(edges)

        return self._count(column, conditions, excluded, band)

    def quantiles(self, column: str, shares: Sequence[float]) -> list[float]:
        """Values of a column of numbers below which these shares of the products lie; [] where none has a value."""
        name = quoted(sql_name(self.table.schema, column))
        statement = f"SELECT quantile_disc(TRY_CAST({name} AS DOUBLE), ?::DOUBLE[]) FROM products WHERE first_picture"  # noqa: S608
        with self._connection.cursor() as cursor:
            found = cursor.execute(statement, [list(shares)]).fetchone()
        return list(found[0]) if found and found[0] else []

    def _count(
        self,
        column: str,
        conditions: Filter,
        excluded: np.ndarray | None,
        expression: Callable[[str], tuple[str, list[Any]]],
        limit: int | None = None,
    ) -> list[FacetCount]:
        """Products by an SQL expression of a column's name, over all that have a value and pass a filter."""
        here = self._conditions_here(conditions)
        if here is None or column not in self.columns:
            return []
        name = quoted(sql_name(self.table.schema, column))
        counted, counted_parameters = expression(name)
        where, parameters = to_sql(here)
        statement = (
            f"SELECT {counted} AS value, count(*) AS n FROM products "  # noqa: S608
            f"WHERE first_picture AND value IS NOT NULL AND {where}"
        )
        with self._connection.cursor() as cursor:
            if excluded is not None:
                # Seen by this cursor alone. As a bound list, a million rows would take seconds.
                cursor.register("excluded", pa.table({"row": excluded}))
                statement += " AND row NOT IN (SELECT row FROM excluded)"
            statement += f" GROUP BY 1 ORDER BY n DESC, 1{'' if limit is None else f' LIMIT {limit:d}'}"
            counts = cursor.execute(statement, [*counted_parameters, *parameters]).fetchall()
        return [FacetCount(value, int(count)) for value, count in counts]

    def _conditions_here(self, conditions: Filter) -> Filter | None:
        """The conditions under the names that columns have in SQL; None if no row can meet them.

        Where there is no such column, no product has a value in it.
        """
        columns = self.columns
        missing = [each for each in conditions if each.column not in columns]
        if any(each.needs_a_value for each in missing):
            return None
        return tuple(
            replace(each, column=sql_name(self.table.schema, each.column))
            for each in conditions
            if each.column in columns
        )

    def _rows(self, where: str, parameters: list[Any]) -> np.ndarray:
        statement = f"SELECT row FROM products WHERE {where} ORDER BY row"  # noqa: S608
        # A cursor of its own for each call: a connection's result belongs to one thread until it is read.
        with self._connection.cursor() as cursor:
            return np.ascontiguousarray(cursor.execute(statement, parameters).fetchnumpy()["row"], np.int64)


def as_numpy(column: pa.Array) -> np.ndarray:
    """Numbers and truth values as float64 (NaN: none), times as datetime64[us] (NaT: none), texts as str or None."""
    if pa.types.is_boolean(column.type) or pa.types.is_integer(column.type):
        column = column.cast(pa.float64(), safe=False)  # whole numbers beyond 2^53 lose their last digits
    return column.to_numpy(zero_copy_only=False)


def _listed(column: pa.Array) -> list[Any]:
    """The values as Python's. Arrow takes 2.5 µs for each time, a hundred times as long as for a number."""
    if column.type != TIMESTAMP:
        return column.to_pylist()
    return [
        None if each is None else each.replace(tzinfo=UTC) for each in column.to_numpy(zero_copy_only=False).tolist()
    ]


def _no_rows() -> np.ndarray:
    return np.empty(0, np.int64)


def _is_text(value: str) -> bool:
    """Whether a text is made of whole characters; JSON can spell half of a surrogate pair, which no product id has."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
