"""The outcome of a refresh, and the record by which the next one knows that nothing has changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from artifacts.schema import TRANSIENT_REASONS
from artifacts.store.manifest import Counts
from jobs.catalog.changes import ChangeCounts
from jobs.refresh.delta import DeltaTally
from jobs.refresh.pictures import Obtained

#: Statuses of pictures whose failure may pass.
TRANSIENT_STATUSES = frozenset(reason.value for reason in TRANSIENT_REASONS)


@dataclass(frozen=True)
class RefreshRecord:
    """What the served release was compared with last, for one source."""

    version: str  # that was served then
    content_id: str  # of that version
    fingerprint: str | None  # of the source; None if it cannot be known without reading it
    tried_at: (
        datetime  # when pictures were last tried that had failed for reasons that may pass; else, when it was read
    )
    transient: bool  # whether pictures failed for reasons that may pass

    def retries(self, now: datetime, minutes: float) -> frozenset[str]:
        """Return the statuses of pictures that are worth another try."""
        due = self.transient and (now - self.tried_at).total_seconds() >= 60 * minutes
        return TRANSIENT_STATUSES if due else frozenset()


@dataclass(frozen=True)
class RefreshReport:
    """The outcome of `run_refresh`."""

    version: str  # the version that is served now
    changes: ChangeCounts
    counts: Counts  # of the version
    obtained: Obtained = field(default_factory=Obtained)
    tally: DeltaTally = field(default_factory=DeltaTally)
    delta_share: float = 0.0  # rows that the delta has or speaks for, as a share of the base's
    drift: float | None = None  # see `quantizer_drift`
    watermark: datetime | None = None
    rejects: list[tuple[str, str, str]] = field(default_factory=list)  # of a change file: product, reason, detail
    seconds: float = 0.0

    @property
    def note(self) -> str:
        """One line for people."""
        changes = self.changes
        parts = [
            f"{count:,} {name}"
            for name, count in (
                ("new", changes.new),
                ("with other pictures", changes.pictures),
                ("with other attributes", changes.attributes),
                ("deleted", changes.deleted),
                ("stale", changes.stale),
            )
            if count
        ]
        pictures = f"{self.obtained.fetched:,} pictures fetched, {self.obtained.embedded:,} embedded"
        return f"{', '.join(parts)}; {pictures}; delta {self.delta_share:.1%} of the base" if parts else "nothing new"
