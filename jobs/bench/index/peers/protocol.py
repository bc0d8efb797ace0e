"""What the scripts of all peers share: the task, its data and cases, and the class of an index. See `stages`.

Imports only the standard library and NumPy, since it runs in the environments of the peers.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

#: Results of each search.
K = 100
#: Rows that are converted at once.
BLOCK_ROWS = 20_000

Setting = dict[str, Any]
#: Returns the ids of the best K rows for one query float32[dim], best first; they may be fewer.
Search = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class RowFilter:
    """A filter on one column of integers.

    Attributes:
        column: name of the column.
        any_of: the value is one of these; or
        below: the value is less than this.
        values: int32[rows], the column.
    """

    column: str
    any_of: tuple[int, ...]
    below: int | None
    values: np.ndarray

    @cached_property
    def allowed(self) -> np.ndarray:
        """bool[rows], the rows that pass: to judge results."""
        return self.find_allowed()

    def find_allowed(self) -> np.ndarray:
        """Find the rows that pass, bool[rows]: for indexes that take these instead of an expression."""
        return np.isin(self.values, self.any_of) if self.any_of else self.values < self.below

    def sql(self) -> str:
        """Return the filter as SQL."""
        values = ", ".join(map(str, self.any_of))
        return f"{self.column} IN ({values})" if self.any_of else f"{self.column} < {self.below}"


@dataclass(frozen=True)
class Case:
    """Queries of one modality under one filter.

    Attributes:
        name: unique in a task.
        modality: of the queries.
        queries: float32[n, dim], unit vectors.
        truth: float32[n, K], the exact scores of the best rows, descending; the lowest float32 where there are fewer.
        row_filter: None for all rows.
    """

    name: str
    modality: str
    queries: np.ndarray
    truth: np.ndarray
    row_filter: RowFilter | None


class Task:
    """What a stage has to do.

    Attributes:
        folder: of the peer's index.
        index: which of the peer's kinds of index.
        threads: of a search by all cores, and of the build.
        target: recall@100 to reach.
        seconds: duration of one measurement, and limit of trying one setting.
        vectors: float16[rows, dim], mapped.
        columns: int32[rows] by name, for filters.
    """

    def __init__(self, path: Path) -> None:
        self._task = json.loads(path.read_text())
        self.data = Path(self._task["data"])
        self.folder = Path(self._task["folder"])
        self.index: str = self._task["index"]
        self.threads: int = self._task["threads"]
        self.target: float = self._task["target"]
        self.seconds: float = self._task["seconds"]
        self.settings: dict[str, Setting] = self._task.get("settings", {})
        self.vectors = self.map_vectors()
        self.columns = {name: np.load(self.data / f"{name}.npy") for name in self._task["columns"]}

    def map_vectors(self) -> np.ndarray:
        """Map the vectors once more; the pages that are touched belong to this mapping, and go with it."""
        return np.load(self.data / "vectors.npy", mmap_mode="r")

    def cases(self) -> list[Case]:
        """Read the cases, with their queries and truth."""
        return [self._case(case) for case in self._task["cases"]]

    def _case(self, case: dict[str, Any]) -> Case:
        kept = case["filter"]
        row_filter = None
        if kept is not None:
            values = self.columns[kept["column"]]
            row_filter = RowFilter(kept["column"], tuple(kept["any_of"]), kept["below"], values)
        queries, truth = (np.load(self.data / case[name]) for name in ("queries", "truth"))
        return Case(case["name"], case["modality"], queries, truth, row_filter)


class Index(ABC):
    """A peer's index.

    Attributes:
        unfiltered: why this index cannot search under a filter; empty if it can.
        calibrates: whether the first setting of the first sweep is already the one to measure, and the others serve
            the curve of recall and speed only.
    """

    unfiltered = ""
    calibrates = False

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def build(self) -> dict[str, Any]:
        """Make the index in the task's folder, from the task's vectors and columns, with row numbers as ids.

        Returns:
            `version` of the package, `description` of the index, and `resident_bytes`: what has to be in memory for a
            search without waiting for the disk, by the sizes of the files or by the peer's own word.
        """

    @abstractmethod
    def open(self) -> None:
        """Open the index that was built."""

    @abstractmethod
    def sweeps(self, case: Case) -> list[list[Setting]]:
        """Return settings to try, cheapest first in each list."""

    @abstractmethod
    def search(self, setting: Setting, row_filter: RowFilter | None) -> Search:
        """Return a search for one query; prepare what needs the filter but no query, such as the rows that pass.

        It is asked for once in each thread. The time that it takes counts for the first search only.
        """

    def cpu_seconds(self) -> float:
        """Return the CPU time that this process, and a server that it has started, have used so far."""
        return time.process_time()

    def close(self) -> None:  # noqa: B027  (most have nothing to close)
        """Stop what was opened."""


@dataclass(frozen=True)
class Point:
    """What one setting reached on the queries that were tried."""

    setting: Setting
    recall_at_10: float
    recall_at_100: float
    qps: float
    queries: int


def blocks(vectors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the vectors float32[n, dim] of each block."""
    for first in range(0, len(vectors), BLOCK_ROWS):
        yield first, np.asarray(vectors[first : first + BLOCK_ROWS], np.float32)
