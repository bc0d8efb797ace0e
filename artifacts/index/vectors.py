"""Exact scores from the stored float16 vectors: inner products in float32, which are cosines for unit vectors.

One kernel, FAISS's float16 scalar quantizer, gives every score that leaves a segment, so a product's score does not
depend on the path that found it. Ground truth for many queries at once uses matrix products, which are faster there
and may differ in the last bit.
"""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np

_BLOCK = 16_384  # rows decoded at once: 33 MB of float32 at 512-d


class Vectors:
    """float16[rows, dim], L2-normalised, row-major, mapped from a file; shared between processes by the page cache."""

    def __init__(self, path: Path, rows: int, dim: int) -> None:
        self.rows, self.dim = rows, dim
        # mmap refuses an empty file
        shape = (rows, dim)
        self.array = np.memmap(path, np.float16, "r", shape=shape) if rows else np.empty(shape, np.float16)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """float32[len(rows), dim] of int64 row numbers."""
        return self.array[rows].astype(np.float32)

    def score(self, query: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` of the given rows, by exact score.

        Args:
            query: float32[dim].
            rows: int64[m], distinct, in any order; read in ascending order, as they lie on disk.

        Returns:
            scores float32[j] descending and rows int64[j], j = min(k, m); equal scores by ascending row.
        """
        rows = np.sort(rows)
        best_scores, best_rows = np.empty(0, np.float32), np.empty(0, np.int64)
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            scores, found = best(fp16_view(self.array.take(block, axis=0)), query, k)
            scores, found = np.concatenate([best_scores, scores]), np.concatenate([best_rows, block[found]])
            order = np.lexsort((found, -scores))[:k]
            best_scores, best_rows = scores[order], found[order]
        return best_scores, best_rows

    def knn(self, queries: np.ndarray, k: int, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Exact search for many queries: the ground truth that recall is measured against.

        Args:
            queries: float32[n, dim].
            rows: int64[m] to search in; all rows if None.

        Returns:
            scores float32[n, k] descending and rows int64[n, k]; the lowest float32 and -1 where there are fewer rows.
        """
        total = self.rows if rows is None else len(rows)
        heap = faiss.ResultHeap(len(queries), k, keep_max=True)
        for start in range(0, total, _BLOCK):
            stop = min(start + _BLOCK, total)
            chosen = slice(start, stop) if rows is None else rows[start:stop]
            block = self.array[chosen].astype(np.float32)
            scores, found = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
            found = found + start if rows is None else rows[start:stop][found]
            heap.add_result(scores, np.ascontiguousarray(found, np.int64))
        heap.finalize()
        return heap.D, heap.I


def best(
    index: faiss.Index, query: np.ndarray, k: int, params: faiss.SearchParameters | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The best `k` of a flat index for float32[dim]: scores float32[j] descending, rows int64[j]; equals ascending.

    Which of several equal scores FAISS keeps depends on the order it meets them in. One picture under many products
    gives such ties, and a result that moves with `k` would be on two pages or on none. So look one further than `k`,
    and while the tie goes on there, further still.
    """
    wanted = min(k + 1, index.ntotal)
    while True:
        scores, rows = (each[0] for each in index.search(query[None, :], wanted, params=params))
        if wanted == index.ntotal or rows[-1] < 0 or scores[-1] < scores[k - 1]:
            break
        wanted = min(4 * wanted, index.ntotal)
    scores, rows = scores[rows >= 0], rows[rows >= 0]
    order = np.lexsort((rows, -scores))[:k]
    return scores[order], rows[order]


def fp16_index(dim: int) -> faiss.IndexScalarQuantizer:
    """An empty flat FAISS index whose codes are float16 as they are: its scores are exact for them."""
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    return index


def fp16_view(vectors: np.ndarray) -> faiss.IndexScalarQuantizer:
    """Such an index over float16[n, dim] where they lie, without a copy."""
    index = fp16_index(vectors.shape[1])
    codes = np.ascontiguousarray(vectors).view(np.uint8).reshape(-1)
    index.referenced_objects = (codes,)  # the view has no owner that FAISS knows of: the numbers must live as long
    nobody = faiss.MaybeOwnedVectorUInt8().owner
    index.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(codes), codes.size, nobody)
    index.ntotal = len(vectors)
    return index
