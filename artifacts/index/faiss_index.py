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
from artifacts.index.gpus.copies import FlatCopies, IvfCopies, search_lists
from artifacts.index.gpus.pool import GpuPool
from artifacts.index.ivf_space import codec_of, rotate, rotation_matrix
from artifacts.index.lists.probing import AllowedRows, Probing
from artifacts.index.params import IvfShape
from artifacts.index.vectors import best, fp16_view

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
        similarity: of a base, how alike the rows of each list are, float32[lists]; None if it was built before this was
            kept.

    Attributes:
        lists: number of IVF lists.
        rows: in all files.
    """

    def __init__(
        self, paths: Sequence[Path], base: IvfIndex | None = None, similarity: np.ndarray | None = None
    ) -> None:
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
            self._rotation, self._probing = rotation_matrix(indexes[0]), Probing(self.ivfs[0], similarity)
        else:
            self._rotation, self._probing = base._rotation, base._probing
        self.rows: int = sum(ivf.ntotal for ivf in self.ivfs)
        first = self.ivfs[0]
        self.shape = IvfShape(
            codec_of(self.indexes[0]), self.rows, self.lists, first.d, first.code_size, self._probing.has_model
        )

    def copy_to_gpus(self, pool: GpuPool) -> None:
        """Search a base on GPUs from now on; see `IvfCopies` for the errors.

        Its deltas, which are small and replaced often, and filtered searches stay on the CPU.
        """
        self._copies = IvfCopies(self.ivfs, pool)

    @property
    def _gpus(self) -> IvfCopies | None:
        """The copies of the base, if there are any."""
        return self._copies if self._base is None else self._base._copies

    def candidates(self, queries: np.ndarray, k: int, nprobe: int, allowed: AllowedRows | None = None) -> np.ndarray:
        """Return the rows that score highest by their codes, int64[n, k] as `probe` does."""
        return self.probe(queries, k, nprobe, allowed)[0]

    def probe(
        self, queries: np.ndarray, k: int, nprobe: int, allowed: AllowedRows | None = None
    ) -> tuple[np.ndarray, int]:
        """Find the rows that score highest by their codes. Those of one query do not depend on the other queries.

        Args:
            queries: float32[n, dim].
            nprobe: lists to probe; under a filter, see `AllowedRows`.
            allowed: only these rows; all if None.

        Returns:
            Row numbers int64[n, k], best first, -1 where there are fewer; and the number of lists that were probed, for
            the query with the most.
        """
        inner = rotate(self._rotation, queries)
        if allowed is None:
            find = None if self._gpus is None else self._gpus.nearest_lists
            centroid_scores, lists = self._probing.nearest(inner, min(nprobe, self.lists), find)
        else:
            centroid_scores, lists = self._probing.filtered(inner, nprobe, allowed)
        results: list[tuple[np.ndarray, np.ndarray]] = []
        params = faiss.SearchParametersIVF(nprobe=lists.shape[1])
        copied = 0
        if allowed is None and self._gpus is not None:
            found = self._gpus.search(inner, k, lists, centroid_scores)
            if found is not None:
                results, copied = found, self._segments.count(0)
        for ivf, segment in zip(self.ivfs[copied:], self._segments[copied:], strict=True):
            first_row = self._first_rows[segment]
            if allowed is not None:
                params.sel = faiss.IDSelectorBitmap(allowed.bitmaps[segment])
            scores, rows = search_lists(ivf, inner, k, lists, centroid_scores, params)
            if first_row:
                rows += first_row * (rows >= 0)
            results.append((scores, rows))
        if len(results) == 1:
            return results[0][1], lists.shape[1]
        # Only the best of all files are worth scoring exactly: each costs a read of its vector, likely from disk.
        scores, rows = (np.concatenate(arrays, axis=1) for arrays in zip(*results, strict=True))
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # where there are fewer rows, scores are the lowest
        return np.take_along_axis(rows, order, axis=1), lists.shape[1]
