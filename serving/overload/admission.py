"""Limits the searches in progress, queues some, and rejects those that would not be answered in time.

Without a limit every search of a burst would slow down all others. A caller that gets its 503 early can still ask
another replica; one that gets it after its deadline cannot.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from artifacts.errors import Busy
from serving.metrics import QUEUE_DEPTH, SEARCHES_IN_PROGRESS

#: Weight of the newest search in the moving average of how long a search holds its slot.
_NEWEST_WEIGHT = 0.1
#: Share of its time that a search may spend in the queue. The expected wait is computed from the average, and in a
#: burst some searches take several times as long. One that is admitted and then misses its deadline is wasted work,
#: and under a lasting burst with a queue that is always full that would be nearly all work.
_MAX_WAIT_SHARE = 0.15


class AdmissionController:
    """Admits searches to a limited number of slots in the order of their arrival.

    Args:
        slots: limit of searches in progress.
        queue_limit: limit of searches that wait for a slot.
        deadline_seconds: time that a search has from its arrival to its answer.
        clock: returns the current time in seconds.
    """

    def __init__(
        self, slots: int, queue_limit: int, deadline_seconds: float, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._slots, self._queue_limit, self._deadline_seconds = slots, queue_limit, deadline_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._free_slots = slots
        self._queue: deque[threading.Event] = deque()
        self._mean_seconds = 0.0  # that a search holds its slot; 0 until the first has ended

    @property
    def busy(self) -> bool:
        """Whether a search that arrived now would have to wait."""
        return not self._free_slots

    @property
    def free_slots(self) -> int:
        """Number of slots that no search holds."""
        return self._free_slots

    @property
    def waiting(self) -> int:
        """Number of searches in the queue."""
        return len(self._queue)

    @contextmanager
    def admitted(self, arrived: float) -> Iterator[None]:
        """Wait for a slot and hold it for the block.

        Args:
            arrived: when the search arrived, by the clock.

        Raises:
            Busy: the queue is full, or the search would not be answered in time.
        """
        self._acquire(arrived)
        acquired = self._clock()
        try:
            yield
        finally:
            self._release(self._clock() - acquired)

    def check(self, queue_time: float = 0.0, pending: int = 0) -> None:
        """Reject a search that would not be admitted, without waiting and without taking a position in the queue.

        Args:
            queue_time: seconds that the search has waited so far.
            pending: searches ahead of it that have not reached the queue yet.

        Raises:
            Busy: the queue is full, or the search would not be answered in time.
        """
        if self.busy:
            self._expected_wait(queue_time, pending)

    def _expected_wait(self, queue_time: float, pending: int = 0) -> float:
        """Return the seconds until a search that arrives now gets a slot, or raise Busy if it may not wait."""
        ahead = len(self._queue) + pending
        expected = self._mean_seconds * (ahead + 1) / self._slots
        total = queue_time + expected
        late = total > _MAX_WAIT_SHARE * self._deadline_seconds or total + self._mean_seconds > self._deadline_seconds
        if ahead >= self._queue_limit or late:
            raise Busy(max(1, math.ceil(expected)))
        return expected

    def _acquire(self, arrived: float) -> None:
        with self._lock:
            if self._free_slots and not self._queue:
                self._free_slots -= 1
                SEARCHES_IN_PROGRESS.inc()
                return
            expected = self._expected_wait(self._clock() - arrived)
            latest_start = arrived + self._deadline_seconds - self._mean_seconds
            slot_granted = threading.Event()
            self._queue.append(slot_granted)
            QUEUE_DEPTH.inc()
        slot_granted.wait(latest_start - self._clock())
        with self._lock:
            QUEUE_DEPTH.dec()
            if not slot_granted.is_set():
                self._queue.remove(slot_granted)
                raise Busy(max(1, math.ceil(expected)))
            SEARCHES_IN_PROGRESS.inc()  # the search that ended passed its slot on

    def _release(self, seconds: float) -> None:
        with self._lock:
            SEARCHES_IN_PROGRESS.dec()
            self._mean_seconds += _NEWEST_WEIGHT * (seconds - self._mean_seconds) if self._mean_seconds else seconds
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free_slots += 1
