"""Publishers in processes of their own, to be killed and to race: `python -m tests.artifacts.store.publisher`.

The program reads lines of JSON, each a list of tasks. It forks a process for each task, starts them together, and
writes their exit codes as a line of JSON. It imports everything that the tasks need and runs none of it, so that a fork
is quick and safe.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from artifacts.errors import PublishConflict
from artifacts.store.store import Store
from tests.artifacts.building import manifest_of, store_segment
from tests.dying import die_before_call

#: Every way in which a publish changes the disk through Python.
DISK_CALLS = [
    (os, "rename"), (os, "replace"), (os, "link"), (os, "unlink"), (os, "mkdir"), (os, "rmdir"), (os, "fsync"),
    (os, "chmod"), (Path, "write_bytes"), (Path, "write_text"), (Path, "touch"),
]  # fmt: skip

#: Exit codes of tasks.
CONFLICT = 3
FULL = 4


def build_and_publish(root: str) -> str:
    """Do what a build does, whatever an earlier build has left."""
    store = Store(root, Path("/nowhere"))
    expected = store.current()
    if not store.has_segment("new"):
        store_segment(store, "new", seed=3)
    manifest = manifest_of([store.reference("old"), store.reference("new")], second=100)
    return store.publish(manifest, {"evaluation.json": b"{}", "report.html": b"<p>"}, expected=expected)


def die_before_disk_call(root: str, number: int) -> int:
    """Task: build and publish, and die before the disk is changed for the `number`-th time."""
    die_before_call(DISK_CALLS, number)
    build_and_publish(root)
    return 0


def race(root: str, segment: str, expected: str) -> int:
    """Task: publish a stored segment in place of version `expected`."""
    store = Store(root, Path("/nowhere"))
    try:
        store.publish(manifest_of([store.reference(segment)], second=2), {}, expected=expected)
    except PublishConflict:
        return CONFLICT
    return 0


def fill_disk(root: str, limit: int) -> int:
    """Task: write a segment where no file may grow beyond `limit` bytes; the write that would do so fails halfway."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        store_segment(Store(root, Path("/nowhere")), "big", rows=3000)
    except Exception:  # DuckDB and Arrow have errors of their own
        return FULL
    return 0


class Publishers:
    """Runs tasks in a running program of this module."""

    def __init__(self) -> None:
        root = Path(__file__).parents[3]
        command = [sys.executable, "-m", "tests.artifacts.store.publisher"]
        self._program = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, *tasks: tuple[str, *tuple[Any, ...]]) -> list[int]:
        """Run tasks at the same time, each a function's name and its arguments; return their exit codes."""
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.write(json.dumps(tasks).encode() + b"\n")
        self._program.stdin.flush()
        return json.loads(self._program.stdout.readline())

    def close(self) -> None:
        self._program.communicate()


def _main() -> None:
    for name in ("pandas", "pyarrow.dataset"):  # Arrow and DuckDB import these when they are first used
        importlib.import_module(name)
    for line in sys.stdin:
        ready, go = os.pipe()
        children = [_fork(task, ready, go) for task in json.loads(line)]
        os.close(go)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        os.close(ready)
        print(json.dumps(codes), flush=True)


def _fork(task: list[Any], ready: int, go: int) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(go)
            os.read(ready, 1)  # returns when the last writing end is closed: all processes have started
            code = globals()[task[0]](*task[1:])
        finally:
            os._exit(code)
    return child


if __name__ == "__main__":
    _main()
