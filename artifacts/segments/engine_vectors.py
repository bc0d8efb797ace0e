"""Vectors that only an engine has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from artifacts.engines.base import CollectionSearch
from artifacts.errors import EngineError
from artifacts.index.vectors import KnnQueries, Vectors, best, fp16_view

#: Seconds for vectors where a caller does not say how long it waits.
_SECONDS = 30.0

#: Rows whose vectors one search fetches to score them, at most.
MAX_FETCHED_ROWS = 10_000


class EngineVectors:
    """The vectors of a base and its delta; see `artifacts.index.vectors.Vectors` for the methods.

    Args:
        dim: length of a vector.
        segments: number of rows of each segment, and what opens its collection.
    """

    def __init__(self, dim: int, segments: list[tuple[int, Callable[[], CollectionSearch]]]) -> None:
        self.dim, self._segments = dim, segments
        self.rows = sum(rows for rows, _ in segments)

    def take(self, rows: np.ndarray, seconds: float = _SECONDS) -> np.ndarray:
        """Return the vectors of int64[m] row numbers in their order, float32[m, dim].

        Args:
            seconds: after which the engine's answer is no longer waited for.

        Raises:
            EngineUnavailable: the engine does not answer in time.
        """
        vectors = np.empty((len(rows), self.dim), np.float32)
        ends, first_row = time.monotonic() + seconds, 0
        for count, search in self._segments:
            mine = (rows >= first_row) & (rows < first_row + count)
            if mine.any():
                vectors[mine] = search().vectors(rows[mine] - first_row, max(0.001, ends - time.monotonic()))
            first_row += count
        return vectors

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of int64[m] row numbers in their order, float16[m, dim]."""
        return self.take(rows).astype(np.float16)

    def score(self, query: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the best `k` of these rows by exact score; all their vectors are fetched.

        Raises:
            EngineError: there are too many.
        """
        if len(rows) > MAX_FETCHED_ROWS:
            raise EngineError(_missing(f"scoring {len(rows):,} rows exactly"))
        rows = np.sort(rows)
        scores, positions = best(fp16_view(self.gather(rows)), query, k)
        return scores, rows[positions]

    def gather_ascending(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of ascending int64[m] row numbers, float16[m, dim]."""
        return self.gather(rows)

    def knn(self, queries: np.ndarray, k: int, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Refuse to search exactly.

        Raises:
            EngineError: always.
        """
        raise EngineError(_missing("an exact search"))

    def knn_in_one_pass(self, asked: Sequence[KnnQueries]) -> list[np.ndarray]:
        """Refuse to search exactly.

        Raises:
            EngineError: always.
        """
        raise EngineError(_missing("an exact search"))


def take_vectors(vectors: Vectors | EngineVectors, rows: np.ndarray, seconds: float) -> np.ndarray:
    """Return the vectors of int64[m] row numbers in their order, float32[m, dim].

    Args:
        seconds: after which an engine's answer is no longer waited for; files are read to the end.

    Raises:
        EngineUnavailable: an engine that has the vectors does not answer in time.
    """
    return vectors.take(rows, seconds) if isinstance(vectors, EngineVectors) else vectors.take(rows)


def _missing(what: str) -> str:
    return f"{what} needs vectors that only the engine has: set engine_vectors to server, and build again"
