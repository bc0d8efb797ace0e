"""What a stream has done, in numbers and in lines for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from jobs.stream.batch import Batch
from jobs.stream.failures import Failures
from jobs.stream.sink import AppliedChanges


@dataclass
class StreamReport:
    """The totals of a run.

    Attributes:
        records: records that were read and committed.
        superseded: events that a later one of the same product in their batch replaced.
        applied: products that the refresh path created, updated or deleted.
        stale: events that were older than what the release knew of their product.
        inactive: events whose product the shop has taken out of the catalog.
        abandoned: batches that were left to the next run or to another member of the group.
        version: the release that holds the last batch; None if nothing was applied.
        lag: records that are not committed, as last seen.
        caught_up: whether a bounded run has read all that it had to.
    """

    batches: int = 0
    records: int = 0
    superseded: int = 0
    applied: int = 0
    stale: int = 0
    inactive: int = 0
    retried: int = 0
    dead_letters: int = 0
    abandoned: int = 0
    version: str | None = None
    lag: int = 0
    caught_up: bool = False
    seconds: float = 0

    def add(self, batch: Batch, applied: AppliedChanges | None, failures: Failures) -> str:
        """Add a batch that has been published and committed, and describe it in a line.

        Args:
            applied: None if no record was an event.
        """
        outcomes = Counter(failures.outcomes.values())
        dead_letters = len(failures.dead_letters) + len(batch.dead_letters)
        self.batches += 1
        self.records += batch.received
        self.superseded += batch.superseded.total()
        self.inactive += outcomes["inactive"]
        self.retried += outcomes["retried"]
        self.dead_letters += dead_letters
        if applied is not None:
            self.applied += applied.applied
            self.stale += applied.stale
            self.version = applied.version
        return _line(
            batch.received,
            superseded=batch.superseded.total(),
            applied=applied.applied if applied else 0,
            stale=applied.stale if applied else 0,
            inactive=outcomes["inactive"],
            retried=outcomes["retried"],
            dead_letters=dead_letters,
        )

    def describe(self) -> str:
        """Return the totals as a line."""
        line = _line(
            self.records,
            superseded=self.superseded,
            applied=self.applied,
            stale=self.stale,
            inactive=self.inactive,
            retried=self.retried,
            dead_letters=self.dead_letters,
        )
        return f"{line}, in {self.batches:,} batches and {self.seconds:,.1f} s; {self.lag:,} records wait"


def _line(records: int, **counts: int) -> str:
    """Return `1,000 records: 990 applied, 10 dead letters`; counts of 0 are left out, but for `applied`."""
    parts = [f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count or name == "applied"]
    return f"{records:,} records: {', '.join(parts)}"
