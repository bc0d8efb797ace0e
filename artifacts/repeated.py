"""Calls a function again and again in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)


@contextmanager
def repeated(seconds: float, action: Callable[[], object]) -> Iterator[None]:
    """Call `action` every so many seconds, in a thread of its own, while the block runs.

    After an error of a file or a store, which is logged, the next call comes in its turn.
    """
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(seconds):
            try:
                action()
            except OSError as error:
                _log.warning("trying again in %g s: %s", seconds, error)

    thread = threading.Thread(target=repeat, name="repeated", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
