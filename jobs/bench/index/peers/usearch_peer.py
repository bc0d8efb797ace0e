"""USearch: a graph over float16 or int8 vectors in memory. Its Python API takes no filter."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
from protocol import Case, Index, K, RowFilter, Search, Setting, blocks
from stages import run
from usearch.index import Index as Graph

_CONNECTIVITY, _EXPANSION_ADD = 16, 128


class Usearch(Index):
    """The kind of index names the type of its numbers: f16 or i8."""

    unfiltered = "its Python API takes no filter"

    def _graph(self) -> Graph:
        return Graph(
            ndim=self.task.vectors.shape[1], metric="ip", dtype=self.task.index,
            connectivity=_CONNECTIVITY, expansion_add=_EXPANSION_ADD,
        )  # fmt: skip

    def build(self) -> dict[str, Any]:
        graph = self._graph()
        for first, vectors in blocks(self.task.vectors):
            graph.add(np.arange(first, first + len(vectors)), vectors, threads=self.task.threads)
        path = self.task.folder / "graph.usearch"
        graph.save(str(path))
        return {
            "version": version("usearch"),
            "description": f"HNSW M={_CONNECTIVITY}, expansion_add={_EXPANSION_ADD}, {self.task.index}",
            "resident_bytes": path.stat().st_size,
        }

    def open(self) -> None:
        self.graph = self._graph()
        self.graph.load(str(self.task.folder / "graph.usearch"))

    def sweeps(self, case: Case) -> list[list[Setting]]:
        return [
            [{"expansion": expansion} for expansion in (100, 120, 140, 170, 200, 240, 280, 340, 400, 560, 800, 1600)]
        ]

    def search(self, setting: Setting, row_filter: RowFilter | None) -> Search:
        self.graph.expansion_search = setting["expansion"]
        return lambda query: self.graph.search(query, K, threads=1).keys.astype(np.int64)


if __name__ == "__main__":
    run(Usearch)
