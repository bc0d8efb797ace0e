"""Checks a collection that has been loaded against its segment."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from artifacts.engines.base import Engine
from artifacts.engines.collection import Collection
from artifacts.errors import EngineError
from artifacts.products.columns import TEXT, type_of_column
from artifacts.products.filters import Condition

#: Largest difference between a stored number of a vector and what an engine returns: float16 has 11 bits.
_TOLERANCE = 2e-3

#: Values that are filtered by, and characters of such a value at most.
_FILTERS, _FILTER_CHARS = 4, 100

#: Seconds of each call.
_SECONDS = 60.0


def check_sample(
    engine: Engine,
    collection: Collection,
    rows: np.ndarray,
    vectors: np.ndarray,
    columns: Callable[[np.ndarray], pa.Table],
) -> None:
    """Check vectors and filters of a sample of a complete collection. `Engine.complete` has counted its rows.

    Wrong columns would cost recall and nothing else, so nobody would notice them. Searches filter by one column, the
    first of texts: all columns of a row are written together.

    Args:
        rows: int64[m], of the sample.
        vectors: float32[m, dim], as the segment has them.
        columns: returns the collection's columns of int64[n] rows, as the segment has them.

    Raises:
        EngineError: it differs, and what to do about it.
        EngineUnavailable: the engine does not answer.
    """
    again = engine.how_to_load_again(collection)
    search = engine.open(collection)
    stored = search.vectors(rows, _SECONDS)
    if stored.shape != vectors.shape or not np.allclose(stored, vectors, atol=_TOLERANCE):
        raise EngineError(f"{collection.name} has other vectors than its segment; {again}")
    column = next((name for name, dtype in collection.columns.items() if type_of_column(dtype) == TEXT), None)
    if column is None:
        return
    effort = max(engine.capabilities.efforts, default=0)
    for value, position in _sampled_values(columns(rows)[column]).items():
        only = (Condition(column, any_of=(value,)),)
        (found,) = search.search(vectors[position][None], min(10, collection.rows), effort, only, _SECONDS)
        values = columns(np.sort(found.rows))[column].to_pylist()
        if set(values) != {value}:
            wrong = "rows of others" if values else "no rows"
            advice = "" if values else "; if it says so again, its index misses them: choose another"
            raise EngineError(f"{collection.name} finds {wrong} where {column} is {value!r}; {again}{advice}")


def _sampled_values(values: pa.ChunkedArray) -> dict[str, int]:
    """Return a few different texts with the position of each; none that an engine may cut, or have no filter for."""
    texts = enumerate(values.to_pylist())
    positions = {value: position for position, value in texts if value and len(value) <= _FILTER_CHARS}
    return dict(list(positions.items())[:_FILTERS])
