"""The stages of a peer: build its index, tune it, measure it. All peers are tuned, timed and compared alike.

    python NAME_peer.py STAGE TASK RESULT

TASK is a JSON file that `jobs.bench.index.runs` writes, RESULT the JSON file that the stage writes:

    build      make the index in the task's folder; its version, description and seconds
    tune       for each case the settings that were tried, with their recall and queries a second, and the chosen one
    measure    for each case recall, times and memory at the setting that the task names

Each stage is a process of its own, so that threads and memory can be set and measured from outside. Imports only the
standard library, NumPy and the modules beside it.
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
    from .measuring import memory_held, recall, search_once, time_each
    from .protocol import Case, Index, K, Setting, Task
    from .tuning import ALL_LIMIT, tune
else:  # in a peer's environment, as a script beside others
    from measuring import memory_held, recall, search_once, time_each
    from protocol import Case, Index, K, Setting, Task
    from tuning import ALL_LIMIT, tune


def measure(index: Index, case: Case, setting: Setting) -> dict[str, Any]:
    """Measure one setting: one thread that searches for one query after the other, or so many threads at once.

    Before the time counts, every query has been searched for, so that what the contenders keep in caches is there.
    """
    task = index.task
    if task.threads > 1:
        return {"qps": round(_by_threads(index, case, setting), 1)}
    began = time.perf_counter()
    search = index.search(setting, case.row_filter)
    search(case.queries[0])
    first = time.perf_counter() - began
    found = search_once(search, case.queries, ALL_LIMIT * task.seconds)
    _, times, used = time_each(index, search, case.queries, task.seconds, 4 * task.seconds)
    held = memory_held()  # while the search is there: its connection to a server ends with it
    return {
        "qps": round(len(times) / sum(times), 1),
        "core_ms": round(used / len(times) * 1000, 4),
        "p50_ms": round(float(np.percentile(times, 50)) * 1000, 3),
        "p99_ms": round(float(np.percentile(times, 99)) * 1000, 3),
        "first_ms": round(first * 1000, 3),
        "recall_at_10": recall(task, case, found, 10),
        "recall_at_100": recall(task, case, found, K),
        "queries": len(found),
        **asdict(held),
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
            search_once(search, queries, ALL_LIMIT * index.task.seconds)
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
