"""Exact scores from the stored float16 vectors: inner products in float32, which are cosines for unit vectors.

One kernel, FAISS's float16 scalar quantizer, computes every score that leaves a segment, so a product's score does not
depend on the path that found it. Ground truth for many queries at once uses matrix products, which are faster there
and may differ in the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from artifacts.index.devices.threads import one_thread
from artifacts.index.joined import Joined
from artifacts.index.params import BLOCK_ROWS

#: Numbers of queries from which on ground truth uses matrix products: 8 queries x 512-d.
_PRODUCT_NUMBERS = 4096


@dataclass(frozen=True)
class KnnQueries:
    """Queries for their nearest rows of those that are allowed.

    Attributes:
        vectors: float32[n, dim].
        k: rows for each query; no more than are allowed.
        allowed: returns which of consecutive rows int64[m] are, bool[m]; None if all are.
    """

    vectors: np.ndarray
    k: int
    allowed: Callable[[np.ndarray], np.ndarray] | None = None


class Vectors(Joined):
    """Stored vectors, float16[rows, dim], L2-normalised."""

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.parts[0].shape[1]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of int64 row numbers as float32[len(rows), dim]."""
        return self.gather(rows).astype(np.float32)

    def blocks(self, rows: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield row numbers int64[n] and their vectors float16[n, dim], BLOCK_ROWS at a time.

        Args:
            rows: ascending; all rows if None.
        """
        if rows is not None:
            for start in range(0, len(rows), BLOCK_ROWS):
                block = rows[start : start + BLOCK_ROWS]
                yield block, self.gather_ascending(block)
            return
        for part, first in zip(self.parts, self.starts, strict=False):
            for start in range(0, len(part), BLOCK_ROWS):
                vectors = part[start : start + BLOCK_ROWS]
                yield np.arange(first + start, first + start + len(vectors)), vectors

    def score(self, query: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the best `k` of these rows, by exact score.

        Args:
            query: float32[dim].
            rows: int64[m], distinct, in any order; they are read in ascending order, as they lie on disk.

        Returns:
            Scores float32[j], descending, and rows int64[j], j = min(k, m); equal scores by ascending row.
        """
        rows = np.sort(rows)
        if 0 < len(rows) <= BLOCK_ROWS:
            scores, positions = best(fp16_view(self.gather_ascending(rows)), query, k)
            return scores, rows[positions]
        best_scores, best_rows = np.empty(0, np.float32), np.empty(0, np.int64)
        for block, vectors in self.blocks(rows):
            scores, positions = best(fp16_view(vectors), query, k)
            scores, block_rows = np.concatenate([best_scores, scores]), np.concatenate([best_rows, block[positions]])
            order = np.lexsort((block_rows, -scores))[:k]
            best_scores, best_rows = scores[order], block_rows[order]
        return best_scores, best_rows

    def knn(self, queries: np.ndarray, k: int, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Search exactly for many queries: the ground truth that recall is measured against.

        Args:
            queries: float32[n, dim].
            rows: int64[m] to search in, ascending; all rows if None.

        Returns:
            Scores float32[n, k], descending, and rows int64[n, k]; where there are fewer rows, the lowest float32 and
            -1.
        """
        heap = faiss.ResultHeap(len(queries), k, keep_max=True)
        for block, vectors in self.blocks(rows):
            _add_nearest(heap, queries, k, block, vectors.astype(np.float32))
        heap.finalize()
        return heap.D, heap.I

    def knn_in_one_pass(self, asked: Sequence[KnnQueries]) -> list[np.ndarray]:
        """Search exactly for several sets of queries, and read and decode the vectors once for all of them.

        Not beside other searches: while it runs, FAISS compares vectors in another way in the whole process.

        Returns:
            For each set the rows int64[n, k], nearest first but for rounding.
        """
        heaps = [faiss.ResultHeap(len(queries.vectors), queries.k, keep_max=True) for queries in asked]
        with _matrix_products():
            for block, stored in self.blocks():
                vectors = stored.astype(np.float32)
                for queries, heap in zip(asked, heaps, strict=True):
                    if queries.allowed is None:
                        _add_nearest(heap, queries.vectors, queries.k, block, vectors)
                    elif len(chosen := np.flatnonzero(queries.allowed(block))):
                        _add_nearest(heap, queries.vectors, queries.k, block[chosen], vectors[chosen])
        for heap in heaps:
            heap.finalize()
        return [heap.I for heap in heaps]


@contextmanager
def _matrix_products() -> Iterator[None]:
    """Let FAISS compare queries with vectors by matrix products, though they are few.

    It would do so from 128,000 numbers of queries on, which are 250 queries x 512-d. Comparing a vector with 200 took
    21 ns for each of its numbers without a product, and 3.7 with one.
    """
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = _PRODUCT_NUMBERS
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = before


def _add_nearest(heap: faiss.ResultHeap, queries: np.ndarray, k: int, rows: np.ndarray, vectors: np.ndarray) -> None:
    """Add the nearest of some rows to the best so far.

    Args:
        heap: of k results for each query.
        queries: float32[n, dim].
        rows: int64[m], and their vectors float32[m, dim].
    """
    scores, positions = faiss.knn(queries, vectors, min(k, len(rows)), metric=faiss.METRIC_INNER_PRODUCT)
    heap.add_result(scores, np.ascontiguousarray(rows[positions], np.int64))


def map_vectors(path: Path, rows: int, dim: int) -> np.ndarray:
    """Map a file of vectors, row-major and without a header, as float16[rows, dim]."""
    # mmap refuses an empty file
    return np.memmap(path, np.float16, "r", shape=(rows, dim)) if rows else np.empty((rows, dim), np.float16)


def best(
    index: faiss.Index, query: np.ndarray, k: int, params: faiss.SearchParameters | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best `k` of a flat index, with ties resolved by ascending row.

    Which of several equal scores FAISS keeps depends on the order in which it reads them. One picture under many
    products gives such ties, and a result that moves with `k` would be on two pages or on none. So the search looks one
    row further than `k`, and further still while the tie continues there.

    Args:
        query: float32[dim].

    Returns:
        Scores float32[j], descending, and rows int64[j]; equal scores by ascending row.
    """
    depth = min(k + 1, index.ntotal)
    while True:
        (scores,), (rows,) = _search_on_one_thread(index, query[None, :], depth, params)
        if depth == index.ntotal or rows[-1] < 0 or scores[-1] < scores[k - 1]:
            break
        depth = min(4 * depth, index.ntotal)
    scores, rows = scores[rows >= 0], rows[rows >= 0]
    order = np.lexsort((rows, -scores))[:k]
    return scores[order], rows[order]


def _search_on_one_thread(
    index: faiss.Index, query: np.ndarray, k: int, params: faiss.SearchParameters | None
) -> tuple[np.ndarray, np.ndarray]:
    """Search for one query, which FAISS gives to one thread anyway.

    It would wait for the others nevertheless: 7 ms on average instead of 0.2 where other processes use the cores.
    """
    with one_thread():
        return index.search(query, k, params=params)


def fp16_index(dim: int) -> faiss.IndexScalarQuantizer:
    """Return an empty flat FAISS index whose codes are the float16 vectors themselves, so that its scores are exact."""
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    return index


def fp16_view(vectors: np.ndarray) -> faiss.IndexScalarQuantizer:
    """Return a flat index over float16[n, dim] in place, without a copy; its scores are exact."""
    index = fp16_index(vectors.shape[1])
    codes = np.ascontiguousarray(vectors).view(np.uint8).reshape(-1)
    index.referenced_objects = (codes,)  # FAISS does not own the memory of a view: the array must live as long
    no_owner = faiss.MaybeOwnedVectorUInt8().owner
    index.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(codes), codes.size, no_owner)
    index.ntotal = len(vectors)
    return index
