"""So many searches work at once, so many wait, and whoever could not be answered in time is told so at once.

Without it a burst would be taken in whole, and everybody would wait for everybody. A caller that hears 503 early can
ask another replica; one that hears it after its time has passed cannot.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import Gauge

from artifacts.errors import Busy

WAITING = Gauge("image_search_queue_depth", "Searches that wait for their turn.", multiprocess_mode="livesum")
WORKING = Gauge("image_search_working", "Searches being worked on.", multiprocess_mode="livesum")

#: Share of the newest search in the running mean of how long one takes.
_NEWEST = 0.1
#: Share of its time that a search may wait. What was let in and then runs out of time was work for nobody, and under a
#: lasting burst, with a queue that is always as long as may be, that would be nearly all work. The wait is reckoned by
#: the mean, and in a burst some take several times as long.
_WAITING = 0.15


class AdmissionController:
    """First come, first served.

    Args:
        slots: searches that work at once.
        queue: searches that may wait.
        seconds: that a search has from its coming to its answer.
    """

    def __init__(self, slots: int, queue: int, seconds: float) -> None:
        self._slots, self._queue, self._seconds = slots, queue, seconds
        self._lock = threading.Lock()
        self._free = slots
        self._waiting: deque[threading.Event] = deque()
        self._mean = 0.0  # seconds that a search has its slot

    @contextmanager
    def admitted(self, began: float) -> Iterator[None]:
        """Wait for a slot, and keep it for the block.

        Args:
            began: when the search came, by `time.perf_counter`.

        Raises:
            Busy: too many wait already, or its turn would not come in time.
        """
        self._enter(began)
        entered = perf_counter()
        try:
            yield
        finally:
            self._leave(perf_counter() - entered)

    @property
    def busy(self) -> bool:
        """Whether a search that came now would have to wait."""
        return not self._free

    def check(self, queue_time: float = 0.0, pending: int = 0) -> None:
        """Without waiting or taking a place: for refusing a request before anything of it is read.

        Args:
            queue_time: seconds that it has waited by now.
            pending: searches before it that have not come here yet, and will.

        Raises:
            Busy: too many wait already, or its turn would not come in time.
        """
        if self.busy:
            self._may_wait(queue_time, pending)

    def _may_wait(self, queue_time: float, pending: int = 0) -> float:
        """Seconds until it would be its turn.

        Raises:
            Busy: that is too long, or there is no room.
        """
        ahead = len(self._waiting) + pending
        expected = self._expected(ahead)
        wait = queue_time + expected
        late = wait > _WAITING * self._seconds or wait + self._mean > self._seconds
        if ahead >= self._queue or late:
            raise Busy(max(1, math.ceil(expected)))
        return expected

    def _expected(self, ahead: int) -> float:
        """Seconds until a slot is free for whoever comes now."""
        return self._mean * (ahead + 1) / self._slots

    def _enter(self, began: float) -> None:
        with self._lock:
            if self._free and not self._waiting:
                self._free -= 1
                WORKING.inc()
                return
            expected = self._may_wait(perf_counter() - began)
            latest = began + self._seconds - self._mean  # to begin, and be done in time
            turn = threading.Event()
            self._waiting.append(turn)
            WAITING.inc()
        came = turn.wait(latest - perf_counter())
        with self._lock:
            WAITING.dec()
            if not came and not turn.is_set():
                self._waiting.remove(turn)
                raise Busy(max(1, math.ceil(expected)))
            WORKING.inc()  # whoever left handed over the slot

    def _leave(self, seconds: float) -> None:
        with self._lock:
            WORKING.dec()
            self._mean += _NEWEST * (seconds - self._mean) if self._mean else seconds
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1
