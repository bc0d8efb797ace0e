"""Milvus Lite: Milvus' own small implementation in Python, with its files in a folder. Not the server.

Kinds: hnsw, and ivf_sq8, which scores no candidate again. It refuses IVF_PQ and RaBitQ.
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
from protocol import Case, Index, K, RowFilter, Search, Setting, blocks
from pymilvus import DataType, MilvusClient
from stages import run

_NAME, _SECONDS = "rows", 3600  # without a limit some calls are tried again for ever
_BATCH = 2_000


class MilvusLite(Index):
    """A collection in a file of the task's folder."""

    def _client(self) -> MilvusClient:
        return MilvusClient(str(self.task.folder / "milvus.db"))

    def _lists(self) -> int:
        return int(2 ** round(np.log2(4 * np.sqrt(len(self.task.vectors)))))  # as many as Lookalike has

    def build(self) -> dict[str, Any]:
        rows, dim = self.task.vectors.shape
        client = self._client()
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
        for name in self.task.columns:
            schema.add_field(name, DataType.INT32)
        client.create_collection(_NAME, schema=schema, timeout=_SECONDS)
        for block_first, vectors in blocks(self.task.vectors):
            for start in range(0, len(vectors), _BATCH):
                numbers = range(block_first + start, block_first + min(start + _BATCH, len(vectors)))
                columns = {name: values[numbers.start : numbers.stop] for name, values in self.task.columns.items()}
                data = [
                    {"id": number, "vector": vectors[number - block_first]}
                    | {name: int(values[number - numbers.start]) for name, values in columns.items()}
                    for number in numbers
                ]
                client.insert(_NAME, data, timeout=_SECONDS)
        client.flush(_NAME, timeout=_SECONDS)
        if self.task.index == "hnsw":
            kind, params = "HNSW", {"M": 16, "efConstruction": 200}
        else:
            kind, params = "IVF_SQ8", {"nlist": self._lists()}
        index = MilvusClient.prepare_index_params()
        index.add_index("vector", index_type=kind, metric_type="IP", params=params)
        client.create_index(_NAME, index, timeout=_SECONDS)
        client.load_collection(_NAME, timeout=_SECONDS)
        client.close()
        code = 4 * dim + 4 * 2 * 16 if kind == "HNSW" else dim
        return {
            "version": version("milvus-lite"),
            "description": f"{kind} {', '.join(f'{name}={value}' for name, value in params.items())}",
            "resident_bytes": rows * (code + 8),
        }

    def open(self) -> None:
        self.client = self._client()
        self.client.load_collection(_NAME, timeout=_SECONDS)

    def sweeps(self, case: Case) -> list[list[Setting]]:
        if self.task.index == "hnsw":
            efs = (100, 120, 140, 170, 200, 240, 280, 340, 400, 560, 800, 1600)
            filtered = (100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600)
            return [[{"ef": ef} for ef in (efs if case.row_filter is None else filtered)]]
        nprobes = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
        return [[{"nprobe": probes} for probes in nprobes if probes <= self._lists()]]

    def search(self, setting: Setting, row_filter: RowFilter | None) -> Search:
        expression = "" if row_filter is None else _expression(row_filter)
        params = {"metric_type": "IP", "params": setting}

        def search(query: np.ndarray) -> np.ndarray:
            (hits,) = self.client.search(
                _NAME, [query], filter=expression, limit=K, search_params=params, output_fields=["id"], timeout=_SECONDS
            )
            return np.array([hit["id"] for hit in hits], np.int64)

        return search

    def close(self) -> None:
        self.client.close()


def _expression(row_filter: RowFilter) -> str:
    if row_filter.any_of:
        return f"{row_filter.column} in {list(row_filter.any_of)}"
    return f"{row_filter.column} < {row_filter.below}"


if __name__ == "__main__":
    run(MilvusLite)
