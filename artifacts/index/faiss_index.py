"""The FAISS side of a segment: which index to build, training it once, filling it in parts, finding candidates.

A segment's IVF index is one trained quantizer and one or more files with the same lists, each holding some of the
rows under their row numbers. Searching picks the lists once, and probes them in every file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np

from artifacts.index.params import IvfShape
from artifacts.index.vectors import best

#: Files are mapped, not read: start-up takes milliseconds and worker processes share the pages.
_MAPPED = faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY

#: How many queries choose their lists by a matrix product of ours. Among 4,096 centroids of 512 numbers, one by one is
#: 0.45 ms a query; the product 0.3 with five queries, 0.2 with eight, 0.15 with sixteen. FAISS has one, too: it begins
#: with more queries, and with very many its blocks save memory.
_TOGETHER = range(5, 65)
#: Lists looked at beside those asked for. Rounding moves one past others only where all of these are all but equal.
_SPARE_LISTS = 8


def to_ivf_space(index: faiss.Index, vectors: np.ndarray) -> tuple[faiss.IndexIVF, np.ndarray]:
    """The IVF inside an index, and the vectors as it sees them (rotated, where the index begins with a rotation)."""
    ivf = faiss.extract_index_ivf(index)
    if isinstance(faiss.downcast_index(index), faiss.IndexPreTransform):
        vectors = faiss.downcast_index(index).chain.at(0).apply(vectors)
    return ivf, np.ascontiguousarray(vectors, np.float32)


class FlatIndex:
    """Exact search over all rows of a small segment."""

    def __init__(self, path: Path) -> None:
        self.index = faiss.read_index(str(path), _MAPPED)
        self.rows: int = self.index.ntotal

    def search(self, query: np.ndarray, k: int, bitmap: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` rows for float32[dim]: see `artifacts.index.vectors.best`."""
        params = None if bitmap is None else faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap))
        return best(self.index, query, k, params)


class IvfIndex:
    """Approximate candidates from IVF files that share their lists."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.indexes = [faiss.read_index(str(path), _MAPPED) for path in paths]
        self.ivfs = [faiss.extract_index_ivf(index) for index in self.indexes]
        self.lists: int = self.ivfs[0].nlist
        centroids = faiss.downcast_index(self.ivfs[0].quantizer)
        mapped = faiss.rev_swig_ptr(centroids.get_xb(), self.lists * centroids.d).reshape(self.lists, -1)
        # In the file they lie at an odd address, and numpy would copy them for every product.
        self._centroids = np.require(mapped, requirements="A")
        self.rows: int = sum(ivf.ntotal for ivf in self.ivfs)
        self.shape = IvfShape(self.rows, self.lists, self.ivfs[0].d, self.ivfs[0].code_size)

    def candidates(
        self,
        queries: np.ndarray,
        k: int,
        nprobe: int,
        *,
        bitmap: np.ndarray | None = None,
        rows_per_list: np.ndarray | None = None,
    ) -> np.ndarray:
        """Row numbers of the likeliest rows by the codes' scores, int64[n, k], -1 where there are fewer.

        Args:
            queries: float32[n, dim].
            bitmap: uint8, one bit a row, little-endian: only these rows.
            rows_per_list: int[lists], how many allowed rows each list holds: lists without any are not probed, so the
                probes go to the nearest lists that can hold a result.
        """
        _, inner = to_ivf_space(self.indexes[0], queries)
        distances, lists = self._probes(inner, nprobe, rows_per_list)
        params = faiss.SearchParametersIVF(nprobe=lists.shape[1])
        if bitmap is not None:
            params.sel = selector = faiss.IDSelectorBitmap(bitmap)  # noqa: F841  (params holds no reference of its own)
        found = [self._search_lists(ivf, inner, k, lists, distances, params) for ivf in self.ivfs]
        if len(found) == 1:
            return found[0][1]
        # Only the best of all files are worth scoring exactly: each costs a read of its vector, likely from disk.
        scores, rows = (np.concatenate(each, axis=1) for each in zip(*found, strict=True))
        order = np.argsort(np.where(rows < 0, np.inf, -scores), axis=1, kind="stable")[:, :k]
        return np.take_along_axis(rows, order, axis=1)

    def _probes(
        self, queries: np.ndarray, nprobe: int, rows_per_list: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Centroid scores float32[n, p] and lists int64[n, p] to probe, nearest first."""
        if rows_per_list is None:
            return self._nearest_lists(queries, min(nprobe, self.lists))
        held = np.zeros((self.lists + 7) // 8, np.uint8)
        filled = np.packbits(rows_per_list > 0, bitorder="little")
        held[: len(filled)] = filled
        probes = max(1, min(nprobe, int((rows_per_list > 0).sum())))
        params = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(held))
        return self.ivfs[0].quantizer.search(queries, probes, params=params)

    def _nearest_lists(self, queries: np.ndarray, probes: int) -> tuple[np.ndarray, np.ndarray]:
        """Centroid scores float32[n, probes] and lists int64[n, probes], for each query the same in any company.

        A matrix product reads the centroids once for all queries, but its last bits depend on how many they are. So it
        chooses a few lists more than asked for, and those are scored one by one.
        """
        wanted = min(probes + _SPARE_LISTS, self.lists)
        if len(queries) in _TOGETHER:
            rough = np.ascontiguousarray((self._centroids @ queries.T).T)
            lists = np.ascontiguousarray(np.argpartition(rough, self.lists - wanted)[:, self.lists - wanted :])
        else:
            _, lists = self.ivfs[0].quantizer.search(queries, wanted)
        scores = np.empty(lists.shape, np.float32)
        faiss.fvec_inner_products_by_idx(
            faiss.swig_ptr(scores), faiss.swig_ptr(queries), faiss.swig_ptr(self._centroids), faiss.swig_ptr(lists),
            queries.shape[1], len(queries), wanted,
        )  # fmt: skip
        order = np.lexsort((lists, -scores))[:, :probes]
        nearest = np.take_along_axis(scores, order, axis=1), np.take_along_axis(lists, order, axis=1)
        return np.ascontiguousarray(nearest[0]), np.ascontiguousarray(nearest[1])

    @staticmethod
    def _search_lists(
        ivf: faiss.IndexIVF,
        queries: np.ndarray,
        k: int,
        lists: np.ndarray,
        distances: np.ndarray,
        params: faiss.SearchParametersIVF,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The codes' scores float32[n, k] and rows int64[n, k], -1 where there are fewer."""
        scores = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        # FAISS's Python wrapper of search_preassigned refuses `params`; the call beneath it takes them.
        ivf.search_preassigned_c(
            len(queries), faiss.swig_ptr(queries), k, faiss.swig_ptr(lists), faiss.swig_ptr(distances),
            faiss.swig_ptr(scores), faiss.swig_ptr(rows), False, params,
        )  # fmt: skip
        return scores, rows
