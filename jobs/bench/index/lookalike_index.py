"""Lookalike's own index as a contender: a segment as a release has it, calibrated as the gate does.

python -m jobs.bench.index.lookalike_index STAGE TASK RESULT
"""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any, get_args

import faiss
import numpy as np
import pyarrow as pa

from artifacts.config import Codec, IndexConfig
from artifacts.index.params import SearchParams
from artifacts.products.filters import Condition
from artifacts.schema import segment_schema
from artifacts.segments.row_filter import RowFilter as AllowedRows
from artifacts.segments.search.searcher import Searcher
from artifacts.segments.segment import Segment
from artifacts.segments.writer import SegmentWriter
from jobs.bench.index.peers.protocol import Case, Index, K, RowFilter, Search, Setting, blocks
from jobs.bench.index.peers.stages import run
from jobs.bench.search import row_scores
from jobs.evaluate.calibration import calibrate, calibrate_filtered, depths_of, recall

#: Multiples of the calibrated nprobe that are measured too, for the curve of recall and speed.
_CURVE = (0.25, 0.5, 2, 4)


class LookalikeIndex(Index):
    """A segment; the kind of index is its codec."""

    calibrates = True

    def build(self) -> dict[str, Any]:
        schema = segment_schema({name: pa.int64() for name in self.task.columns if name != "category"})
        codec = next(codec for codec in get_args(Codec) if codec == self.task.index)
        config = IndexConfig(codec=codec, flat_max_rows=0)
        folder = self.task.folder / "segment"
        writer = SegmentWriter(folder, self.task.vectors.shape[1], schema, config)
        for first, vectors in blocks(self.task.vectors):
            writer.add(self._products(first, len(vectors), schema), vectors.astype(np.float16))
        info = writer.finish("bench", "bench")
        resident = sum(entry.bytes for path, entry in info.files.items() if path.endswith(("index.faiss", "lists.i32")))
        return {"version": _version(), "description": info.index.factory, "resident_bytes": resident}

    def _products(self, first: int, rows: int, schema: pa.Schema) -> pa.Table:
        ids = [f"p{number}" for number in range(first, first + rows)]
        columns: dict[str, Any] = {"product_id": ids, "picture": np.zeros(rows, np.int32), "image_url": [""] * rows}
        columns |= {name: values[first : first + rows] for name, values in self.task.columns.items()}
        columns["category"] = [str(number) for number in columns["category"]]
        arrays = [
            pa.array(columns[field.name]).cast(field.type) if field.name in columns else pa.nulls(rows, field.type)
            for field in schema
        ]
        return pa.table(arrays, schema=schema)

    def open(self) -> None:
        faiss.omp_set_num_threads(1)
        self.segment = Segment(self.task.folder / "segment", verify=False)
        self.searcher = Searcher(self.segment)
        self._calibrated: dict[str, SearchParams] = {}

    def sweeps(self, case: Case) -> list[list[Setting]]:
        params = self._params(case.modality)
        if case.row_filter is not None or self.segment.ivf is None:
            return [[asdict(params)]]
        probes = sorted({max(1, round(params.nprobe * factor)) for factor in _CURVE} - {params.nprobe})
        others = [asdict(SearchParams(number, params.rescore)) for number in probes]
        return [[asdict(params)], others]

    def _params(self, modality: str) -> SearchParams:
        """Return what the gate would choose: for searches without a filter, then for the worst of all filters."""
        if modality not in self._calibrated:
            deepest, depths = self.searcher.max_nprobe, depths_of(self.searcher)
            cases = [case for case in self.task.cases() if case.modality == modality]
            (whole,) = (case for case in cases if case.row_filter is None)
            params, _ = calibrate(
                lambda trial: row_scores(self.searcher, whole.queries, trial),
                _truth(whole),
                deepest,
                self.task.target,
                depths,
            )
            filtered = [(case, self._rows(case.row_filter)) for case in cases if case.row_filter is not None]

            def lowest_recall(trial: SearchParams) -> float:
                return min(
                    recall(row_scores(self.searcher, case.queries, trial, rows), _truth(case), K)
                    for case, rows in filtered
                )

            if filtered:
                params = calibrate_filtered(lowest_recall, params, deepest, self.task.target, depths)
            self._calibrated[modality] = params
        return self._calibrated[modality]

    def _rows(self, row_filter: RowFilter) -> AllowedRows:
        """Find the rows that pass, as a server does when it meets a filter for the first time; it keeps them."""
        assert self.segment.database is not None  # noqa: S101  (a base has one)
        values = tuple(str(value) if row_filter.column == "category" else value for value in row_filter.any_of)
        condition = Condition(row_filter.column, any_of=values, below=row_filter.below)
        return self.searcher.row_filter(self.segment.database.matching_rows((condition,)))

    def search(self, setting: Setting, row_filter: RowFilter | None) -> Search:
        faiss.omp_set_num_threads(1)  # each thread has a limit of its own
        params = SearchParams(**setting)
        rows = None if row_filter is None else self._rows(row_filter)
        searcher = self.searcher
        return lambda query: searcher.search(query[None, :], K, params, rows)[0][0].rows

    def close(self) -> None:
        self.segment.close()


def _truth(case: Case) -> list[np.ndarray]:
    return [scores[scores > -2] for scores in case.truth]


def _version() -> str:
    try:
        return version("lookalike")
    except PackageNotFoundError:
        return "from source"


if __name__ == "__main__":
    run(LookalikeIndex)
