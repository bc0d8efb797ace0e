"""Reads product rows of a release by number: those of the base, of the delta, and updates in place of the base's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from artifacts.products.conform import conform
from artifacts.products.table import ProductTable
from artifacts.segments.segment import Segment

T = TypeVar("T")


class ProductRows:
    """The product rows of a release. Safe to use from several threads at once.

    Args:
        base: open.
        delta: of this base, open; None if there is none.

    Attributes:
        columns: the columns that can be filtered on, with their Arrow types; where base and delta differ, the delta's.
            Values of the base are cast to it, as filters cast them: one that cannot be cast is missing.
        attributes: names of the catalog's own columns.
    """

    def __init__(self, base: Segment, delta: Segment | None) -> None:
        self._base, self._delta = base, delta
        self._base_rows = base.info.rows
        # One release answers with one type: an attribute may have been a number in the base, and be a text now.
        self._base_table = base.products if delta is None else base.products.with_types_of(delta.products.schema)
        tables = [self._base_table] if delta is None else [self._base_table, delta.products]
        self.columns = {name: dtype for table in tables for name, dtype in table.columns.items()}
        self.attributes = tables[-1].attributes
        self._null_values = {name: value for table in tables for name, value in table.null_values.items()}

    def take(self, rows: np.ndarray, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return rows as dicts, in the order of their numbers; see ProductTable.take.

        Args:
            rows: row numbers int64.
            columns: names; all columns if None.
        """
        return self._collect(rows, lambda table, numbers: table.take(numbers, columns))

    def to_results(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """Return rows as dicts of an answer; see ProductTable.to_results."""
        results = self._collect(rows, lambda table, numbers: table.to_results(numbers))
        if self._delta is not None and self._base_table.attributes != self.attributes:
            for result in results:  # the base lacks an attribute, or has it at another position
                values = result["attributes"]
                result["attributes"] = {name: values.get(name) for name in self.attributes}
        return results

    def product_ids(self, rows: np.ndarray) -> list[str]:
        """Return the product of each row, in the order of the row numbers."""
        if self._delta is None:
            return self._base_table.product_ids(rows)
        return self._collect(rows, lambda table, numbers: table.product_ids(numbers))

    def thumbnails(self, rows: np.ndarray) -> list[bytes | None]:
        """Return the stored thumbnail of each of the rows int64[n], JPEG; None where none is stored."""
        jpegs: list[bytes | None] = [None] * len(rows)
        in_delta = rows >= self._base_rows
        for segment, selected, first in ((self._base, ~in_delta, 0), (self._delta, in_delta, self._base_rows)):
            if segment is not None and segment.thumbnails:
                positions = np.flatnonzero(selected)
                found = segment.thumbnails.take(rows[positions] - first)
                for position, jpeg in zip(positions.tolist(), found, strict=True):
                    jpegs[position] = jpeg
        return jpegs

    def arrays(self, rows: np.ndarray, columns: Iterable[str]) -> dict[str, np.ndarray]:
        """Return columns of rows as arrays [n], as `artifacts.products.table.as_numpy` converts them.

        A column has the delta's type. A column that neither has is NaN.
        """
        unknown = np.array([np.nan])
        arrays = {name: np.repeat(self._null_values.get(name, unknown), len(rows)) for name in columns}
        for table, positions, numbers in self._tables(rows):
            for name, values in table.arrays(numbers, arrays).items():
                arrays[name][positions] = values
        return arrays

    def table(self, rows: np.ndarray, schema: pa.Schema) -> pa.Table:
        """Return rows as a table of a schema, in the order of their numbers; see `conform`."""
        parts: list[pa.Table] = []
        order: list[np.ndarray] = []
        for table, positions, numbers in self._tables(rows):
            parts.append(conform(table.rows_table(numbers), schema))
            order.append(positions)
        back = np.argsort(np.concatenate([np.empty(0, np.int64), *order]), kind="stable")
        return pa.concat_tables([schema.empty_table(), *parts]).take(pa.array(back))

    def _collect(self, rows: np.ndarray, read: Callable[[ProductTable, np.ndarray], list[T]]) -> list[T]:
        """Read each table's rows together; return the items in the order of the row numbers."""
        items: dict[int, T] = {}
        for table, positions, numbers in self._tables(rows):
            if len(positions) == len(rows):
                return read(table, numbers)
            items.update(zip(positions.tolist(), read(table, numbers), strict=True))
        return [items[position] for position in range(len(rows))]

    def _tables(self, rows: np.ndarray) -> Iterator[tuple[ProductTable, np.ndarray, np.ndarray]]:
        """Yield each table that has some of the rows, with their positions in `rows` and their numbers in the table."""
        if not len(rows):
            return
        if self._delta is None or self._delta.updates is None:
            yield self._base_table, np.arange(len(rows)), rows
            return
        updated = self._delta.updated_rows
        found = np.searchsorted(updated, rows)
        is_updated = np.zeros(len(rows), bool)
        if len(updated):
            is_updated = updated[np.minimum(found, len(updated) - 1)] == rows
        in_delta = rows >= self._base_rows
        for table, selected, numbers in (
            (self._base_table, ~(in_delta | is_updated), rows),
            (self._delta.updates, is_updated, found),
            (self._delta.products, in_delta, rows - self._base_rows),
        ):
            positions = np.flatnonzero(selected)
            if len(positions):
                yield table, positions, numbers[positions]
