"""Loading of a collection: a limited number of batches in flight, and where an interrupted load goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

_Batch = TypeVar("_Batch")


def write_batches(write: Callable[[_Batch], int], batches: Iterable[_Batch], writers: int) -> Iterator[int]:
    """Write batches by several threads, and yield what `write` returns, in the order of the batches.

    A batch is read only once fewer than `writers` are in flight, so a slow engine slows the reader down, and of the
    batches before one that is stored only the last `writers` - 1 may be missing.

    Raises:
        Exception: the first that `write` raises; batches in flight are written, no others.
    """
    with ThreadPoolExecutor(writers, thread_name_prefix="engine-writer") as pool:
        in_flight: deque[Future[int]] = deque()
        for batch in batches:
            if len(in_flight) == writers:
                yield in_flight.popleft().result()
            in_flight.append(pool.submit(write, batch))
        while in_flight:
            yield in_flight.popleft().result()


def first_missing_row(has: Callable[[np.ndarray], np.ndarray], rows: int, batch_rows: int, writers: int) -> int:
    """Return the first row of the first batch that may be missing, after a load by `write_batches` was interrupted.

    Args:
        has: returns which of int64[m] row numbers are stored, bool[m].
        rows: of the collection.
        batch_rows: of a batch.
        writers: batches that were in flight at most.
    """
    low, high = 0, -(-rows // batch_rows)  # batches: those before `low` are stored but for a few, that of `high` is not
    while low < high:
        middle = (low + high) // 2
        last_row = min((middle + 1) * batch_rows, rows) - 1
        if has(np.array([last_row]))[0]:
            low = middle + 1
        else:
            high = middle
    return max(0, low - writers) * batch_rows
