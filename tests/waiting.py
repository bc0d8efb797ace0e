"""Wait for a condition instead of a fixed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


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
