"""Copies of a segment's index on GPUs. They find candidates; every score that leaves a segment is the CPU's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import faiss
import numpy as np

from artifacts.errors import DeviceError
from artifacts.index.gpus.pool import MAX_RESULTS, GpuPool
from artifacts.index.lists.coarse import exact_quantizer

#: Numbers of sub-vectors of PQ that FAISS's GPU index supports, with tables in float16.
_SUBQUANTIZERS = frozenset((1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96))

#: Vectors that are decoded at once: 33 MB of float32 at 512-d.
_BLOCK = 16_384

#: Beyond every row number.
_NO_END = 1 << 62


class IvfCopies:
    """The files of an IVF on GPUs, as one index, or as one on each GPU.

    Args:
        ivfs: files with the same lists; at least one.
        pool: of GPUs.

    Raises:
        DeviceError: FAISS has no GPU index for this codec.
        RuntimeError: from FAISS, if there is not enough memory.
    """

    def __init__(self, ivfs: Sequence[faiss.IndexIVF], pool: GpuPool) -> None:
        self._pool, self._lists = pool, ivfs[0].nlist
        self._copies = pool.copy(_merged(ivfs, pool.pieces, piece) for piece in range(pool.pieces))

    def search(
        self, queries: np.ndarray, k: int, lists: np.ndarray, centroid_scores: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]] | None:
        """Search lists that have been chosen.

        Args:
            queries: float32[n, dim], in the IVF's space.
            lists: int64[n, p], with the scores of their centroids float32[n, p].

        Returns:
            For each piece of the index the codes' scores float32[n, k] and rows int64[n, k], -1 where there are fewer;
            None if the CPU has to search.
        """
        if not self._pool.reaches(max(k, lists.shape[1]), len(queries)):
            return None
        params = faiss.SearchParametersIVF(nprobe=lists.shape[1])
        return self._pool.search(
            self._copies, lambda copy: search_lists(copy, queries, k, lists, centroid_scores, params)
        )

    def nearest_lists(self, queries: np.ndarray, count: int) -> np.ndarray | None:
        """Return the lists nearest to each query, int64[n, count] in any order; None if the CPU has to choose them."""
        if count > min(MAX_RESULTS, self._lists):
            return None
        found = self._pool.search(self._copies, lambda copy: copy.quantizer.search(queries, count)[1], pieces=False)
        return None if found is None else np.ascontiguousarray(found[0])


class FlatCopies:
    """The vectors of a flat index on GPUs, in float32.

    Args:
        index: of float16 codes.
        pool: of GPUs.

    Raises:
        RuntimeError: from FAISS, if there is not enough memory.
    """

    def __init__(self, index: faiss.Index, pool: GpuPool) -> None:
        self._pool = pool
        self._cuts = [index.ntotal * piece // pool.pieces for piece in range(pool.pieces + 1)]
        self._copies = pool.copy(_decoded(index, *cut) for cut in itertools.pairwise(self._cuts))

    def search(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return rows with about the highest scores, best first.

        Args:
            query: float32[dim].

        Returns:
            Scores float32[j] as a GPU rounds them, and rows int64[j], j = min(k, rows); None if the CPU has to search.
        """
        if not self._pool.reaches(k, 1):
            return None
        found = self._pool.search(self._copies, lambda copy: copy.search(query[None], k))
        if found is None:
            return None
        scores = np.concatenate([of_piece[0] for of_piece, _ in found])
        rows = np.concatenate([of_piece[0] for _, of_piece in found])
        firsts = np.repeat(self._cuts[: len(found)], k)
        scores, rows = scores[rows >= 0], (rows + firsts)[rows >= 0]  # a piece may have fewer than k
        order = np.argsort(-scores, kind="stable")[:k]
        return scores[order], rows[order]


def search_lists(
    ivf: faiss.Index,
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


def _decoded(index: faiss.Index, start: int, end: int) -> faiss.Index:
    """Return the vectors of some rows as an index in float32."""
    decoded = faiss.IndexFlatIP(index.d)
    for first in range(start, end, _BLOCK):
        decoded.add(index.reconstruct_n(first, min(_BLOCK, end - first)))
    return decoded


def _merged(ivfs: Sequence[faiss.IndexIVF], pieces: int, piece: int) -> faiss.IndexIVF:
    """Return one IVF with the rows of all files, or with those whose number is `piece` modulo `pieces`.

    Its centroids are flat, as a GPU needs them.

    Raises:
        DeviceError: FAISS has no GPU index for this codec.
    """
    first = faiss.downcast_index(ivfs[0])
    flat, metric = exact_quantizer(first), faiss.METRIC_INNER_PRODUCT
    if isinstance(first, faiss.IndexIVFPQ) and first.pq.nbits == 8 and first.pq.M in _SUBQUANTIZERS:
        merged = faiss.IndexIVFPQ(flat, first.d, first.nlist, first.pq.M, first.pq.nbits, metric)
        merged.pq = first.pq
        merged.by_residual = first.by_residual
    elif isinstance(first, faiss.IndexIVFScalarQuantizer):
        merged = faiss.IndexIVFScalarQuantizer(flat, first.d, first.nlist, first.sq.qtype, metric, first.by_residual)
        merged.sq = first.sq
    else:
        kind = f"PQ of {first.pq.M} sub-vectors" if isinstance(first, faiss.IndexIVFPQ) else type(first).__name__
        raise DeviceError(f"FAISS has no GPU index for {kind}; searches stay on the CPU")
    merged.is_trained = True
    for ivf in ivfs:
        if pieces == 1:
            ivf.copy_subset_to(merged, faiss.InvertedLists.SUBSET_TYPE_ID_RANGE, 0, _NO_END)
        else:
            ivf.copy_subset_to(merged, faiss.InvertedLists.SUBSET_TYPE_ID_MOD, pieces, piece)
    return merged
