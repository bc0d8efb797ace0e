"""Hands a batch to the refresh path in a thread, and keeps the consumer in its group while that works."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from artifacts.errors import PublishConflict, StepFailed
from jobs.stream.sink import AppliedChanges, Apply

#: Tries of one batch. Another process may publish in between, and a disk may be full for a while.
TRIES = 6
#: Seconds before the second try; doubled for each further one.
FIRST_WAIT = 1.0
#: Seconds between two looks at the thread, at most.
_TICK = 0.2


class Applier:
    """Applies change files, one at a time.

    Args:
        apply: the refresh path.
        keep_alive: called with seconds again and again while a file is applied; returns after them, or sooner.
        warn: called with a line about a try that failed.
    """

    def __init__(self, apply: Apply, keep_alive: Callable[[float], None], warn: Callable[[str], None]) -> None:
        self._apply, self._keep_alive, self._warn = apply, keep_alive, warn
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stream-apply")

    def close(self) -> None:
        """Wait for the file that is being applied."""
        self._thread.shutdown()

    def run(self, path: Path, is_abandoned: Callable[[], bool]) -> AppliedChanges | None:
        """Apply a file, in several tries if need be.

        Args:
            is_abandoned: whether to do without a further try.

        Returns:
            The outcome; None if the file was abandoned: nothing of it is published, as far as is known.

        Raises:
            PublishConflict, StepFailed: all tries failed.
            LookalikeError: an error that another try would not change.
        """
        wait = FIRST_WAIT
        for left in reversed(range(TRIES)):
            future = self._thread.submit(self._apply, path)
            while not future.done():
                self._keep_alive(_TICK)
            try:
                return future.result()
            except (PublishConflict, StepFailed) as error:
                if not left:
                    raise
                self._warn(f"applying the batch failed and is tried again in {wait:g} s: {error}")
            end = time.monotonic() + wait
            while time.monotonic() < end and not is_abandoned():
                self._keep_alive(min(_TICK, wait))
            if is_abandoned():
                return None
            wait *= 2
        raise AssertionError("unreachable")
