"""Publishers in processes of their own, to be killed and to race: `python -m tests.artifacts.publisher`.

Reads lines of JSON, each a list of tasks; forks a process for each task, lets them start together, and writes their
exit codes as a line of JSON. It imports all that they need and runs none of it, so that a fork is quick and safe.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from artifacts.errors import PublishConflict
from artifacts.store.store import Store
from tests.artifacts.building import manifest_of, store_segment

#: Everything a publish does to the disk through Python.
STEPS = [
    (os, "rename"), (os, "replace"), (os, "link"), (os, "unlink"), (os, "mkdir"), (os, "rmdir"), (os, "fsync"),
    (os, "chmod"), (Path, "write_bytes"), (Path, "write_text"), (Path, "touch"),
]  # fmt: skip
CONFLICT = 3
FULL = 4


def build_and_publish(root: str) -> str:
    """What a build does, from whatever an earlier one has left."""
    store = Store(root, Path("/nowhere"))
    expected = store.current()
    if not store.has_segment("new"):
        store_segment(store, "new", seed=3)
    manifest = manifest_of([store.reference("old"), store.reference("new")], second=100)
    return store.publish(manifest, {"evaluation.json": b"{}", "report.html": b"<p>"}, expected=expected)


def killed_at(root: str, step: int) -> int:
    """Build and publish; die before the `step`-th change of the disk."""
    left = [step]

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)

        return counted

    for owner, name in STEPS:
        setattr(owner, name, deadly(getattr(owner, name)))
    build_and_publish(root)
    return 0


def race(root: str, segment: str, expected: str) -> int:
    """Publish a segment that is there, in place of `expected`."""
    store = Store(root, Path("/nowhere"))
    try:
        store.publish(manifest_of([store.reference(segment)], second=2), {}, expected=expected)
    except PublishConflict:
        return CONFLICT
    return 0


def disk_full(root: str, limit: int) -> int:
    """Write a segment where no file may grow beyond `limit` bytes: the write that would fails halfway."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        store_segment(Store(root, Path("/nowhere")), "big", rows=3000)
    except Exception:  # DuckDB and Arrow have errors of their own
        return FULL
    return 0


class Publishers:
    """The other end: a running program of this module."""

    def __init__(self) -> None:
        root = Path(__file__).parents[2]
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.artifacts.publisher"], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(self, *tasks: tuple[str, *tuple[Any, ...]]) -> list[int]:
        """Exit codes of tasks run at the same time, each the name of a function here and its arguments."""
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
            os.read(ready, 1)  # returns when the last end to write to is closed: all are there
            code = globals()[task[0]](*task[1:])
        finally:
            os._exit(code)
    return child


if __name__ == "__main__":
    _main()
