"""The Arrow file of a segment's product rows: reads rows by number, as dicts or as arrays.

The file is mapped, and its rows stay where they are mapped: worker processes share them in the page cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from artifacts.products.columns import filterable_columns
from artifacts.schema import CATALOG_COLUMNS, TIMESTAMP, attributes_of

ARROW_FILE = "products.arrow"

#: Columns that every result has under their own names; the others are its `attributes`.
_RESULT_FIELDS = frozenset(("product_id", "picture", "image_url", *CATALOG_COLUMNS))


class ProductTable:
    """The product rows of one segment in Arrow. Safe to use from several threads at once.

    Args:
        folder: the segment's folder on this machine.

    Attributes:
        table: all rows.
        rows: number of rows.
        columns: the columns that can be filtered on, with their Arrow types.
        null_values: column -> array [1] of a missing value, as `as_numpy` converts it.
    """

    def __init__(self, folder: Path) -> None:
        self._mapped = pa.memory_map(str(folder / ARROW_FILE))
        self.table = pa.ipc.open_file(self._mapped).read_all()
        self.rows: int = self.table.num_rows
        # The columns of the one batch: taking from these costs a third of taking from the table. They stay where they
        # are mapped; combine_chunks would copy them into the memory of each worker.
        self._arrays = {
            field.name: column.chunk(0) if column.num_chunks else pa.array([], field.type)
            for field, column in zip(self.table.schema, self.table.columns, strict=True)
        }
        self.columns = filterable_columns(self.table.schema)
        self.null_values = {field.name: as_numpy(pa.nulls(1, field.type)) for field in self.table.schema}

    def close(self) -> None:
        """Unmap the file."""
        self.table = self.table.slice(0, 0)
        self._arrays = {}
        self._mapped.close()

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
        numbers = pa.array(rows, pa.int64())
        return {name: as_numpy(self._arrays[name].take(numbers)) for name in columns if name in self._arrays}

    def product_ids(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """Return the product of each row, in the order of the row numbers."""
        return self._arrays["product_id"].take(pa.array(rows, pa.int64())).to_pylist()

    def _values(self, rows: Sequence[int] | np.ndarray, columns: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        """Iterate over the values of these columns, row by row."""
        if not columns:
            return itertools.repeat((), len(rows))
        numbers = pa.array(rows, pa.int64())
        return zip(*(_to_list(self._arrays[name].take(numbers)) for name in columns), strict=True)


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
