"""Arrays of several files as one: the rows of a file follow those of the file before."""

from __future__ import annotations

import numpy as np


class Joined:
    """Arrays with one entry or one vector for each row, mapped from files that processes share by the page cache.

    Args:
        parts: at least one; their rows are numbered one part after the other.
    """

    def __init__(self, *parts: np.ndarray) -> None:
        self.parts = parts
        self.rows = sum(map(len, parts))
        self.starts = np.cumsum([0, *map(len, parts)])

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the entries of int64 row numbers, in any order."""
        if len(self.parts) == 1:
            return self.parts[0].take(rows, axis=0)
        order = np.argsort(rows, kind="stable")
        entries = np.empty((len(rows), *self.parts[0].shape[1:]), self.parts[0].dtype)
        entries[order] = self.gather_ascending(rows[order])
        return entries

    def gather_ascending(self, rows: np.ndarray) -> np.ndarray:
        """Return the entries of ascending int64 row numbers."""
        if len(self.parts) == 1:
            return self.parts[0].take(rows, axis=0)
        entries = np.empty((len(rows), *self.parts[0].shape[1:]), self.parts[0].dtype)
        cuts = np.searchsorted(rows, self.starts)
        for part, start, first, last in zip(self.parts, self.starts, cuts, cuts[1:], strict=False):
            # With `clip` NumPy writes to the output directly; the rows are known to be there.
            part.take(rows[first:last] - start, axis=0, out=entries[first:last], mode="clip")
        return entries


class RowLists(Joined):
    """The IVF list of each row, int32[rows]."""

    def counts(self, mask: np.ndarray, lists: int) -> np.ndarray:
        """Return the number of rows in each list, int64[lists], of those where a bool[rows] is true."""
        counts = np.zeros(lists, np.int64)
        for part, start in zip(self.parts, self.starts, strict=False):
            counts += np.bincount(part[mask[start : start + len(part)]], minlength=lists)
        return counts

    def sizes(self, lists: int) -> np.ndarray:
        """Return the number of rows in each list, int64[lists]."""
        sizes = np.zeros(lists, np.int64)
        for part in self.parts:
            sizes += np.bincount(part, minlength=lists)
        return sizes
