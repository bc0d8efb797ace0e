"""A set of a release's rows, in the forms that the ways of searching need."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from cachetools import LRUCache

from artifacts.index import planner
from artifacts.index.joined import RowLists
from artifacts.products.filters import Filter

#: Memory in bytes for the prepared filters of one base and of all its deltas that are open.
_CACHE_BYTES = 256 * 2**20

#: Memory in bytes of a cached entry, beside its arrays.
_ENTRY_BYTES = 1000


@dataclass(frozen=True)
class RowFilter:
    """The rows that a search may return.

    Attributes:
        count: number of rows.
        bitmaps: of the base, and of the delta if there is one: uint8, one bit a row of the segment, little-endian.
        base_rows: rows of the base, allowed or not; the delta's are numbered from there.
        rows_per_list: int64[lists], number of the rows in each IVF list; None for a flat index.
        conditions: the filter that lets them pass.
        changed_rows: int64, where an engine searches: the rows of the base that pass by their attributes in the delta,
            of which the engine knows nothing.
        row_ids: row numbers uint32, ascending, if they are few enough for a search that scores them one by one; None
            otherwise: at 4 bytes a row they would take most of a server's memory.
    """

    count: int
    bitmaps: tuple[np.ndarray, ...]
    base_rows: int
    rows_per_list: np.ndarray | None
    row_ids: np.ndarray | None
    conditions: Filter = ()
    changed_rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def rows(self) -> np.ndarray:
        """Row numbers int64, ascending."""
        if self.row_ids is not None:
            return self.row_ids.astype(np.int64)
        return rows_of_bitmaps(self.bitmaps, self.base_rows)

    @cached_property
    def useful_lists(self) -> int:
        """Number of IVF lists that hold any of the rows; 0 for a flat index."""
        return 0 if self.rows_per_list is None else int(np.count_nonzero(self.rows_per_list))

    @cached_property
    def allowed_of_base(self) -> int:
        """Number of the rows that are the base's."""
        return int(np.bitwise_count(self.bitmaps[0]).sum())

    def __contains__(self, row: int) -> bool:
        part, position = (0, row) if row < self.base_rows else (1, row - self.base_rows)
        return bool(self.bitmaps[part][position >> 3] >> (position & 7) & 1)

    def allows(self, rows: np.ndarray) -> np.ndarray:
        """Return which of the release's rows int64[n] pass, bool[n]."""
        allowed = np.zeros(len(rows), bool)
        in_base = rows < self.base_rows
        allowed[in_base] = bits_of(self.bitmaps[0], rows[in_base])
        if len(self.bitmaps) > 1:
            allowed[~in_base] = bits_of(self.bitmaps[1], rows[~in_base] - self.base_rows)
        return allowed

    def mask(self, rows: np.ndarray) -> np.ndarray:
        """Return which of consecutive rows of one segment, int64[n], are among them: bool[n]."""
        part, first = (0, int(rows[0])) if rows[0] < self.base_rows else (1, int(rows[0]) - self.base_rows)
        packed = self.bitmaps[part][first >> 3 : (first + len(rows) + 7) >> 3]
        return np.unpackbits(packed, bitorder="little")[first & 7 :][: len(rows)].astype(bool)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        arrays = (*self.bitmaps, self.rows_per_list, self.row_ids, self.changed_rows)
        return sum(0 if array is None else array.nbytes for array in arrays)


def base_row_filter(
    rows: np.ndarray, base_rows: int, lists: RowLists | None, list_count: int, conditions: Filter = ()
) -> RowFilter:
    """Prepare rows of a base.

    Args:
        rows: row numbers int64, distinct, in any order.
        base_rows: number of rows of the base.
        lists: the IVF list of each row; None for a flat index.
        list_count: number of lists.
        conditions: that the rows pass.
    """
    mask = np.zeros(base_rows, bool)
    mask[rows] = True
    rows_per_list = None if lists is None else lists.counts(mask, list_count)
    row_ids = np.flatnonzero(mask).astype(np.uint32) if len(rows) <= planner.MAX_EXACT_ROWS else None
    bitmaps = (np.packbits(mask, bitorder="little"),)
    return RowFilter(len(rows), bitmaps, base_rows, rows_per_list, row_ids, conditions)


def changed_row_filter(
    base: RowFilter,
    removed: np.ndarray,
    added: np.ndarray,
    lists: Sequence[RowLists | None],
    delta_rows: int,
    *,
    keep_changed: bool = False,
) -> RowFilter:
    """Apply a delta to a filter of its base: the cost follows the delta, but for copying a bitmap.

    Args:
        base: prepared for the base alone.
        removed: row numbers int64 of the base that it must not contain, unless they are in `added`.
        added: row numbers int64 of the base and the delta that pass, by their attributes in the delta.
        lists: the IVF list of each row, of the base and of the delta; None for a flat index.
        delta_rows: number of rows of the delta.
        keep_changed: whether the filter has `changed_rows`, which only searches by an engine need.
    """
    size = base.base_rows
    removed = removed[bits_of(base.bitmaps[0], removed)]
    added_base, added_delta = added[added < size], added[added >= size] - size
    bitmap, delta_bitmap = base.bitmaps[0].copy(), np.zeros((delta_rows + 7) // 8, np.uint8)
    np.bitwise_and.at(bitmap, removed >> 3, ~_bit(removed))
    kept = None if base.row_ids is None else base.row_ids[bits_of(bitmap, base.row_ids)]
    np.bitwise_or.at(bitmap, added_base >> 3, _bit(added_base))
    np.bitwise_or.at(delta_bitmap, added_delta >> 3, _bit(added_delta))
    rows_per_list = base.rows_per_list
    if rows_per_list is not None and lists[0] is not None and lists[1] is not None:
        rows_per_list = rows_per_list.copy()
        np.subtract.at(rows_per_list, lists[0].gather(removed), 1)
        np.add.at(rows_per_list, lists[0].gather(added_base), 1)
        np.add.at(rows_per_list, lists[1].gather(added_delta), 1)
    count = base.count - len(removed) + len(added)
    row_ids = None
    if count <= planner.MAX_EXACT_ROWS and kept is None:
        row_ids = rows_of_bitmaps((bitmap, delta_bitmap), size).astype(np.uint32)
    elif count <= planner.MAX_EXACT_ROWS and kept is not None:
        row_ids = np.sort(np.concatenate([kept, added.astype(np.uint32)]))
    changed = added_base if keep_changed else np.empty(0, np.int64)
    return RowFilter(count, (bitmap, delta_bitmap), size, rows_per_list, row_ids, base.conditions, changed)


def bits_of(bitmap: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the bits of rows int64[n] in a little-endian bitmap, bool[n]."""
    return (bitmap[rows >> 3] >> (rows & 7).astype(np.uint8) & 1).astype(bool)


def rows_of_bitmaps(bitmaps: Sequence[np.ndarray], base_rows: int) -> np.ndarray:
    """Return the row numbers int64, ascending, of the bits that are set in the bitmaps of a base and its delta."""
    parts = [np.flatnonzero(np.unpackbits(bitmap, bitorder="little")) for bitmap in bitmaps]
    return parts[0] if len(parts) == 1 else np.concatenate([parts[0], parts[1] + base_rows])


def _bit(rows: np.ndarray) -> np.ndarray:
    """Return for each row the byte with only its bit set, uint8[n]."""
    return np.left_shift(np.uint8(1), (rows & 7).astype(np.uint8))


class RowFilterCache:
    """Keeps the row filters of recent filters. Safe to use from several threads at once.

    While a server keeps releases that searches page through, many deltas of a base are open. They share its limit:
    the filters of a delta that is no longer searched are the first to go.

    Args:
        base: the cache of a delta's base, whose memory is shared; None for a base.
        max_bytes: memory limit of a base's cache; a larger row filter is prepared for each search.
    """

    def __init__(self, base: RowFilterCache | None = None, *, max_bytes: int = _CACHE_BYTES) -> None:
        if base is None:
            self._cache: LRUCache[tuple[object, str], RowFilter] = LRUCache(
                max_bytes, getsizeof=lambda kept: _ENTRY_BYTES + kept.nbytes
            )
            self._lock = threading.Lock()
        else:
            self._cache, self._lock = base._cache, base._lock
        self._owner = object()  # part of the keys: two segments' filters of the same text differ

    def get(self, conditions: Filter, prepare: Callable[[], RowFilter]) -> RowFilter:
        """Return the row filter of a filter; `prepare` makes it if it is not kept."""
        kept = self.find(conditions)
        if kept is not None:
            return kept
        prepared = prepare()
        with self._lock:
            if _ENTRY_BYTES + prepared.nbytes <= self._cache.maxsize:
                self._cache[self._key(conditions)] = prepared
        return prepared

    def find(self, conditions: Filter) -> RowFilter | None:
        """Return the row filter of a filter, if it is kept."""
        with self._lock:
            return self._cache.get(self._key(conditions))

    def _key(self, conditions: Filter) -> tuple[object, str]:
        # By its text: 1, 1.0 and True are equal to Python, but may be values of columns of different types.
        return self._owner, repr(conditions)
