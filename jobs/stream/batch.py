"""A micro-batch: the records that are applied together, and of each product only the last event.

Memory is bounded by the number of records and by their bytes: a batch that reaches either limit is full.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from artifacts.config import StreamConfig
from artifacts.errors import EventError
from jobs.catalog.staging import MAX_COLUMNS
from jobs.stream.events import Event, EventKind, Problem, parse_event
from jobs.stream.kafka.records import Record

#: Bytes of keys and values in a batch; parsed, they take about six times as much memory.
MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class DeadLetter:
    """A record that will not be applied, and why."""

    record: Record
    reason: str
    detail: str


class Batch:
    """Collects records until it is full or due.

    Args:
        now: the time, for the limit on future events.
        clock: seconds that only grow, for the age of the batch.

    Attributes:
        events: the last event of each product.
        dead_letters: records that are not events.
        superseded: number of events that a later one of the same product replaced, by kind.
        offsets: (topic, partition) -> the first offset that is not part of this batch or of an earlier one.
        received: number of records.
    """

    def __init__(
        self,
        config: StreamConfig,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._now, self._clock = config, now, clock
        self.events: dict[str, Event] = {}
        self.dead_letters: list[DeadLetter] = []
        self.superseded: Counter[EventKind] = Counter()
        self.offsets: dict[tuple[str, int], int] = {}
        self.received = 0
        self._bytes = 0
        self._began = 0.0
        self._spellings: dict[str, str] = {}  # a column's name in lower case -> as its first event spells it

    @property
    def age(self) -> float:
        """Seconds since the first record; 0 while there is none."""
        return self._clock() - self._began if self.received else 0.0

    @property
    def room(self) -> int:
        """How many more records the batch takes, as far as their number is concerned."""
        return max(0, self._config.stream_batch_events - self.received)

    @property
    def is_due(self) -> bool:
        """Whether the batch has to be applied now: it is full, or old enough."""
        full = not self.room or self._bytes >= MAX_BYTES
        return self.received > 0 and (full or self.age >= self._config.stream_batch_seconds)

    def add(self, record: Record) -> None:
        """Add the next record of a partition; one that is not an event becomes a dead letter."""
        if not self.received:
            self._began = self._clock()
        self.received += 1
        self._bytes += record.size
        self.reach(record.topic, record.partition, record.offset + 1)
        try:
            event = parse_event(record, self._now(), timedelta(seconds=self._config.stream_future_seconds))
            self._spell(event)
        except EventError as error:
            self.dead_letters.append(DeadLetter(record, error.reason, error.detail))
            return
        earlier = self.events.get(event.product_id)
        if earlier is None or event.supersedes(earlier):
            self.events[event.product_id] = event
            event = earlier
        if event is not None:
            self.superseded[event.kind] += 1

    def reach(self, topic: str, partition: int, offset: int) -> None:
        """Note that a partition has been read up to an offset, which is not included."""
        self.offsets[topic, partition] = offset

    def write(self, path: Path) -> None:
        """Write the events as a change file: one JSON object a line, one line a product."""
        with path.open("w", encoding="utf-8") as file:
            for event in self.events.values():
                row = {self._spellings[name.lower()]: value for name, value in event.change().items()}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def _spell(self, event: Event) -> None:
        """Give columns that differ in upper and lower case alone one name: in a file they would be ambiguous."""
        new = {name.lower(): name for name in event.change() if name.lower() not in self._spellings}
        if len(self._spellings) + len(new) > MAX_COLUMNS:
            detail = f"product: with its columns, those of all events together are more than {MAX_COLUMNS}"
            raise EventError(Problem.INVALID_EVENT, detail)
        self._spellings.update(new)
