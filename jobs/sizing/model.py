"""What building and searching an index costs, fitted to measurements of smaller ones.

The terms are what the work consists of, so that they hold beyond the measured sizes: training compares the sample with
the centroids, a part encodes its rows and compares them with the centroids, a search compares the query with the
centroids, scans the codes of the probed lists and scores candidates exactly. Times are of a core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from artifacts.errors import InputError
from artifacts.index.choosing import resident
from artifacts.index.params import GRAPH_LISTS, code_size
from artifacts.index.training import comparisons
from jobs.sizing.costs import Cost
from jobs.sizing.measured import Measured, SearchCost

#: Results of a search that costs are measured for.
_RESULTS = 100
#: Finding the nearest 64 lists in the graph over 65,536 centroids of 512 numbers takes 0.4 ms, and 256 lists 1.5 ms, as
#: measured in `artifacts.index.lists.coarse`. For fewer than 64 the graph is searched as deeply.
_GRAPH_MS, _GRAPH_PROBES, _GRAPH_DIM = 0.4, 64, 512
#: Vectors of the sample that `artifacts.index.build` has in memory to train the codec; the others are mapped.
_CODEC_ROWS = 100_000
#: Rows that `artifacts.segments.index_writer` adds at once, and the bytes of each of their numbers: as float16, as
#: float32, and in a quarter of the block, which FAISS encodes at once, as residual.
_BLOCK_ROWS, _BLOCK_BYTES = 131_072, 7
#: FAISS doubles the memory of a list that is full: half more than its rows need, on average.
_LIST_GROWTH = 1.5


@dataclass(frozen=True)
class Index:
    """The sizes of an index that costs depend on.

    Attributes:
        rows: of the whole index.
        parts: of the segment.
        part_rows: of the largest part.
        shard_rows: of a shard of the workspace.
    """

    rows: int
    dim: int
    codec: str
    lists: int
    train_rows: int
    parts: int
    part_rows: int
    shard_rows: int

    @property
    def numbers(self) -> float:
        """Numbers of all vectors."""
        return float(self.rows) * self.dim

    @property
    def code_size(self) -> int:
        """Bytes of one row's code."""
        return code_size(self.codec, self.dim)

    @property
    def resident_bytes(self) -> int:
        return resident(self.codec, self.rows, self.dim, self.lists)[1]

    @property
    def quantizer_bytes(self) -> int:
        """Bytes of the trained, empty index."""
        return resident(self.codec, 0, self.dim, self.lists)[1]


@dataclass(frozen=True)
class Search:
    """The depth of a search."""

    nprobe: int
    rescore: int


class Model:
    """Costs fitted to measurements of one codec.

    Attributes:
        train_core_seconds: of an index.
        parts_core_seconds: of all parts of an index, written by as many tasks at once as were measured.
        seal_core_seconds: of an index.
        train_memory, part_memory, seal_memory: bytes that a process needs of its own.
        disk: bytes of a segment.
        search_core_ms: of an index and a depth.

    Args:
        points: at least two.

    Raises:
        InputError: there are fewer points, or they are of several codecs.
    """

    def __init__(self, points: Sequence[Measured]) -> None:
        codecs = {point.codec for point in points}
        if len(points) < 2 or len(codecs) > 1:
            raise InputError(f"a model needs two or more measurements of one codec, not {len(points)} of {codecs}")

        def measured(value: Callable[[Measured], float]) -> list[tuple[Index, float]]:
            return [(_index_of(point), value(point)) for point in points]

        self.train_core_seconds = Cost("training", _train_terms, measured(lambda p: p.train.core_seconds))
        self.parts_core_seconds = Cost("parts", _parts_terms, measured(lambda p: p.runs[-1].core_seconds))
        self.seal_core_seconds = Cost("the seal", _seal_terms, measured(lambda p: p.seal.core_seconds))
        self.train_memory = Cost("training", _train_memory_terms, measured(lambda p: 2**20 * p.train.peak_mb))
        self.part_memory = Cost("a part", _part_memory_terms, measured(_part_peak), _part_memory_known)
        self.seal_memory = Cost("the seal", _seal_terms, measured(lambda p: 2**20 * p.seal.peak_mb))
        self.disk = Cost("the disk", lambda index: [index.rows], measured(lambda p: p.disk_bytes * p.rows), _disk_known)
        searches = [(_index_of(point), search) for point in points for search in point.searches]
        self.search_core_ms = Cost(
            "a search",
            _search_terms,
            [((index, Search(search.nprobe, search.rescore)), search.core_ms) for index, search in searches],
            _graph_ms,
        )
        self.modalities = sorted({search.modality for _, search in searches})
        self._depths = {
            name: _fit_depth([(index, found) for index, found in searches if found.modality == name])
            for name in self.modalities
        }

    def train_seconds(self, index: Index, cores: int) -> float:
        """Return the wall time of training: k-means on all cores, the codec on one."""
        kmeans, codec = self.train_core_seconds.shares(index)
        return float(kmeans / cores + codec)

    def depth(self, modality: str, index: Index) -> Search:
        """Return the depth at which searches of a modality reach the target."""
        return self._depths[modality](index)

    def errors(self, point: Measured) -> Mapping[str, float]:
        """Return how far predictions for a point are off, by name, as a share of what was measured."""
        index = _index_of(point)
        pairs = {
            "training time": (self.train_core_seconds(index), point.train.core_seconds),
            "training memory": (self.train_memory(index), 2**20 * point.train.peak_mb),
            "parts time": (self.parts_core_seconds(index), point.runs[-1].core_seconds),
            "part memory": (self.part_memory(index), _part_peak(point)),
            "seal time": (self.seal_core_seconds(index), point.seal.core_seconds),
            "seal memory": (self.seal_memory(index), 2**20 * point.seal.peak_mb),
            "resident": (float(index.resident_bytes), point.resident_bytes * point.rows),
            "disk": (self.disk(index), point.disk_bytes * point.rows),
        }
        for search in point.searches:
            predicted = self.search_core_ms((index, self.depth(search.modality, index)))
            pairs[f"{search.modality} search"] = (predicted, search.core_ms)
        return {name: predicted / measured - 1 for name, (predicted, measured) in pairs.items()}


def _index_of(point: Measured) -> Index:
    return Index(
        point.rows, point.dim, point.codec, point.lists, point.train_rows,
        point.parts, round(point.rows / point.parts), round(point.rows / point.shards),
    )  # fmt: skip


def _train_terms(index: Index) -> list[float]:
    """Comparisons of the sample with centroids, and the codec's training, on a sample of a fixed size."""
    return [index.train_rows * comparisons(index.lists) * index.dim, index.dim]


def _parts_terms(index: Index) -> list[float]:
    """Numbers of all rows, and comparisons with all centroids: a graph of them is only searched, not built with."""
    return [index.numbers, index.numbers * index.lists]


def _seal_terms(index: Index) -> list[float]:
    """The program, and the rows: DuckDB makes its index by product in memory."""
    return [1, index.rows]


def _train_memory_terms(index: Index) -> list[float]:
    """The program, and the vectors and centroids that are in memory."""
    return [1, 4 * index.dim * (min(index.train_rows, _CODEC_ROWS) + index.lists)]


def _part_memory_terms(index: Index) -> list[float]:
    """The program, and what a task knows of all rows of a shard at once."""
    return [1, index.shard_rows]


def _part_memory_known(index: Index) -> float:
    """The codes and ids of a part, the centroids as trained and in the part's index, and a block of vectors."""
    codes = _LIST_GROWTH * index.part_rows * (index.code_size + 8)
    block = float(_BLOCK_BYTES * index.dim * min(index.part_rows, _BLOCK_ROWS))
    return codes + 2.0 * index.quantizer_bytes + block


def _part_peak(point: Measured) -> float:
    return 2**20 * max(run.peak_mb for run in point.runs)


def _disk_known(index: Index) -> float:
    """The index, of which each part has a copy of the quantizer, the quantizer itself, and the float16 vectors."""
    return index.resident_bytes + index.parts * index.quantizer_bytes + 2 * index.numbers


def _search_terms(case: tuple[Index, Search]) -> list[float]:
    """The search itself, the comparison with all centroids, the codes scanned, the numbers of candidates."""
    index, search = case
    return [
        1,
        0 if index.lists >= GRAPH_LISTS else index.lists * index.dim,
        search.nprobe * index.rows / index.lists * index.code_size,
        _RESULTS * search.rescore * index.dim,
    ]


def _graph_ms(case: tuple[Index, Search]) -> float:
    index, search = case
    if index.lists < GRAPH_LISTS:
        return 0.0
    return _GRAPH_MS * max(1.0, search.nprobe / _GRAPH_PROBES) * index.dim / _GRAPH_DIM


def _fit_depth(searches: Sequence[tuple[Index, SearchCost]]) -> Callable[[Index], Search]:
    """Return a function of the depth: nprobe as a power of the lists, and the deepest rescoring that was needed."""
    lists = np.log([index.lists for index, _ in searches])
    probes = np.log([search.nprobe for _, search in searches])
    slope = float(np.polyfit(lists, probes, 1)[0]) if np.ptp(lists) else 0.0
    slope = max(0.0, slope)  # an index with more lists never takes fewer probes
    intercept = float((probes - slope * lists).mean())
    rescore = max(search.rescore for _, search in searches)

    def depth(index: Index) -> Search:
        return Search(max(1, round(float(np.exp(intercept + slope * np.log(index.lists))))), rescore)

    return depth
