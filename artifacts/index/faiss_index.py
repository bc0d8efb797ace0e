"""Opens index files and finds candidates in them.

A segment's IVF index is one or more files with the same lists; a search chooses the lists once and probes them in
every file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np

from artifacts.index.build import map_file
from artifacts.index.coarse import RoundedCentroids, centroids_of, exact_quantizer, has_graph, nearest_by_graph
from artifacts.index.devices.assignment import inner_products
from artifacts.index.gpus.copies import FlatCopies, IvfCopies, search_lists
from artifacts.index.gpus.pool import GpuPool
from artifacts.index.ivf_space import codec_of, rotate, rotation_matrix
from artifacts.index.params import IvfShape
from artifacts.index.vectors import best, fp16_view

#: Lists found beside the requested ones, and for each of these. All are scored in float32: rounding swaps lists only
#: where all of these are almost equally near.
_SPARE_LISTS, _SPARE_PER_LIST = 8, 0.125

#: Rows of a flat index that GPUs find beside the requested ones, and how much their scores may be off.
_SPARE_ROWS, _ROUNDING = 64, 1e-4


class FlatIndex:
    """Exact search over all rows of a small segment."""

    def __init__(self, path: Path) -> None:
        self.index = map_file(path)
        self.rows: int = self.index.ntotal
        self._copies: FlatCopies | None = None

    def copy_to_gpus(self, pool: GpuPool) -> None:
        """Search on GPUs from now on; see `FlatCopies` for the errors. Filtered searches stay on the CPU."""
        if self.rows:
            self._copies = FlatCopies(self.index, pool)

    def search(self, query: np.ndarray, k: int, bitmap: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the best `k` rows for float32[dim], as `artifacts.index.vectors.best` does.

        Args:
            bitmap: uint8, one bit a row, little-endian: only these rows; all if None.
        """
        if bitmap is not None:
            return best(self.index, query, k, faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap)))
        found = None if self._copies is None else self._search_copies(self._copies, query, k)
        return best(self.index, query, k) if found is None else found

    def _search_copies(self, copies: FlatCopies, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return what `search` does, from candidates of the GPUs; None if the CPU has to search.

        The candidates are scored by the kernel of all searches. They are enough if any row beside them has a lower
        score, whatever the rounding of the GPU.
        """
        depth = k + _SPARE_ROWS
        while (found := copies.search(query, min(depth, self.rows))) is not None:
            rows = np.sort(found[1])
            scores, positions = best(fp16_view(self._vectors[rows]), query, k)
            if depth >= self.rows or found[0][-1] < scores[-1] - _ROUNDING:
                return scores, rows[positions]
            depth *= 4
        return None

    @property
    def _vectors(self) -> np.ndarray:
        """The codes as what they are, float16[rows, dim]."""
        codes = faiss.rev_swig_ptr(self.index.codes.data(), self.rows * self.index.code_size)
        return codes.view(np.float16).reshape(self.rows, -1)


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
        indexes = [map_file(path) for path in paths]
        ivfs = [faiss.extract_index_ivf(index) for index in indexes]
        self.indexes = indexes if base is None else [*base.indexes, *indexes]
        self.ivfs = ivfs if base is None else [*base.ivfs, *ivfs]
        # For each file, its segment (0 the base, 1 the delta), and the number of that segment's first row.
        self._segments = [0] * len(ivfs) if base is None else [0] * len(base.ivfs) + [1] * len(ivfs)
        self._first_rows = [0, 0 if base is None else base.rows]
        self._base, self._copies = base, None
        self.lists: int = self.ivfs[0].nlist
        if base is None:
            self._rotation, self._centroids = rotation_matrix(indexes[0]), centroids_of(self.ivfs[0])
            self._rounded = None if has_graph(self.ivfs[0]) else RoundedCentroids(self.ivfs[0])
        else:
            self._rotation, self._centroids, self._rounded = base._rotation, base._centroids, base._rounded
        self.rows: int = sum(ivf.ntotal for ivf in self.ivfs)
        self.shape = IvfShape(codec_of(self.indexes[0]), self.rows, self.lists, self.ivfs[0].d, self.ivfs[0].code_size)

    def copy_to_gpus(self, pool: GpuPool) -> None:
        """Search a base on GPUs from now on; see `IvfCopies` for the errors.

        Its deltas, which are small and replaced often, and filtered searches stay on the CPU.
        """
        self._copies = IvfCopies(self.ivfs, pool)

    @property
    def _gpus(self) -> IvfCopies | None:
        """The copies of the base, if there are any."""
        return self._copies if self._base is None else self._base._copies

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
        inner = rotate(self._rotation, queries)
        centroid_scores, lists = self._choose_lists(inner, nprobe, rows_per_list)
        results: list[tuple[np.ndarray, np.ndarray]] = []
        params = faiss.SearchParametersIVF(nprobe=lists.shape[1])
        copied = 0
        if bitmaps is None and self._gpus is not None:
            found = self._gpus.search(inner, k, lists, centroid_scores)
            if found is not None:
                results, copied = found, self._segments.count(0)
        for ivf, segment in zip(self.ivfs[copied:], self._segments[copied:], strict=True):
            first_row = self._first_rows[segment]
            if bitmaps is not None:
                params.sel = faiss.IDSelectorBitmap(bitmaps[segment])
            scores, rows = search_lists(ivf, inner, k, lists, centroid_scores, params)
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

        A few lists more than requested are found roughly, or by a graph, and those are scored one by one.
        """
        depth = min(probes + _SPARE_LISTS + int(_SPARE_PER_LIST * probes), self.lists)
        lists = self._candidate_lists(queries, depth)
        scores = inner_products(queries, self._centroids, lists)
        order = np.lexsort((lists, -scores))[:, :probes]
        nearest = np.take_along_axis(scores, order, axis=1), np.take_along_axis(lists, order, axis=1)
        return np.ascontiguousarray(nearest[0]), np.ascontiguousarray(nearest[1])

    def _candidate_lists(self, queries: np.ndarray, count: int) -> np.ndarray:
        """Return the lists nearest to each query but for rounding, int64[n, count] in any order."""
        if self._gpus is not None and (lists := self._gpus.nearest_lists(queries, count)) is not None:
            return lists
        if self._rounded is None:
            return nearest_by_graph(self.ivfs[0], queries, count)
        return self._rounded.nearest(queries, count)
