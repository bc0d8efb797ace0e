"""What is measured of searches: recall, times and memory.

Imports only the standard library, NumPy and `protocol`, since it runs in the environments of the peers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

if __package__:
    from .protocol import Case, Index, Search, Task
else:  # in a peer's environment, as a script beside others
    from protocol import Case, Index, Search, Task

#: A score this close to that of the last true result counts as one of them: sums in another order differ by as much.
_TIE = 2e-6
#: Queries that are searched for, however long it takes.
_FEWEST_QUERIES = 20


def recall(task: Task, case: Case, found: Sequence[np.ndarray], depth: int) -> float:
    """recall@depth of the first len(found) queries: by the exact scores of the ids, so that ties count as found.

    A row that the filter does not allow, or that was returned twice, counts for nothing.
    """
    vectors = task.map_vectors()  # of its own: the pages that it touches are not memory of the searches
    shares: list[float] = []
    for ids, query, truth in zip(found, case.queries, case.truth, strict=False):
        best = truth[truth > -2][:depth]  # there are fewer rows than `depth`
        ids = np.unique(ids[:depth])
        ids = ids[ids >= 0]
        if case.row_filter is not None:
            ids = ids[case.row_filter.allowed[ids]]
        scores = vectors[ids].astype(np.float32) @ query
        shares.append(min(1.0, np.count_nonzero(scores >= best[-1] - _TIE) / len(best)) if len(best) else 1.0)
    return round(float(np.mean(shares)), 4)


def search_once(search: Search, queries: np.ndarray, limit: float) -> list[np.ndarray]:
    """Search for each query once, and return the ids of each; after `limit` seconds leave the others out."""
    found: list[np.ndarray] = []
    began = time.perf_counter()
    for query in queries:
        found.append(np.asarray(search(query)))
        if len(found) >= _FEWEST_QUERIES and time.perf_counter() - began > limit:
            break
    return found


def time_each(
    index: Index, search: Search, queries: np.ndarray, seconds: float, limit: float
) -> tuple[list[np.ndarray], list[float], float]:
    """Search for one query after the other: once for each, and on and on until the time is over.

    Args:
        seconds: of all searches.
        limit: seconds after which the first pass ends, whatever is missing.

    Returns:
        The ids for the queries of the first pass, the seconds of each search, and the CPU seconds of all.
    """
    found: list[np.ndarray] = []
    times: list[float] = []
    began, used = time.perf_counter(), index.cpu_seconds()
    while True:
        now = time.perf_counter()
        if len(times) >= _FEWEST_QUERIES and now - began > (seconds if len(times) >= len(queries) else limit):
            return found, times, index.cpu_seconds() - used
        ids = search(queries[len(times) % len(queries)])
        times.append(time.perf_counter() - now)
        if len(found) < len(queries):
            found.append(np.asarray(ids))


@dataclass(frozen=True)
class Held:
    """Memory of a process in MB. What several processes share counts for each by its proportional share.

    Attributes:
        own_mb: not of files; what processes share without a file, such as PostgreSQL's buffers, is in it.
        mapped_mb: pages of mapped files that the process has touched, its libraries among them.
    """

    own_mb: float
    mapped_mb: float


def memory_of_tree(root: int) -> Iterator[tuple[int, Held]]:
    """Yield the id and the memory of a process and of each of its descendants. Linux only."""
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        try:
            tasks = Path(f"/proc/{pid}/task").glob("*/children")  # each thread has those that it has started
            waiting += [int(child) for path in tasks for child in path.read_text().split()]
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended
        sizes: Mapping[str, int] = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        own = sizes.get("Pss_Anon", 0) + sizes.get("Pss_Shmem", 0)
        yield pid, Held(own / 1024, sizes.get("Pss_File", 0) / 1024)


def memory_held() -> Held:
    """Return the memory of this process and of the servers that it has started."""
    held = [memory for _, memory in memory_of_tree(os.getpid())]
    return Held(round(sum(memory.own_mb for memory in held), 1), round(sum(memory.mapped_mb for memory in held), 1))
