"""hnswlib: a graph over float32 vectors in memory, M=16. A filter is a Python function that it calls for each row."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import hnswlib
import numpy as np
from protocol import Case, Index, K, RowFilter, Search, Setting, blocks
from stages import run

_M, _EF_CONSTRUCTION = 16, 200


class Hnswlib(Index):
    """Without `num_threads=1` each search would start as many threads as there are cores."""

    def build(self) -> dict[str, Any]:
        rows, dim = self.task.vectors.shape
        index = hnswlib.Index(space="ip", dim=dim)
        index.init_index(max_elements=rows, M=_M, ef_construction=_EF_CONSTRUCTION, random_seed=0)
        index.set_num_threads(self.task.threads)
        for first, vectors in blocks(self.task.vectors):
            index.add_items(vectors, np.arange(first, first + len(vectors)))
        index.save_index(str(self.task.folder / "hnswlib.bin"))
        return {
            "version": version("hnswlib"),
            "description": f"HNSW M={_M}, efConstruction={_EF_CONSTRUCTION}, float32",
            "resident_bytes": index.index_file_size(),
        }

    def open(self) -> None:
        self.index = hnswlib.Index(space="ip", dim=self.task.vectors.shape[1])
        self.index.load_index(str(self.task.folder / "hnswlib.bin"))
        self.index.set_num_threads(1)

    def sweeps(self, case: Case) -> list[list[Setting]]:
        efs = (100, 120, 140, 170, 200, 240, 280, 340, 400, 560, 800, 1600, 3200)
        filtered = (100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600)
        return [[{"ef": ef} for ef in (efs if case.row_filter is None else filtered)]]

    def search(self, setting: Setting, row_filter: RowFilter | None) -> Search:
        self.index.set_ef(setting["ef"])
        allows = None if row_filter is None else row_filter.find_allowed().tolist().__getitem__

        def search(query: np.ndarray) -> np.ndarray:
            try:
                ids, _ = self.index.knn_query(query, K, num_threads=1, filter=allows)
            except RuntimeError:  # it has found fewer than K rows that pass, and returns none of them
                return np.empty(0, np.int64)
            return ids[0].astype(np.int64)

        return search


if __name__ == "__main__":
    run(Hnswlib)
