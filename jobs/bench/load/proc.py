"""Figures of processes and of the machine, from Linux's /proc."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True)
class Memory:
    """Memory of one process in MB: its own, shared with others, and its proportional share of both (PSS)."""

    pid: int
    private_mb: float
    shared_mb: float
    proportional_mb: float


@dataclass(frozen=True)
class Resources:
    """What one process holds: its own memory in MB, memory maps, open files, threads."""

    pid: int
    private_mb: float
    maps: int
    files: int
    threads: int


def memory_of(pid: int) -> Memory:
    """Return the memory of a process, from the kernel's own sums in smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    shared = kilobytes["Shared_Clean"] + kilobytes["Shared_Dirty"]
    return Memory(pid, *(round(size / 1024, 1) for size in (private, shared, kilobytes["Pss"])))


def resources_of(pid: int) -> Resources:
    """Return what a process holds."""
    return Resources(
        pid,
        memory_of(pid).private_mb,
        maps=len(Path(f"/proc/{pid}/maps").read_text().splitlines()),
        files=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        threads=len(list(Path(f"/proc/{pid}/task").iterdir())),
    )


def cpu_seconds_of(pid: int) -> float:
    """Return the CPU time that a process has used, in user and in kernel mode."""
    # After the name, which may contain anything: utime and stime are fields 14 and 15 of proc_pid_stat(5).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    """Return the ids of a process's children, ascending."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")  # each thread has those that it has started
    return sorted(int(child) for path in tasks for child in path.read_text().split())


def listening(port: int) -> int:
    """Return how many sockets of 127.0.0.1 listen on a port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(fields[1] == f"0100007F:{port:04X}" and fields[3] == "0A" for fields in lines)


class CpuMeter:
    """Measures the CPU time of this process and of all that it starts, while its `with` block runs.

    Figures are read ten times a second, so the last moments of a process that ends meanwhile are missing. The kernel's
    own sum of ended children has only those that were waited for: Spark's workers are not.

    Attributes:
        seconds: in user and in kernel mode, when the block has ended.
    """

    _INTERVAL = 0.1

    def __init__(self) -> None:
        self.seconds = 0.0
        self._before: dict[int, float] = {}
        self._latest: dict[int, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cpu-meter", daemon=True)

    def __enter__(self) -> CpuMeter:
        self._before = self._latest = _cpu_of_tree(os.getpid())
        self._thread.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._latest = self._latest | _cpu_of_tree(os.getpid())
        self.seconds = sum(self._latest.values()) - sum(self._before.values())

    def _run(self) -> None:
        while not self._ended.wait(self._INTERVAL):
            self._latest = self._latest | _cpu_of_tree(os.getpid())


def _cpu_of_tree(root: int) -> dict[int, float]:
    """Return the CPU seconds of a process and of each of its descendants, by id."""
    seconds: dict[int, float] = {}
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        try:
            seconds[pid] = cpu_seconds_of(pid)
            waiting += children_of(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return seconds


class StealTime:
    """Measures, from its creation on, the CPU time that the hypervisor gave to other guests.

    On a shared host this may be a third; then figures measured meanwhile say little about the server.
    """

    def __init__(self) -> None:
        self._start = _cpu_ticks()

    def share(self) -> float:
        """Return the stolen share of all CPU time since the start, 0 to 1; 0 on systems that do not report it."""
        stolen, total = (now - then for now, then in zip(_cpu_ticks(), self._start, strict=True))
        return round(stolen / total, 3) if total else 0.0


def _cpu_ticks() -> tuple[int, int]:
    """Return the stolen ticks and the ticks in all, of all CPUs; see proc_stat(5)."""
    if sys.platform != "linux":
        return 0, 0
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7], sum(ticks)
