"""What a consumer knows of one partition that is assigned to it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from jobs.stream.kafka.records import Record


@dataclass(frozen=True)
class PartitionEnd:
    """The consumer has read a partition to its present end.

    Attributes:
        offset: the next record's; markers of transactions, which are no records, may lie before it.
    """

    topic: str
    partition: int
    offset: int


@dataclass
class Partition:
    """An assigned partition.

    Attributes:
        committed: first offset that is not committed.
        position: first offset that has not been returned by `EventConsumer.read`.
        is_new: whether the group had committed nothing of it when it was assigned.
        end: offset after the last record of the partition, as last seen.
        target: where a bounded run stops reading; None until it is known.
        waiting: records of the retry topic that are not due yet, in order; the partition is paused behind them.
    """

    topic: str
    number: int
    committed: int
    position: int
    is_new: bool
    end: int = 0
    target: int | None = None
    waiting: deque[Record] = field(default_factory=deque)

    @property
    def lag(self) -> int:
        """Records that are not committed."""
        return max(0, self.end - self.committed)

    def is_caught_up(self) -> bool:
        """Whether a bounded run has read all that it has to; retries that are not due are left to a later run."""
        return bool(self.waiting) or (self.target is not None and self.position >= self.target)

    def release_due(self, now: float) -> list[Record]:
        """Remove and return the waiting records that are due; one that is not due holds back those behind it.

        Args:
            now: seconds since 1970.
        """
        due = []
        while self.waiting and self.waiting[0].not_before <= now:
            due.append(self.waiting.popleft())
        return due
