"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Poll a condition; an OSError counts as not yet."""
    end, tick = time.monotonic() + seconds, threading.Event()
    while time.monotonic() < end:
        try:
            if condition():
                return
        except OSError:
            pass  # the server is not there yet
        tick.wait(0.02)
    raise AssertionError(f"the condition did not come true in {seconds} s")
