"""The stages of a peer: build its index, tune it, measure it. Tunes, times and compares all peers alike.

    python NAME_peer.py STAGE TASK RESULT

TASK is a JSON file that `jobs.bench.index.runs` writes, RESULT the JSON file that the stage writes:

    build      make the index in the task's folder; its version, description and seconds
    tune       for each case the settings that were tried, with their recall and queries a second, and the chosen one
    measure    for each case recall and times at the setting that the task names

Each stage is a process of its own, so that threads and memory can be set and measured from outside. Imports only the
standard library, NumPy and `protocol`.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

if __package__:
    from .protocol import Case, Index, K, Point, Search, Setting, Task
else:  # in a peer's environment, as a script beside others
    from protocol import Case, Index, K, Point, Search, Setting, Task

#: A score this close to that of the last true result counts as one of them: sums in another order differ by as much.
_TIE = 2e-6
_WARM_UP, _FEWEST_QUERIES = 10, 20
#: A sweep ends where they are this many times slower than one that reaches the target.
_HOPELESS = 2.0
#: A sweep ends where a step up adds less recall than this, twice in a row.
_PLATEAU = 0.002
#: One case is tuned for so many times the seconds of a measurement; then what has been tried has to do.
_CASE_LIMIT = 30


def recall(task: Task, case: Case, found: Sequence[np.ndarray], depth: int) -> float:
    """recall@depth of the first len(found) queries: by the exact scores of the ids, so that ties count as found.

    A row that the filter does not allow, or that was returned twice, counts for nothing.
    """
    shares: list[float] = []
    for ids, query, truth in zip(found, case.queries, case.truth, strict=False):
        best = truth[truth > -2][:depth]  # there are fewer rows than `depth`
        ids = np.unique(ids[:depth])
        ids = ids[ids >= 0]
        if case.row_filter is not None:
            ids = ids[case.row_filter.allowed[ids]]
        scores = task.vectors[ids].astype(np.float32) @ query
        shares.append(min(1.0, np.count_nonzero(scores >= best[-1] - _TIE) / len(best)) if len(best) else 1.0)
    return round(float(np.mean(shares)), 4)


def time_each(
    index: Index, search: Search, queries: np.ndarray, seconds: float, limit: float
) -> tuple[list[np.ndarray], list[float], float]:
    """Search for one query after the other, after a warm-up: once for each, and on and on until the time is over.

    Args:
        seconds: of all searches.
        limit: seconds after which the first pass ends, whatever is missing.

    Returns:
        The ids for the queries of the first pass, the seconds of each search, and the CPU seconds of all.
    """
    began = time.perf_counter()
    for query in queries[:_WARM_UP]:
        search(query)
        if time.perf_counter() - began > seconds:
            break
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


def tune(index: Index, case: Case) -> dict[str, Any]:
    """Try the settings of each sweep up to the first that reaches the target, and one more; see Index.chosen."""
    task = index.task
    points: list[Point] = []
    cheapest: list[Point] = []  # of each sweep, that reaches the target
    sweeps, ends = index.sweeps(case), time.perf_counter() + _CASE_LIMIT * task.seconds
    for sweep in sweeps:
        reached, flat, before = 0, 0, -1.0
        for setting in sweep:
            search = index.search(setting, case.row_filter)
            found, times, _ = time_each(index, search, case.queries, task.seconds / 4, 2 * task.seconds)
            depths = [recall(task, case, found, depth) for depth in (10, K)]
            point = Point(setting, depths[0], depths[1], round(len(times) / sum(times), 1), len(found))
            points.append(point)
            if point.recall_at_100 >= task.target:
                cheapest += [] if reached else [point]
                reached += 1
            flat = flat + 1 if point.recall_at_100 < before + _PLATEAU else 0
            before = point.recall_at_100
            fastest = max((found.qps for found in cheapest), default=0.0)
            if reached == 2 or flat == 2 or point.qps * _HOPELESS < fastest:
                break
            if time.perf_counter() > ends:
                break
    return {"points": [asdict(point) for point in points], "chosen": asdict(index.chosen(points, cheapest))}


def measure(index: Index, case: Case, setting: Setting) -> dict[str, Any]:
    """Measure one setting: one thread that searches for one query after the other, or so many threads at once."""
    task = index.task
    began = time.perf_counter()
    search = index.search(setting, case.row_filter)
    prepared = time.perf_counter() - began
    if task.threads > 1:
        return {"qps": round(_by_threads(index, case, setting), 1)}
    found, times, used = time_each(index, search, case.queries, task.seconds, 4 * task.seconds)
    return {
        "qps": round(len(times) / sum(times), 1),
        "core_ms": round(used / len(times) * 1000, 4),
        "p50_ms": round(float(np.percentile(times, 50)) * 1000, 3),
        "p99_ms": round(float(np.percentile(times, 99)) * 1000, 3),
        "prepare_ms": round(prepared * 1000, 3),
        "recall_at_10": recall(task, case, found, 10),
        "recall_at_100": recall(task, case, found, K),
        "queries": len(found),
    }


def _by_threads(index: Index, case: Case, setting: Setting) -> float:
    """Return the queries a second of the task's threads together."""
    ready = threading.Barrier(index.task.threads)
    counts: list[int] = []
    errors: list[Exception] = []

    def run(number: int) -> None:
        try:
            search = index.search(setting, case.row_filter)
            queries = np.roll(case.queries, number * len(case.queries) // index.task.threads, axis=0)
            for query in queries[:_WARM_UP]:
                search(query)
            ready.wait()
            began, count = time.perf_counter(), 0
            while time.perf_counter() - began < index.task.seconds:
                search(queries[count % len(queries)])
                count += 1
            counts.append(count)
        except Exception as error:
            errors.append(error)
            ready.abort()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(index.task.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sum(counts) / index.task.seconds


def run(index_class: type[Index], arguments: Sequence[str] | None = None) -> None:
    """Do the stage that the command line names."""
    stage, task_file, result_file = sys.argv[1:] if arguments is None else arguments
    task = Task(Path(task_file))
    index = index_class(task)
    if stage == "build":
        task.folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        result = index.build()
        result["seconds"] = round(time.perf_counter() - began, 2)
    else:
        index.open()
        try:
            result = {"cases": {case.name: _case_result(stage, index, case) for case in task.cases()}}
        finally:
            index.close()
    Path(result_file).write_text(json.dumps(result) + "\n")


def _case_result(stage: str, index: Index, case: Case) -> dict[str, Any]:
    if case.row_filter is not None and index.unfiltered:
        return {"unmeasured": index.unfiltered}
    return tune(index, case) if stage == "tune" else measure(index, case, index.task.settings[case.name])
