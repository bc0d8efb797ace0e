"""A server process for a benchmark: started, asked how much memory it has, and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from artifacts.errors import LookalikeError

_READY_SECONDS = 300


@dataclass(frozen=True)
class Memory:
    """Memory of one worker in MB: what is its own, what it shares with the others, and its fair share of both."""

    pid: int
    private_mb: float
    shared_mb: float
    proportional_mb: float


@dataclass(frozen=True)
class Resources:
    """What a worker holds: memory of its own in MB, maps, open files, threads."""

    pid: int
    private_mb: float
    maps: int
    files: int
    threads: int


class ServerProcess:
    """`lookalike serve` on a free port of 127.0.0.1, until the block ends.

    Raises:
        LookalikeError: not all of its workers became ready, or ended by itself; its output is told.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment}
        self.address = ""

    def __enter__(self) -> ServerProcess:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lookalike", "serve", "--port", "0"],
            env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None  # noqa: S101  (asked for above)
        said = self._process.stdout.readline()
        try:
            self.address = next(word for word in said.split() if word.startswith("http://")).rstrip("/")
            self._wait_until_ready()
        except (StopIteration, LookalikeError):
            self.__exit__()
            raise LookalikeError(f"the server did not become ready: {said.strip() or 'it said nothing'}") from None
        return self

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + _READY_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with urlopen(f"{self.address}/readyz", timeout=5):  # noqa: S310  (our own address)
                    if self._all_listen():
                        return
            except (URLError, OSError):
                pass  # not yet
            time.sleep(0.1)
        raise LookalikeError("not ready")

    def _all_listen(self) -> bool:
        """Whether each worker listens for itself: connections made before are the first one's as long as they last."""
        if sys.platform != "linux" or len(self.workers()) == 1:
            return True
        return listening(int(self.address.rsplit(":", 1)[1])) > len(self.workers())

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def workers(self) -> list[int]:
        """The process ids of the workers there are, oldest first."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return sorted(map(int, children))

    def memory(self) -> list[Memory]:
        """Of each worker, from the kernel's own sums."""
        return [_memory(pid) for pid in self.workers()]

    def busy(self) -> float:
        """Seconds of cores that the workers there are have taken so far."""
        ticks = 0
        for pid in self.workers():
            # Behind the name, which may hold anything: utime and stime are fields 14 and 15 of proc_pid_stat(5).
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def resources(self) -> list[Resources]:
        """What each worker holds."""
        return [
            Resources(
                pid,
                _memory(pid).private_mb,
                len(Path(f"/proc/{pid}/maps").read_text().splitlines()),
                len(list(Path(f"/proc/{pid}/fd").iterdir())),
                len(list(Path(f"/proc/{pid}/task").iterdir())),
            )
            for pid in self.workers()
        ]


class Cores:
    """Watches, from when it is made, how much of the processors' time went to other guests of the machine's host.

    Where many share a host that may be a third, and what is measured meanwhile says little of the server.
    """

    def __init__(self) -> None:
        self._began = _ticks()

    def stolen(self) -> float:
        """Share of all processors' time since then, 0 to 1; 0 where the system does not tell."""
        stolen, total = (now - then for now, then in zip(_ticks(), self._began, strict=True))
        return round(stolen / total, 3) if total else 0.0


def _ticks() -> tuple[int, int]:
    """Ticks stolen and ticks in all, of all processors, by proc_stat(5)."""
    if sys.platform != "linux":
        return 0, 0
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7], sum(ticks)


def listening(port: int) -> int:
    """Sockets of 127.0.0.1 that listen at a port, as Linux tells."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(parts[1] == f"0100007F:{port:04X}" and parts[3] == "0A" for parts in lines)


def _memory(pid: int) -> Memory:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    shared = kilobytes["Shared_Clean"] + kilobytes["Shared_Dirty"]
    return Memory(pid, *(round(each / 1024, 1) for each in (private, shared, kilobytes["Pss"])))
