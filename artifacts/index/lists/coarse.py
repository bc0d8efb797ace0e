"""The centroids of an IVF, and the lists nearest to a vector.

With many lists the centroids are nodes of an HNSW graph, so that a search scores a few thousand of them instead of all.
A row that is added is assigned to the nearest of all centroids nevertheless: what a graph misses then would be missed
by every search.
"""

from __future__ import annotations

import faiss
import numpy as np

from artifacts.index.devices.threads import one_thread
from artifacts.index.params import BLOCK_ROWS

#: efSearch of the graph, at least, and for each list that is searched for. Of 65,536 centroids of 512 numbers, the
#: nearest 64 are found with 256 to 0.997 (pictures) and 0.984 (texts), in 0.4 ms instead of 5.5; the nearest 256 with
#: 1,024 to 0.996 and 0.992, in 1.5 ms.
_MIN_EF, _EF_PER_LIST = 256, 4

#: Bytes that FAISS multiplies at once.
_BYTES_AT_ONCE = 16
#: The largest number in a signed byte, and a smallest one to divide by.
_LARGEST_BYTE, _SMALLEST = np.float32(127), np.float32(1e-30)


def exact_quantizer(ivf: faiss.IndexIVF) -> faiss.IndexFlat:
    """Return the flat index over all centroids of an IVF, which lives as long as the IVF."""
    quantizer = faiss.downcast_index(ivf.quantizer)
    return faiss.downcast_index(quantizer.storage) if isinstance(quantizer, faiss.IndexHNSW) else quantizer


def centroids_of(ivf: faiss.IndexIVF) -> np.ndarray:
    """Return the centroids float32[lists, dim], aligned: a copy where they are mapped from a file at an odd address."""
    flat = exact_quantizer(ivf)
    centroids = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, -1)
    return np.require(centroids, requirements="A")  # NumPy would copy them for every product


class RoundedCentroids:
    """The centroids of an IVF with a byte for each number: finds the nearest lists but for rounding, and faster.

    Of 2,048 centroids of 512 numbers, 16 that hold the nearest 8 are found in 25 µs instead of 53. Where the length is
    no multiple of 16, FAISS has no fast product of bytes; then all numbers are compared as they are.
    """

    def __init__(self, ivf: faiss.IndexIVF) -> None:
        self._exact = exact_quantizer(ivf)
        self._rounded: faiss.IndexScalarQuantizer | None = None
        if self._exact.d % _BYTES_AT_ONCE == 0:
            signed_bytes = faiss.ScalarQuantizer.QT_8bit_direct_signed
            centroids, metric = centroids_of(ivf), faiss.METRIC_INNER_PRODUCT
            self._rounded = rounded = faiss.IndexScalarQuantizer(self._exact.d, signed_bytes, metric)
            largest = max(centroids.max(), -centroids.min())
            for start in range(0, len(centroids), BLOCK_ROWS):
                rounded.add(_rounded(centroids[start : start + BLOCK_ROWS], largest))

    def nearest(self, vectors: np.ndarray, count: int, only: np.ndarray | None = None) -> np.ndarray:
        """Return the lists nearest to each vector, independent of the other vectors but for rounding.

        Args:
            vectors: float32[n, dim].
            count: no more than there are lists, or than `only` has.
            only: int64[m], the lists to choose from; all if None.

        Returns:
            int64[n, count], in any order.
        """
        params = None
        if only is not None:
            chosen = np.zeros(self._exact.ntotal, bool)
            chosen[only] = True
            bitmap = np.packbits(chosen, bitorder="little")
            params = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap))
        with one_thread():  # FAISS gives one vector to one thread anyway, which would wait for the others
            if self._rounded is None:
                return self._exact.search(vectors, count, params=params)[1]
            rounded = _rounded(vectors, np.abs(vectors).max(axis=1, keepdims=True))
            return self._rounded.search(rounded, count, params=params)[1]


def _rounded(vectors: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Return vectors scaled and rounded to whole numbers from -127 to 127, which `largest` becomes."""
    return np.rint(vectors * (_LARGEST_BYTE / np.maximum(largest, _SMALLEST)))


def set_centroids(ivf: faiss.IndexIVF, centroids: np.ndarray) -> None:
    """Give an IVF without centroids those that were trained, float32[lists, dim].

    One thread links them in a graph: FAISS would do it on all threads, and the links would differ each time.
    """
    ivf.quantizer.train(centroids)
    with one_thread():
        ivf.quantizer.add(centroids)
    if isinstance(graph := faiss.downcast_index(ivf.quantizer), faiss.IndexHNSW):
        graph.hnsw.efSearch = _MIN_EF


def has_graph(ivf: faiss.IndexIVF) -> bool:
    """Return whether the centroids are nodes of an HNSW graph."""
    return isinstance(faiss.downcast_index(ivf.quantizer), faiss.IndexHNSW)


def nearest_by_graph(ivf: faiss.IndexIVF, vectors: np.ndarray, count: int) -> np.ndarray:
    """Return the lists nearest to each vector as the graph finds them: nearly all of the right ones.

    Args:
        vectors: float32[n, dim].
        count: no more than there are lists.

    Returns:
        int64[n, count], in any order.
    """
    params = faiss.SearchParametersHNSW(efSearch=max(_MIN_EF, _EF_PER_LIST * count))
    _, lists = ivf.quantizer.search(vectors, count, params=params)
    if (lists < 0).any():  # parts of the graph that no link leads to
        _, lists = exact_quantizer(ivf).search(vectors, count)
    return lists
