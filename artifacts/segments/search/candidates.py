"""The seam of a search: what finds the candidates of a base and its delta, and what becomes of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from artifacts.index.params import SearchParams
from artifacts.segments.row_filter import RowFilter, bits_of
from artifacts.segments.segment import Segment, joined_vectors


@dataclass(frozen=True)
class Plan:
    """How a search was done, for `explain`."""

    # nothing | flat | exact | ivf | hnsw, or the kind of an engine; exact also where every walk through a graph ended
    # early
    path: str
    allowed: int  # rows that it could return
    # IVF lists probed for each query; in a graph, the nearest rows that a walk keeps; of an engine, its effort
    probes: int = 0
    candidates: int = 0  # rows scored exactly, over all queries; of an engine, rows that it returned and that pass


@dataclass(frozen=True)
class Neighbors:
    """The best rows for one query: scores float32[j] descending, rows int64[j]; equal scores by ascending row."""

    scores: np.ndarray
    rows: np.ndarray


class Rows:
    """The rows of a base and its delta, by the release's numbers.

    Args:
        base: open.
        delta: of this base, open; None if there is none.

    Attributes:
        vectors: of all rows.
        total: number of rows, the deleted ones included.
        deleted_count: rows of the base that no search may return.
    """

    def __init__(self, base: Segment, delta: Segment | None) -> None:
        self.base, self.delta = base, delta
        self.segments = [base] if delta is None else [base, delta]
        self.vectors = joined_vectors(self.segments)
        self.total = sum(segment.info.rows for segment in self.segments)
        self.deleted_count = 0 if delta is None or delta.info.base is None else delta.info.base.deleted_rows

    def is_deleted(self, rows: np.ndarray) -> np.ndarray:
        """Return which of the rows int64[n] no search may return, bool[n]."""
        deleted = np.zeros(len(rows), bool)
        if self.delta is not None:
            of_base = rows < self.base.info.rows
            deleted[of_base] = bits_of(self.delta.deleted, rows[of_base])
        return deleted

    def allowed(self, row_filter: RowFilter | None) -> int:
        """Return the number of rows that a search may return."""
        return self.total - self.deleted_count if row_filter is None else row_filter.count

    def with_deleted(self, depth: int) -> int:
        """Return how many rows to ask for so that `depth` are likely to be left without the deleted ones."""
        share = self.deleted_count / max(1, self.total)
        return depth if not share else min(self.total, int(depth / max(1 - share, 0.5)) + 8)


class Candidates(ABC):
    """A way of finding the best rows for queries, where scoring all of them would take too long.

    Attributes:
        max_nprobe: the largest `SearchParams.nprobe` of use: the number of IVF lists, of rows in a graph, or the
            greatest effort of an engine; 0 where there is nothing to choose.
    """

    max_nprobe: int
    #: Rows that one search returns at most; None for no limit.
    max_results: int | None = None
    #: Whether scores are exact; False if an engine's own are returned.
    scores_exactly: bool = True

    def close(self) -> None:  # noqa: B027  (most have nothing to close)
        """End the threads that searches have started."""

    @abstractmethod
    def exact_is_cheaper(self, params: SearchParams, k: int, row_filter: RowFilter) -> bool:
        """Return whether scoring every allowed row is expected to cost no more than a search."""

    @abstractmethod
    def search(
        self,
        queries: np.ndarray,
        k: int,
        params: SearchParams,
        row_filter: RowFilter | None,
        seconds: float,
    ) -> tuple[list[Neighbors], Plan]:
        """Find the best rows for each query.

        Args:
            queries: float32[n, dim], L2-normalised.
            k: at least 1, and no more than rows are allowed.
            row_filter: the allowed rows; all that are not deleted if None.
            seconds: after which an engine's answer is no longer waited for.
        """
