"""Opens index files and finds candidates in them.

A segment's IVF index is one or more files with the same lists; a search chooses the lists once and probes them in
every file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np

from artifacts.index.coarse import centroids_of, exact_quantizer, has_graph, nearest_by_graph
from artifacts.index.ivf_space import to_ivf_space
from artifacts.index.params import IvfShape
from artifacts.index.vectors import best

#: Files are mapped, not read: start-up takes milliseconds and worker processes share the pages.
_MAPPED = faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY

#: Numbers of queries for which lists are chosen by one matrix product. Among 4,096 centroids of 512 numbers, a search
#: query by query takes 0.45 ms a query; the product 0.3 ms with 5 queries, 0.2 with 8, 0.15 with 16. FAISS has such a
#: product too, but uses it only from more queries on; with very many, its blocks save memory.
_PRODUCT_QUERIES = range(5, 65)
#: Lists chosen beside the requested ones. Rounding swaps lists only where all of these are almost equally near.
_SPARE_LISTS = 8


class FlatIndex:
    """Exact search over all rows of a small segment."""

    def __init__(self, path: Path) -> None:
        self.index = faiss.read_index(str(path), _MAPPED)
        self.rows: int = self.index.ntotal

    def search(self, query: np.ndarray, k: int, bitmap: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the best `k` rows for float32[dim], as `artifacts.index.vectors.best` does.

        Args:
            bitmap: uint8, one bit a row, little-endian: only these rows; all if None.
        """
        params = None if bitmap is None else faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap))
        return best(self.index, query, k, params)


class IvfIndex:
    """Approximate candidates from IVF files that share their lists.

    Args:
        paths: at least one file; their ids are row numbers.
        base: the index of a base that these files' delta belongs to: their rows are then numbered from the base's.

    Attributes:
        lists: number of IVF lists.
        rows: in all files.
    """

    def __init__(self, paths: Sequence[Path], base: IvfIndex | None = None) -> None:
        indexes = [faiss.read_index(str(path), _MAPPED) for path in paths]
        ivfs = [faiss.extract_index_ivf(index) for index in indexes]
        self.indexes = indexes if base is None else [*base.indexes, *indexes]
        self.ivfs = ivfs if base is None else [*base.ivfs, *ivfs]
        # For each file, its segment (0 the base, 1 the delta), and the number of that segment's first row.
        self._segments = [0] * len(ivfs) if base is None else [0] * len(base.ivfs) + [1] * len(ivfs)
        self._first_rows = [0, 0 if base is None else base.rows]
        self.lists: int = self.ivfs[0].nlist
        if base is None:
            self._centroids = centroids_of(self.ivfs[0])
        else:
            self._centroids = base._centroids
        self.rows: int = sum(ivf.ntotal for ivf in self.ivfs)
        self.shape = IvfShape(self.rows, self.lists, self.ivfs[0].d, self.ivfs[0].code_size)

    def candidates(
        self,
        queries: np.ndarray,
        k: int,
        nprobe: int,
        *,
        bitmaps: Sequence[np.ndarray] | None = None,
        rows_per_list: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the rows that score highest by their codes. Those of one query do not depend on the other queries.

        Args:
            queries: float32[n, dim].
            bitmaps: of the base and of the delta, uint8, one bit a row, little-endian: only these rows.
            rows_per_list: int[lists], number of allowed rows in each list: lists without any are not probed, so the
                probes go to the nearest lists that can hold a result.

        Returns:
            Row numbers int64[n, k], best first; -1 where there are fewer.
        """
        _, inner = to_ivf_space(self.indexes[0], queries)
        centroid_scores, lists = self._choose_lists(inner, nprobe, rows_per_list)
        results: list[tuple[np.ndarray, np.ndarray]] = []
        params = faiss.SearchParametersIVF(nprobe=lists.shape[1])
        for ivf, segment in zip(self.ivfs, self._segments, strict=True):
            first_row = self._first_rows[segment]
            if bitmaps is not None:
                # `params` holds no reference of its own
                params.sel = selector = faiss.IDSelectorBitmap(bitmaps[segment])  # noqa: F841
            scores, rows = _search_lists(ivf, inner, k, lists, centroid_scores, params)
            if first_row:
                rows += first_row * (rows >= 0)
            results.append((scores, rows))
        if len(results) == 1:
            return results[0][1]
        # Only the best of all files are worth scoring exactly: each costs a read of its vector, likely from disk.
        scores, rows = (np.concatenate(arrays, axis=1) for arrays in zip(*results, strict=True))
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # where there are fewer rows, scores are the lowest
        return np.take_along_axis(rows, order, axis=1)

    def _choose_lists(
        self, queries: np.ndarray, nprobe: int, rows_per_list: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of the centroids float32[n, p] and the lists int64[n, p] to probe, nearest first."""
        if rows_per_list is None:
            return self._nearest_lists(queries, min(nprobe, self.lists))
        bitmap = np.zeros((self.lists + 7) // 8, np.uint8)
        packed = np.packbits(rows_per_list > 0, bitorder="little")
        bitmap[: len(packed)] = packed
        probes = max(1, min(nprobe, int((rows_per_list > 0).sum())))
        params = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap))
        return exact_quantizer(self.ivfs[0]).search(queries, probes, params=params)

    def _nearest_lists(self, queries: np.ndarray, probes: int) -> tuple[np.ndarray, np.ndarray]:
        """Return centroid scores float32[n, probes] and lists int64[n, probes], independent of the number of queries.

        A matrix product reads the centroids once for all queries, but its last bits depend on how many queries there
        are. So it chooses a few lists more than requested, and those are scored one by one; also those of a graph.
        """
        depth = min(probes + _SPARE_LISTS, self.lists)
        if has_graph(self.ivfs[0]):
            lists = nearest_by_graph(self.ivfs[0], queries, depth)
        elif len(queries) in _PRODUCT_QUERIES:
            products = np.ascontiguousarray((self._centroids @ queries.T).T)
            lists = np.ascontiguousarray(np.argpartition(products, self.lists - depth)[:, self.lists - depth :])
        else:
            _, lists = self.ivfs[0].quantizer.search(queries, depth)
        scores = np.empty(lists.shape, np.float32)
        faiss.fvec_inner_products_by_idx(
            faiss.swig_ptr(scores), faiss.swig_ptr(queries), faiss.swig_ptr(self._centroids), faiss.swig_ptr(lists),
            queries.shape[1], len(queries), depth,
        )  # fmt: skip
        order = np.lexsort((lists, -scores))[:, :probes]
        nearest = np.take_along_axis(scores, order, axis=1), np.take_along_axis(lists, order, axis=1)
        return np.ascontiguousarray(nearest[0]), np.ascontiguousarray(nearest[1])


def _search_lists(
    ivf: faiss.IndexIVF,
    queries: np.ndarray,
    k: int,
    lists: np.ndarray,
    centroid_scores: np.ndarray,
    params: faiss.SearchParametersIVF,
) -> tuple[np.ndarray, np.ndarray]:
    """Search these lists; return the codes' scores float32[n, k] and rows int64[n, k], -1 where there are fewer."""
    scores = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    # FAISS's Python wrapper of search_preassigned refuses `params`; the call beneath it takes them.
    ivf.search_preassigned_c(
        len(queries), faiss.swig_ptr(queries), k, faiss.swig_ptr(lists), faiss.swig_ptr(centroid_scores),
        faiss.swig_ptr(scores), faiss.swig_ptr(rows), False, params,
    )  # fmt: skip
    return scores, rows
