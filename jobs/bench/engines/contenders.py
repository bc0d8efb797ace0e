"""The same rows as a segment with FAISS files, and as segments that engines find the candidates of."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

import numpy as np

from artifacts.config import IndexConfig
from artifacts.engines.pool import EnginePool
from artifacts.engines.reference import NAME_PREFIX, EngineRef
from artifacts.schema import segment_schema
from artifacts.segments.info import SegmentInfo
from artifacts.segments.segment import Segment
from artifacts.segments.writer import SegmentWriter
from jobs.bench.catalog import product_rows
from jobs.bench.engines.named import NamedEngine
from jobs.bench.engines.report import FAISS, ContenderReport, LoadReport
from jobs.bench.index.data import IndexData
from jobs.load.step import load_segment
from jobs.steps import Progress, no_progress
from jobs.workspace.fingerprints import fingerprint

_BLOCK_ROWS = 20_000
_SEED = 0


class Contender(ABC):
    """What finds the candidates of a segment.

    Args:
        data: its rows.
        config: of the segment.
        folder: of its files.

    Attributes:
        name, kind, description: see `ContenderReport`.
    """

    name: str
    kind: str
    description: str

    def __init__(self, data: IndexData, config: IndexConfig, folder: Path) -> None:
        self._data, self._config, self._folder = data, config, folder
        self._segment: Segment | None = None

    @property
    def segment(self) -> Segment:
        """The open segment, once it is loaded."""
        assert self._segment is not None  # noqa: S101  (callers load it first)
        return self._segment

    @abstractmethod
    def load(self, progress: Progress = no_progress) -> LoadReport:
        """Write the segment, make its rows searchable, and open it.

        Args:
            progress: called with the number of rows done, and of all.

        Raises:
            EngineError: the engine refuses the rows.
            EngineUnavailable: it does not answer.
        """

    @abstractmethod
    def sizes(self) -> ContenderReport:
        """Return a report with what it takes of disk and memory now, and nothing else."""

    def close(self) -> None:
        """Close what is open, and remove what was loaded."""
        if self._segment is not None:
            self._segment.close()

    def _writer(self) -> SegmentWriter:
        """Return a writer that has the rows."""
        schema = segment_schema({})
        vectors = np.load(self._data.folder / "vectors.npy", mmap_mode="r")
        categories = np.load(self._data.folder / "category.npy")
        writer = SegmentWriter(self._folder, self._data.dim, schema, self._config)
        for first in range(0, len(vectors), _BLOCK_ROWS):
            some = slice(first, first + _BLOCK_ROWS)
            writer.add(product_rows(first, categories[some], schema, _SEED), np.asarray(vectors[some]))
        return writer


class FaissFiles(Contender):
    """Index files of a codec."""

    name = kind = FAISS

    def __init__(self, data: IndexData, config: IndexConfig, folder: Path) -> None:
        super().__init__(data, replace(config, flat_max_rows=0), folder)

    def load(self, progress: Progress = no_progress) -> LoadReport:
        writer = self._writer()
        began = time.perf_counter()
        info = writer.finish("bench", "bench", progress=progress)
        seconds = time.perf_counter() - began
        self._segment = Segment(self._folder, verify=False)
        self.description = info.index.factory
        return LoadReport(0.0, 0.0, round(seconds, 1))

    def sizes(self) -> ContenderReport:
        index = round(_index_bytes(self.segment.info) / 2**20, 1)
        return ContenderReport(self.name, self.kind, self.description, disk_mb=index, memory_mb=index)


def _index_bytes(info: SegmentInfo) -> int:
    """Return the bytes of the files that only a segment with an index has."""
    return sum(entry.bytes for path, entry in info.files.items() if path.endswith((".faiss", "lists.i32")))


class LoadedEngine(Contender):
    """An engine that is loaded as the load step does it, and forgets the rows when it is closed."""

    def __init__(self, data: IndexData, config: IndexConfig, folder: Path, engine: NamedEngine) -> None:
        super().__init__(data, config, folder)
        self.name, self.kind = engine.name, engine.kind
        self.description = ", ".join(f"{name} {value}" for name, value in engine.options.items()) or "default options"
        self._engine = engine
        self._engines = EnginePool(url=engine.address.url, key=engine.address.key)
        segment_id = f"bench_{fingerprint(str(data.folder.absolute()), engine.name)[:16]}"
        self._ref = EngineRef(kind=engine.kind, name=f"{NAME_PREFIX}{segment_id}", options=dict(engine.options))
        self._touched = False
        self._disk_before: float | None = None
        self._memory_before: float | None = None

    def load(self, progress: Progress = no_progress) -> LoadReport:
        self._writer().finish("bench", "bench", engine=self._ref)
        self._segment = Segment(self._folder, verify=False, open_engine=self._engines.engine)
        self._segment.engine.drop(self._ref.name)  # of a run that was interrupted
        self._touched = True
        memory = self._engine.memory()
        self._memory_before = memory and round(memory.own_mb, 1)
        self._disk_before = self._engine.disk_mb()
        began = loaded = time.perf_counter()

        def note(done: int, total: int | None = None) -> None:
            nonlocal loaded
            loaded = time.perf_counter()  # the last call says that all rows are written
            progress(done, total)

        load_segment(self._segment, note)
        ended = time.perf_counter()
        rate = self._data.rows / (loaded - began)
        return LoadReport(round(loaded - began, 1), round(rate), round(ended - loaded, 1))

    def sizes(self) -> ContenderReport:
        memory, disk = self._engine.memory(), self._engine.disk_mb()
        return ContenderReport(
            self.name,
            self.kind,
            self.description,
            disk_mb=None if disk is None or self._disk_before is None else round(disk - self._disk_before, 1),
            memory_mb=memory and round(memory.own_mb, 1),
            mapped_mb=memory and round(memory.mapped_mb, 1),
            memory_before_mb=self._memory_before,
        )

    def close(self) -> None:
        try:
            if self._touched and self._segment is not None:
                self._segment.engine.drop(self._ref.name)
        finally:
            super().close()
            self._engines.close()
