"""Wait for a condition instead of a fixed time, and for servers to start."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Poll a condition until it is true; an OSError counts as false.

    Raises:
        AssertionError: it was not true within `seconds`.
    """
    end, tick = time.monotonic() + seconds, threading.Event()
    while time.monotonic() < end:
        try:
            if condition():
                return
        except OSError:
            pass  # the server is not up yet
        tick.wait(0.02)
    raise AssertionError(f"the condition was not true within {seconds} s")


class Server(Protocol):
    """A server that a test starts; `start` returns once it answers, and `stop` leaves nothing of it."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


AnyServer = TypeVar("AnyServer", bound=Server)


@contextmanager
def running(server: AnyServer) -> Iterator[AnyServer]:
    """Run a server during a block."""
    try:
        server.start()
        yield server
    finally:
        server.stop()
