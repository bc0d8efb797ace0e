"""The Arrow files of a segment's product rows: reads rows by number, as dicts or as arrays.

The files are mapped, and the rows stay where they are mapped: worker processes share them in the page cache.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from artifacts.products.columns import filterable_columns, type_of_column
from artifacts.products.conform import cast
from artifacts.schema import CATALOG_COLUMNS, TIMESTAMP, attributes_of

ARROW_FILE = "products.arrow"

#: Column with the numbers of rows of another segment; no attribute may have its name.
ROW_COLUMN = "row"

#: Rows of a record batch, but for a file's last. Rows are written batch by batch, so that no writer holds all of them.
BATCH_ROWS = 1 << 20

#: Columns that every result has under their own names; the others are its `attributes`.
_RESULT_FIELDS = frozenset(("product_id", "picture", "image_url", *CATALOG_COLUMNS))


class ProductTable:
    """Product rows in Arrow files of one schema. Safe to use from several threads at once.

    Args:
        paths: of the files, whose rows follow each other.

    Attributes:
        table: all rows, as the files have them.
        schema: of the rows, as they are read.
        rows: number of rows.
        row_numbers: int64[rows], where the file names the row of another segment that each of its rows speaks for.
        columns: the columns that can be filtered on, with their Arrow types.
        null_values: column -> array [1] of a missing value, as `as_numpy` converts it.
    """

    def __init__(self, *paths: Path) -> None:
        self._mapped = [pa.memory_map(str(path)) for path in paths]
        self.table = pa.concat_tables([pa.ipc.open_file(mapped).read_all() for mapped in self._mapped])
        self.row_numbers: np.ndarray | None = None
        if ROW_COLUMN in self.table.column_names:
            self.row_numbers = self.table[ROW_COLUMN].to_numpy()
            self.table = self.table.drop_columns([ROW_COLUMN])
        self.rows: int = self.table.num_rows
        # The columns' batches: taking from these costs a third of taking from the table (20 rows: 0.07 ms). They stay
        # where they are mapped; combine_chunks would copy them into the memory of each worker.
        self._batches = {
            field.name: column.chunks or [pa.array([], field.type)]
            for field, column in zip(self.table.schema, self.table.columns, strict=True)
        }
        # The first row of each batch.
        self._starts = np.cumsum([0, *map(len, self._batches["product_id"][:-1])])
        self._set_schema(self.table.schema)

    def _set_schema(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.columns = filterable_columns(schema)
        self.null_values = {field.name: as_numpy(pa.nulls(1, field.type)) for field in schema}

    def with_types_of(self, schema: pa.Schema) -> ProductTable:
        """Return this table with the types that its columns have in another schema.

        Values are cast when they are read, as filters cast them: one that cannot be cast is missing. The two tables
        share the file.
        """
        fields = [
            field.with_type(schema.field(field.name).type)
            if field.name in schema.names
            and type_of_column(field.type) is not type_of_column(schema.field(field.name).type)
            else field
            for field in self.schema
        ]
        if fields == list(self.schema):
            return self
        table = copy.copy(self)
        table._set_schema(pa.schema(fields))
        return table

    def close(self) -> None:
        """Unmap the files."""
        self.table = self.table.slice(0, 0)
        self._batches = {}
        for mapped in self._mapped:
            mapped.close()

    @property
    def attributes(self) -> list[str]:
        """Names of the catalog's own columns."""
        return list(attributes_of(self.table.schema))

    def take(self, rows: Sequence[int] | np.ndarray, columns: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Return rows as dicts, in the order of their numbers.

        Args:
            rows: row numbers.
            columns: names; all columns if None. A column that this segment lacks is one of a newer segment: no row has
                a value in it.
        """
        columns = self.table.schema.names if columns is None else list(columns)
        present = [name for name in columns if name in self.table.schema.names]
        absent = dict.fromkeys(name for name in columns if name not in present)
        return [{**dict(zip(present, values, strict=True)), **absent} for values in self._values(rows, present)]

    def to_results(self, rows: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        """Return rows as dicts of an answer: the known columns, then the catalog's own columns in `attributes`."""
        known = [name for name in self.table.schema.names if name in _RESULT_FIELDS]
        own = [name for name in self.table.schema.names if name not in _RESULT_FIELDS]
        cut = len(known)
        return [
            {
                **dict(zip(known, values[:cut], strict=True)),
                "attributes": dict(zip(own, values[cut:], strict=True)),
            }
            for values in self._values(rows, known + own)
        ]

    def arrays(self, rows: Sequence[int] | np.ndarray, columns: Iterable[str]) -> dict[str, np.ndarray]:
        """Return columns of rows as arrays [n], converted by `as_numpy`; columns that this segment lacks are left out.

        Args:
            rows: row numbers.
        """
        return {name: as_numpy(column) for name, column in self._columns(rows, columns)}

    def product_ids(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """Return the product of each row, in the order of the row numbers."""
        ((_, column),) = self._columns(rows, ["product_id"])
        return column.to_pylist()

    def rows_table(self, rows: Sequence[int] | np.ndarray) -> pa.Table:
        """Return rows as a table, in the order of their numbers."""
        columns = [column for _, column in self._columns(rows, self.table.schema.names)]
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _values(self, rows: Sequence[int] | np.ndarray, columns: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        """Iterate over the values of these columns, row by row."""
        if not columns:
            return itertools.repeat((), len(rows))
        return zip(*(_to_list(column) for _, column in self._columns(rows, columns)), strict=True)

    def _columns(self, rows: Sequence[int] | np.ndarray, columns: Iterable[str]) -> Iterator[tuple[str, pa.Array]]:
        """Yield columns of rows by name; those that this file lacks are left out."""
        for name, column in self._stored_columns(rows, columns):
            dtype = self.schema.field(name).type
            yield name, column if column.type == dtype else cast(column, dtype).combine_chunks()

    def _stored_columns(
        self, rows: Sequence[int] | np.ndarray, columns: Iterable[str]
    ) -> Iterator[tuple[str, pa.Array]]:
        present = [name for name in columns if name in self._batches]
        if len(self._batches["product_id"]) == 1:
            numbers = pa.array(rows, pa.int64())
            for name in present:
                yield name, self._batches[name][0].take(numbers)
            return
        positions = np.asarray(rows, np.int64)
        order = np.argsort(positions, kind="stable")
        batch_of = np.searchsorted(self._starts, positions[order], side="right") - 1
        in_batch = positions[order] - self._starts[batch_of]
        used, starts = np.unique(batch_of, return_index=True)
        stops = [*starts[1:], len(in_batch)]  # one more than batches if there are no rows
        parts = [(int(batch), pa.array(in_batch[i:j])) for batch, i, j in zip(used, starts, stops, strict=False)]
        back = pa.array(np.argsort(order, kind="stable"))
        for name in present:
            batches = self._batches[name]
            taken = [batches[batch].take(numbers) for batch, numbers in parts] or [batches[0].slice(0, 0)]
            yield name, pa.concat_arrays(taken).take(back)


def as_numpy(column: pa.Array) -> np.ndarray:
    """Convert an Arrow column to NumPy.

    Returns:
        Numbers and booleans as float64 (NaN where missing), times as datetime64[us] (NaT where missing), texts as
        objects, str or None.
    """
    if pa.types.is_boolean(column.type) or pa.types.is_integer(column.type):
        column = column.cast(pa.float64(), safe=False)  # integers beyond 2^53 lose their last digits
    return column.to_numpy(zero_copy_only=False)


def _to_list(column: pa.Array) -> list[Any]:
    """Convert a column to Python values. Arrow takes 2.5 µs for each time, a hundred times as long as for a number."""
    if column.type != TIMESTAMP:
        return column.to_pylist()
    times = column.to_numpy(zero_copy_only=False).tolist()
    return [None if time is None else time.replace(tzinfo=UTC) for time in times]
