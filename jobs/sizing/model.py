"""Costs of building and searching an index, as sums of a few terms whose factors are fitted to measurements.

The terms are what the work consists of, so that they hold beyond the measured sizes: training compares the sample with
the centroids, a part encodes its rows and compares them with the centroids, a search compares the query with the
centroids, scans the codes of the probed lists and scores candidates exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from artifacts.errors import InputError
from artifacts.index.params import GRAPH_LISTS
from artifacts.index.training import comparisons
from jobs.sizing.measured import Measured, SearchCost

#: Results of a search that costs are measured for.
_RESULTS = 100


@dataclass(frozen=True)
class Index:
    """The sizes of an index that costs depend on."""

    rows: int
    dim: int
    lists: int
    code_size: int  # bytes
    train_rows: int


@dataclass(frozen=True)
class Search:
    """The depth of a search."""

    nprobe: int
    rescore: int


class Model:
    """Costs fitted to measurements of one codec.

    Args:
        points: at least two.
        code_size: returns the bytes of a row's code, for a codec and a dimension.

    Raises:
        InputError: there are fewer points, or they are of several codecs.
    """

    def __init__(self, points: Sequence[Measured], code_size: Callable[[str, int], int]) -> None:
        codecs = {point.codec for point in points}
        if len(points) < 2 or len(codecs) > 1:
            raise InputError(f"a model needs two or more measurements of one codec, not {len(points)} of {codecs}")
        self.points = points
        sizes = [_index_of(point, code_size) for point in points]
        self._train = _fit([_train_terms(size) for size in sizes], [point.train.core_seconds for point in points])
        self._parts = _fit([_parts_terms(size) for size in sizes], [point.runs[0].core_seconds for point in points])
        self._seal = _fit([[float(size.rows)] for size in sizes], [point.seal.core_seconds for point in points])
        self._disk = float(np.mean([p.disk_bytes - 2 * p.dim - p.resident_bytes for p in points]))
        searches = [(size, search) for size, point in zip(sizes, points, strict=True) for search in point.searches]
        self._search = _fit(
            [_search_terms(size, Search(search.nprobe, search.rescore)) for size, search in searches],
            [search.core_ms for _, search in searches],
        )
        self.modalities = sorted({search.modality for _, search in searches})
        self._depths = {
            name: _fit_depth([(s, c) for s, c in searches if c.modality == name]) for name in self.modalities
        }

    def train_core_seconds(self, index: Index) -> float:
        return float(_train_terms(index) @ self._train)

    def parts_core_seconds(self, index: Index) -> float:
        """Return the time of all parts together."""
        return float(_parts_terms(index) @ self._parts)

    def seal_core_seconds(self, index: Index) -> float:
        return float(self._seal[0] * index.rows)

    def disk_bytes(self, index: Index, resident: float) -> float:
        """Return the bytes of a segment.

        Args:
            resident: bytes of its index.
        """
        return resident + index.rows * (2 * index.dim + self._disk)

    def depth(self, modality: str, index: Index) -> Search:
        """Return the depth at which searches of a modality reach the target."""
        return self._depths[modality](index)

    def search_core_ms(self, index: Index, search: Search) -> float:
        return float(_search_terms(index, search) @ self._search)

    def errors(self, point: Measured, code_size: Callable[[str, int], int]) -> Mapping[str, float]:
        """Return how far predictions for a point are off, by name, as a share of what was measured."""
        index = _index_of(point, code_size)
        pairs = {
            "train": (self.train_core_seconds(index), point.train.core_seconds),
            "parts": (self.parts_core_seconds(index), point.runs[0].core_seconds),
            "seal": (self.seal_core_seconds(index), point.seal.core_seconds),
            "disk": (self.disk_bytes(index, point.resident_bytes * point.rows), point.disk_bytes * point.rows),
        }
        for search in point.searches:
            predicted = self.search_core_ms(index, self.depth(search.modality, index))
            pairs[f"{search.modality} search"] = (predicted, search.core_ms)
        return {name: predicted / measured - 1 for name, (predicted, measured) in pairs.items()}


def _index_of(point: Measured, code_size: Callable[[str, int], int]) -> Index:
    return Index(point.rows, point.dim, point.lists, code_size(point.codec, point.dim), point.train_rows)


def _train_terms(index: Index) -> np.ndarray:
    """Comparisons of the sample with centroids, and the codec's training, on a sample of a fixed size."""
    return np.array([index.train_rows * comparisons(index.lists) * index.dim, index.dim])


def _parts_terms(index: Index) -> np.ndarray:
    """Numbers of all rows, and comparisons with all centroids: a graph of them is only searched, not built with."""
    numbers = float(index.rows) * index.dim
    return np.array([numbers, numbers * index.lists])


def _search_terms(index: Index, search: Search) -> np.ndarray:
    """The search itself, the comparison with centroids or their graph, the codes scanned, the numbers of candidates."""
    graph = index.lists >= GRAPH_LISTS
    return np.array(
        [
            1.0,
            0 if graph else index.lists * index.dim,
            search.nprobe * index.dim if graph else 0,
            search.nprobe * index.rows / index.lists * index.code_size,
            _RESULTS * search.rescore * index.dim,
        ]
    )


def _fit(terms: Sequence[Sequence[float] | np.ndarray], measured: Sequence[float]) -> np.ndarray:
    """Return factors, none negative, with the least squares of relative errors.

    A term that would get a negative factor is left out; so the factors are those of non-negative least squares, except
    in cases with several such terms, where they may be slightly worse.
    """
    matrix = np.array(terms, float) / np.array(measured, float)[:, None]
    factors = np.zeros(matrix.shape[1])
    used = np.flatnonzero(np.abs(matrix).max(axis=0) > 0)
    scale = np.abs(matrix).max(axis=0)
    while len(used):
        columns = matrix[:, used] / scale[used]
        found = np.linalg.lstsq(columns, np.ones(len(matrix)), rcond=None)[0]
        if (found >= 0).all():
            factors[used] = found / scale[used]
            break
        used = np.delete(used, int(found.argmin()))
    return factors


def _fit_depth(searches: Sequence[tuple[Index, SearchCost]]) -> Callable[[Index], Search]:
    """Return a function of the depth: nprobe as a power of the rows, and the deepest rescoring that was needed."""
    rows = np.log([index.rows for index, _ in searches])
    probes = np.log([search.nprobe for _, search in searches])
    slope, intercept = np.polyfit(rows, probes, 1) if len(set(rows.tolist())) > 1 else (0.0, float(probes.mean()))
    slope = max(0.0, float(slope))  # a larger index never takes fewer probes
    if slope == 0:
        intercept = float(probes.mean())
    rescore = max(search.rescore for _, search in searches)

    def depth(index: Index) -> Search:
        return Search(max(1, round(float(np.exp(intercept + slope * np.log(index.rows))))), rescore)

    return depth
