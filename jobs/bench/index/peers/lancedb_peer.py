"""LanceDB: an index on disk, searched through the embedded database. Kinds: ivf_pq, ivf_rq, ivf_hnsw_sq.

Candidates are scored again with the stored vectors (`refine_factor`). Filters are applied before the search
(`prefilter`), with a bitmap index on the categories and a B-tree on the drawn numbers.
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from protocol import Case, Index, K, RowFilter, Search, Setting, blocks
from stages import run

_DIMENSIONS_A_BYTE = 8  # of a product quantizer, as in Lookalike
_NPROBES, _REFINES = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048), (2, 3, 4, 6, 8, 16)


class Lance(Index):
    """A table with the rows' numbers, vectors and columns."""

    def _lists(self) -> int:
        return max(1, 2 ** round(np.log2(4 * np.sqrt(len(self.task.vectors)))))  # as many as Lookalike has

    def build(self) -> dict[str, Any]:
        dim = self.task.vectors.shape[1]
        types = [("id", pa.int64()), *((name, pa.int32()) for name in self.task.columns)]
        schema = pa.schema([*types, ("vector", pa.list_(pa.float32(), dim))])

        def batches() -> Iterator[pa.RecordBatch]:
            for first, vectors in blocks(self.task.vectors):
                numbers = slice(first, first + len(vectors))
                arrays = [pa.array(np.arange(first, first + len(vectors)))]
                arrays += [pa.array(values[numbers]) for values in self.task.columns.values()]
                arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim))
                yield pa.record_batch(arrays, schema=schema)

        table = lancedb.connect(self.task.folder).create_table("rows", batches(), schema=schema, mode="overwrite")
        options: dict[str, Any] = {"num_partitions": self._lists()}
        if self.task.index == "ivf_pq":
            options["num_sub_vectors"] = max(1, dim // _DIMENSIONS_A_BYTE)
        if self.task.index == "ivf_hnsw_sq":
            options = {"num_partitions": 1}
        table.create_index("dot", index_type=self.task.index.upper(), **options)
        for name in self.task.columns:
            table.create_scalar_index(name, index_type="BITMAP" if name == "category" else "BTREE")
        stored = sum(
            path.stat().st_size for path in (self.task.folder / "rows.lance/_indices").rglob("*") if path.is_file()
        )
        described = ", ".join(f"{name}={value}" for name, value in options.items())
        return {
            "version": version("lancedb"),
            "description": f"{self.task.index.upper()} {described}, dot",
            "resident_bytes": stored,
        }

    def open(self) -> None:
        self.table = lancedb.connect(self.task.folder).open_table("rows")

    def sweeps(self, case: Case) -> list[list[Setting]]:
        if self.task.index == "ivf_hnsw_sq":
            factors = (1, 2, 3, 4, 6, 8, 16)  # `ef` may not be less than the candidates
            return [[{"nprobes": 1, "refine": refine, "ef": K * refine * n} for n in factors] for refine in (1, 2)]
        nprobes = [probes for probes in _NPROBES if probes <= self._lists()]
        return [[{"nprobes": probes, "refine": refine} for probes in nprobes] for refine in _REFINES]

    def search(self, setting: Setting, row_filter: RowFilter | None) -> Search:
        where = None if row_filter is None else row_filter.sql()

        def search(query: np.ndarray) -> np.ndarray:
            builder = self.table.search(query, vector_column_name="vector").distance_type("dot").limit(K)
            builder = builder.nprobes(setting["nprobes"]).refine_factor(setting["refine"])
            builder = builder.select(["id", "_distance"])  # without the second it would log a warning for each query
            if "ef" in setting:
                builder = builder.ef(setting["ef"])
            if where is not None:
                builder = builder.where(where, prefilter=True)
            return builder.to_arrow().column("id").to_numpy()

        return search


if __name__ == "__main__":
    run(Lance)
