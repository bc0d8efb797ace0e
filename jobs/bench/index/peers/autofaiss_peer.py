"""autofaiss: chooses a FAISS index by the number of rows and a memory limit. Its recall is tuned by FAISS's parameters.

Kinds: `default` without a limit that matters (it then takes HNSW), `mapped` for an index that can be memory-mapped.
It has no filters; FAISS's ID selector is what its users have.
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import autofaiss
import faiss
import numpy as np
from protocol import Case, Index, K, RowFilter, Search, Setting, blocks
from stages import run

_MEMORY, _AVAILABLE = "4G", "16G"  # of the index, and of the machine: the second has to be more
_LATENCY_MS = 5


class Autofaiss(Index):
    """An index file, with the parameter that its kind has: efSearch or nprobe."""

    def build(self) -> dict[str, Any]:
        vectors = np.concatenate([block for _, block in blocks(self.task.vectors)])
        path = self.task.folder / "autofaiss.index"
        index, infos = autofaiss.build_index(
            vectors,
            save_on_disk=True,
            index_path=str(path),
            index_infos_path=str(self.task.folder / "infos.json"),
            max_index_memory_usage=_MEMORY,
            current_memory_available=_AVAILABLE,
            max_index_query_time_ms=_LATENCY_MS,
            metric_type="ip",
            should_be_memory_mappable=self.task.index == "mapped",
            nb_cores=self.task.threads,
        )
        if index is None or infos is None:
            raise RuntimeError("autofaiss made no index: it logs its errors and returns nothing")
        return {
            "version": version("autofaiss"),
            "description": f"{infos['index_key']}, faiss-cpu {faiss.__version__}",
            "resident_bytes": path.stat().st_size,
        }

    def open(self) -> None:
        faiss.omp_set_num_threads(1)
        self.index = faiss.read_index(str(self.task.folder / "autofaiss.index"))
        inner = self.index
        while isinstance(inner, (faiss.IndexPreTransform, faiss.IndexIDMap)):
            inner = faiss.downcast_index(inner.index)
        self.inner = inner

    def sweeps(self, case: Case) -> list[list[Setting]]:
        if isinstance(self.inner, faiss.IndexHNSW):
            efs = (100, 120, 140, 170, 200, 240, 280, 340, 400, 560, 800, 1600)
            filtered = (100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600)
            return [[{"efSearch": ef} for ef in (efs if case.row_filter is None else filtered)]]
        return [[{"nprobe": probes} for probes in (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)]]

    def search(self, setting: Setting, row_filter: RowFilter | None) -> Search:
        bitmap, selector = None, None
        if row_filter is not None:
            bitmap = np.packbits(row_filter.find_allowed(), bitorder="little")
            selector = faiss.IDSelectorBitmap(bitmap)
        if isinstance(self.inner, faiss.IndexHNSW):
            params = faiss.SearchParametersHNSW(sel=selector, **setting)
        else:
            params = faiss.SearchParametersIVF(sel=selector, **setting)
        wrapped = params
        if self.inner is not self.index and isinstance(self.index, faiss.IndexPreTransform):
            wrapped = faiss.SearchParametersPreTransform(index_params=params)

        def search(query: np.ndarray, _kept: object = (bitmap, selector, params)) -> np.ndarray:
            faiss.omp_set_num_threads(1)  # each thread has a limit of its own
            return self.index.search(query[None, :], K, params=wrapped)[1][0]

        return search


if __name__ == "__main__":
    run(Autofaiss)
