"""Writes and searches an HNSW graph over the float16 vectors of a segment.

A graph finds the nearest rows with the fewest scores, and takes the most memory: all vectors, and 272 bytes of links a
row. Each link that is followed reads a vector at a random place, so the file should stay in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import faiss
import numpy as np

from artifacts.index.build import map_file
from artifacts.index.devices.threads import one_thread
from artifacts.index.params import GRAPH_LINKS

#: Rows that a node's links are chosen from while the graph is built. More take longer, and find more at equal depth.
_CANDIDATE_LINKS = 128


def write_graph(blocks: Iterable[np.ndarray], dim: int, path: Path) -> None:
    """Write a graph over blocks of float16[n, dim], which are in memory together with it.

    One thread adds the rows in their order: with more, the links would differ from build to build.
    """
    index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_fp16, GRAPH_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.train(np.zeros((1, dim), np.float32))  # float16 has nothing to learn; FAISS asks for it nevertheless
    index.hnsw.efConstruction = _CANDIDATE_LINKS
    with one_thread():
        for block in blocks:
            index.add(block.astype(np.float32))
    faiss.write_index(index, str(path))


class GraphIndex:
    """Approximate search in a graph. Safe to use from several threads at once.

    Attributes:
        rows: in the graph.
        dim: length of a vector.
    """

    def __init__(self, path: Path) -> None:
        self._index = map_file(path)
        self.rows: int = self._index.ntotal
        self.dim: int = self._index.d

    def candidates(self, query: np.ndarray, k: int, depth: int, bitmap: np.ndarray | None) -> np.ndarray:
        """Return the rows that a walk through the graph finds nearest.

        Args:
            query: float32[dim].
            depth: nearest rows that the walk keeps, allowed or not: efSearch, at least `k`.
            bitmap: uint8, one bit a row, little-endian: only these rows; all if None. The walk goes over the others.

        Returns:
            Row numbers int64[j], j ≤ k, best first. They may be fewer than there are.
        """
        params = faiss.SearchParametersHNSW(efSearch=max(k, depth))
        if bitmap is not None:
            params.sel = faiss.IDSelectorBitmap(bitmap)
        _, (rows,) = self._index.search(query[None, :], k, params=params)
        return rows[rows >= 0]
