"""The verbs that keep a release fresh, in processes that kill themselves: `python -m tests.jobs.refresh.killed`.

The program reads lines of JSON, each a task: a verb, the folder of a shop, and a number. It forks a process that does
the verb, and dies as if by `kill -9` before it changes the disk for good for that many times; and it writes its exit
code. It imports everything that the verbs need and runs none of it, so that a fork is quick and safe.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss

from artifacts.storage import Folder
from jobs.backfill.request import BackfillRequest
from jobs.backfill.step import run_backfill
from jobs.evaluate import report
from jobs.evaluate.step import run_evaluate
from jobs.rebase.step import run_publish_rebased, run_rebase
from tests.dying import die_before_call
from tests.shop import Shop

#: How files and folders get their names, and lose them. Nothing else that a verb does is seen by another process.
DISK_CALLS = [(Path, "replace"), (Path, "rename"), (Folder, "remove")]

SETTINGS: dict[str, Any] = {"shards": 1, "evaluation_queries": 10}
NEW_ENCODER = "python:tests.encoders:MeanColor"


def refresh(shop: Shop) -> int:
    """Return the number of pictures that were embedded, as all of these do."""
    return shop.refresh().report.obtained.embedded


def compact(shop: Shop) -> int:
    shop.compact()
    return 0


def rebase(shop: Shop) -> int:
    """Publish a build that has been indexed while a refresh was published."""
    context = shop.context()
    run_rebase(context)
    run_evaluate(context)
    run_publish_rebased(context)
    return 0


def backfill(shop: Shop) -> int:
    return run_backfill(shop.context(), BackfillRequest(redownload=True)).report.embedded


def new_encoder(shop: Shop) -> int:
    context = replace(shop.context(), in_process=True)
    return run_backfill(context, BackfillRequest(encoder=NEW_ENCODER)).report.embedded


VERBS: dict[str, Callable[[Shop], int]] = {
    "refresh": refresh,
    "compact": compact,
    "rebase": rebase,
    "backfill": backfill,
    "new_encoder": new_encoder,
}


class Processes:
    """Runs verbs in a running program of this module."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.jobs.refresh.killed"]
        root = Path(__file__).parents[3]
        self._program = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, verb: str, folder: Path, die_before: int) -> int:
        """Do a verb, and die before the given change of the disk; return the exit code."""
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.write(json.dumps([verb, str(folder), die_before]).encode() + b"\n")
        self._program.stdin.flush()
        return json.loads(self._program.stdout.readline())

    def close(self) -> None:
        self._program.communicate()


def _main() -> None:
    for name in ("jobs.refresh.candidate", "jobs.rebase.rebase", "jobs.evaluate.measure", "jobs.evaluate.queries",
                 "jobs.evaluate.stored_queries", "artifacts.segments.writer", "pandas", "pyarrow.dataset"):  # fmt: skip
        importlib.import_module(name)
    report.render_report = lambda *_: ""
    faiss.omp_set_num_threads(1)
    for line in sys.stdin:
        child = _fork(*json.loads(line))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps(code), flush=True)


def _fork(verb: str, folder: str, die_before: int) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            tempfile.tempdir = folder  # what is left there goes with the test's folder
            shop = Shop(Path(folder), **SETTINGS)
            die_before_call(DISK_CALLS, die_before)
            VERBS[verb](shop)
            code = 0
        finally:
            os._exit(code)
    return child


if __name__ == "__main__":
    _main()
