"""What an engine holds of one segment, and the batches of rows that it is loaded from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

#: Rows of one batch: 2 MB of float16 at 512-d, within the limits of every engine's requests once it is split as needed.
BATCH_ROWS = 2_000


@dataclass(frozen=True)
class Collection:
    """The rows of one segment as an engine holds them. Their ids are their row numbers in the segment.

    Attributes:
        name: lower-case letters, digits and underscores, beginning with a letter; unique in the engine.
        rows: number of rows.
        dim: length of a vector. Vectors are L2-normalised, and scores are inner products.
        columns: the columns that can be filtered on, with their Arrow types.
        options: how it is built, loaded and searched, by the engine's own names; what is missing has its default.
    """

    name: str
    rows: int
    dim: int
    columns: Mapping[str, pa.DataType]
    options: Mapping[str, int | float | str] = field(default_factory=dict)

    def field(self, column: str) -> str:
        """Return the name of a column in the engine: columns are named by position, since theirs may be any text."""
        return f"c{list(self.columns).index(column)}"


@dataclass(frozen=True)
class RowBatch:
    """Consecutive rows of a segment.

    Attributes:
        first_row: number of the first.
        vectors: float16[n, dim], L2-normalised.
        columns: n rows with the collection's columns, under their catalog names; null where a product has no value.
    """

    first_row: int
    vectors: np.ndarray
    columns: pa.Table

    @property
    def rows(self) -> np.ndarray:
        """Row numbers int64[n]."""
        return np.arange(self.first_row, self.first_row + len(self.vectors))


#: Yields all batches from that of a row on, which is a multiple of BATCH_ROWS: BATCH_ROWS rows each, but for the last.
Batches = Callable[[int], Iterator[RowBatch]]
