"""Qdrant Edge: Qdrant's engine in this process, without its server, network and replicas.

The vectors are stored as float16. Kinds: `hnsw` searches the graph with them, `sq8` with 8-bit codes in memory, and
scores candidates again with the stored vectors.
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import qdrant_edge as qdrant
from protocol import Case, Index, K, RowFilter, Search, Setting, blocks
from stages import run

_M, _EF_CONSTRUCT = 16, 100
_BATCH = 2_000


class QdrantEdge(Index):
    """A shard in the task's folder."""

    def _config(self) -> qdrant.EdgeConfig:
        quantization = None
        if self.task.index == "sq8":
            quantization = qdrant.ScalarQuantizationConfig(qdrant.ScalarType.Int8, always_ram=True)
        vectors = qdrant.EdgeVectorParams(
            self.task.vectors.shape[1], qdrant.Distance.Dot, datatype=qdrant.VectorStorageDatatype.Float16,
            quantization_config=quantization,
        )  # fmt: skip
        return qdrant.EdgeConfig(
            vectors=vectors,
            hnsw_config=qdrant.HnswIndexConfig(_M, _EF_CONSTRUCT, 10_000),
            optimizers=qdrant.EdgeOptimizersConfig(default_segment_number=1, max_segment_size=100_000_000),
        )

    def build(self) -> dict[str, Any]:
        folder = self.task.folder / "shard"
        folder.mkdir()
        shard = qdrant.EdgeShard.create(str(folder), self._config())
        for name in self.task.columns:
            shard.update(qdrant.UpdateOperation.create_field_index(name, qdrant.PayloadSchemaType.Integer))
        names = list(self.task.columns)
        for block_first, vectors in blocks(self.task.vectors):
            for start in range(0, len(vectors), _BATCH):
                first = block_first + start
                part = vectors[start : start + _BATCH].tolist()
                values = zip(
                    *(self.task.columns[name][first : first + len(part)].tolist() for name in names), strict=True
                )
                points = [
                    qdrant.Point(first + number, vector, dict(zip(names, payload, strict=True)))
                    for number, (vector, payload) in enumerate(zip(part, values, strict=True))
                ]
                shard.update(qdrant.UpdateOperation.upsert_points(points))
        shard.flush()
        shard.optimize()
        shard.flush()
        shard.close()
        rows, dim = self.task.vectors.shape
        graph = rows * 4 * 2 * _M  # links of the graph's lowest level
        return {
            "version": version("qdrant-edge-py"),
            "description": f"HNSW M={_M}, ef_construct={_EF_CONSTRUCT}, {self.task.index}, float16",
            "resident_bytes": graph + rows * dim * (1 if self.task.index == "sq8" else 2),
        }

    def open(self) -> None:
        self.shard = qdrant.EdgeShard.load(str(self.task.folder / "shard"))

    def sweeps(self, case: Case) -> list[list[Setting]]:
        efs = (100, 120, 140, 170, 200, 240, 280, 340, 400, 560, 800, 1600)
        if self.task.index == "hnsw":
            return [[{"ef": ef} for ef in efs]]
        return [[{"ef": ef, "oversampling": factor} for ef in efs] for factor in (1.0, 2.0)]

    def search(self, setting: Setting, row_filter: RowFilter | None) -> Search:
        quantization = None
        if "oversampling" in setting:
            quantization = qdrant.QuantizationSearchParams(rescore=True, oversampling=setting["oversampling"])
        params = qdrant.SearchParams(hnsw_ef=setting["ef"], quantization=quantization)
        allows = None if row_filter is None else _filter(row_filter)

        def search(query: np.ndarray) -> np.ndarray:
            request = qdrant.QueryRequest(
                limit=K, query=qdrant.Query.Nearest(query.tolist()), filter=allows, params=params,
                with_payload=False, with_vector=False,
            )  # fmt: skip
            return np.array([point.id for point in self.shard.query(request)], np.int64)

        return search

    def close(self) -> None:
        self.shard.close()


def _filter(row_filter: RowFilter) -> qdrant.Filter:
    if row_filter.any_of:
        condition = qdrant.FieldCondition(row_filter.column, match=qdrant.MatchAny(list(row_filter.any_of)))
    else:
        condition = qdrant.FieldCondition(row_filter.column, range=qdrant.RangeFloat(lt=row_filter.below))
    return qdrant.Filter(must=[condition])


if __name__ == "__main__":
    run(QdrantEdge)
