"""A set of a segment's rows, in the forms that the ways of searching need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class RowFilter:
    """The rows of a segment that a search may return.

    Attributes:
        count: number of rows.
        bitmap: uint8, one bit a row of the segment, little-endian.
        rows_per_list: int64[lists], number of the rows in each IVF list; None for a flat index.
        row_ids: row numbers uint32, ascending, if they are few enough for a search that scores them one by one; None
            otherwise: at 4 bytes a row they would take most of a server's memory.
    """

    count: int
    bitmap: np.ndarray
    rows_per_list: np.ndarray | None
    row_ids: np.ndarray | None

    @property
    def rows(self) -> np.ndarray:
        """Row numbers int64, ascending."""
        if self.row_ids is not None:
            return self.row_ids.astype(np.int64)
        return np.flatnonzero(np.unpackbits(self.bitmap, bitorder="little"))

    @cached_property
    def useful_lists(self) -> int:
        """Number of IVF lists that hold any of the rows; 0 for a flat index."""
        return 0 if self.rows_per_list is None else int(np.count_nonzero(self.rows_per_list))

    def __contains__(self, row: int) -> bool:
        return bool(self.bitmap[row >> 3] >> (row & 7) & 1)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        arrays = (self.bitmap, self.rows_per_list, self.row_ids)
        return sum(0 if array is None else array.nbytes for array in arrays)
