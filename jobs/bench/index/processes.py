"""Runs a stage of a contender as a process of its own, with its threads, its cores, its time limit, and its memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.bench.index.peers.measuring import memory_of_tree

#: Memory is sampled this often, or more seldom where it takes more than this share of a core: the kernel visits every
#: page of a process.
_SAMPLE_SECONDS, _SAMPLE_SHARE = 0.1, 0.02
#: Variables by which the libraries of all contenders are told their number of threads.
_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS",
    "TOKIO_WORKER_THREADS", "LANCE_CPU_THREADS", "GOMAXPROCS",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What became of a stage.

    Attributes:
        result: what it wrote; None if it failed.
        error: why it failed, in a line; empty if it did not.
        peak_mb: the most memory that it and its children held of their own, sampled; mapped files are not in it.
    """

    result: dict[str, Any] | None
    error: str
    peak_mb: float


def run_stage(
    command: Sequence[str], result: Path, log: Path, *, threads: int, cores: set[int], seconds: float, path: Path
) -> Outcome:
    """Run a command that writes a JSON file; end it, with all that it started, when it takes too long.

    Args:
        result: the file that it writes.
        log: gets its output.
        threads: that its libraries may use.
        cores: that it may run on.
        path: folder that it imports from, beside its environment.
    """
    result.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= dict.fromkeys(_THREADS, str(threads))
    environment |= {"PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1"}
    with _exit_on_sigterm():
        with log.open("wb") as output, _on_cores(cores):
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
        tree: set[int] = set()
        try:
            peak, in_time = _watch(process, tree, seconds)
        finally:
            _end(process, tree)
    if not in_time:
        return Outcome(None, f"took more than {seconds:.0f} s", peak)
    if process.returncode or not result.exists():
        return Outcome(None, _last_line(log, process.returncode), peak)
    return Outcome(json.loads(result.read_text()), "", peak)


def _watch(process: subprocess.Popen[bytes], tree: set[int], seconds: float) -> tuple[float, bool]:
    """Wait for a process; return its peak memory in MB, and whether it ended in time. Collects its descendants."""
    peak, pause = 0.0, _SAMPLE_SECONDS
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        with suppress(subprocess.TimeoutExpired):
            process.wait(min(pause, max(0.0, ends - time.monotonic())))
            return round(peak, 1), True
        began = time.monotonic()
        sampled = {pid: memory.own_mb for pid, memory in memory_of_tree(process.pid)}
        tree |= set(sampled)
        peak = max(peak, sum(sampled.values()))
        pause = max(_SAMPLE_SECONDS, (time.monotonic() - began) / _SAMPLE_SHARE)
    return round(peak, 1), False


def _end(process: subprocess.Popen[bytes], tree: set[int]) -> None:
    """End a process that still runs, and what it has started; also what one that failed has left behind."""
    if process.poll() != 0:
        for pid in tree - {process.pid}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process by SystemExit, so that what it has started is ended too."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set a handler
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _last_line(log: Path, code: int) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    ended = f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"{ended}: {lines[-1][:300] if lines else 'it printed nothing'}"


@contextmanager
def _on_cores(cores: set[int]) -> Iterator[None]:
    """Let what is started meanwhile run on these cores only, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def available_cores() -> list[int]:
    """Return the numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
