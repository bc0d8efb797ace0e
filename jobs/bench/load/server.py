"""The server process of a benchmark."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from urllib.error import URLError
from urllib.request import urlopen

from artifacts.errors import LookalikeError
from jobs.bench.load.proc import (
    Memory,
    Resources,
    children_of,
    cpu_seconds_of,
    listening,
    memory_of,
    resources_of,
)

_READY_SECONDS = 300


class ServerProcess:
    """`lookalike serve` on a free port of 127.0.0.1; a context manager that stops it.

    Args:
        environment: variables in addition to those of this process.

    Raises:
        LookalikeError: the server ended, or not all of its workers became ready; the message contains its output.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment}
        self.address = ""  # http://127.0.0.1:port

    def __enter__(self) -> ServerProcess:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lookalike", "serve", "--port", "0"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None  # noqa: S101  (a pipe, see above)
        output = self._process.stdout.readline()
        try:
            self.address = next(word for word in output.split() if word.startswith("http://")).rstrip("/")
            self._wait_until_ready()
        except (StopIteration, LookalikeError):
            self.__exit__()
            raise LookalikeError(f"the server did not become ready: {output.strip() or 'no output'}") from None
        return self

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + _READY_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with urlopen(f"{self.address}/readyz", timeout=5):  # noqa: S310  (our own server)
                    if self._all_workers_listen():
                        return
            except (URLError, OSError):
                pass  # not ready yet
            time.sleep(0.1)
        raise LookalikeError("not ready")

    def _all_workers_listen(self) -> bool:
        """Return whether each worker has its own listener beside the shared one.

        Connections made before that all belong to the first worker for as long as they last.
        """
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
        """Return the process ids of the current workers, ascending."""
        return children_of(self._process.pid)

    def memory(self) -> list[Memory]:
        """Return the memory of each worker."""
        return [memory_of(pid) for pid in self.workers()]

    def cpu_seconds(self) -> float:
        """Return the CPU time that the current workers have used so far."""
        return sum(cpu_seconds_of(pid) for pid in self.workers())

    def resources(self) -> list[Resources]:
        """Return what each worker holds."""
        return [resources_of(pid) for pid in self.workers()]
