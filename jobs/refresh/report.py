"""The outcome of a refresh, and the record by which the next one knows that nothing has changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from artifacts.schema import TRANSIENT_REASONS
from artifacts.store.manifest import Counts
from jobs.catalog.changes import ChangeCounts

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
class Obtained:
    """How many pictures a refresh has fetched and embedded, and for how many the release had a vector already."""

    fetched: int = 0
    embedded: int = 0
    known: int = 0


@dataclass
class DeltaTally:
    """What a refresh did with the changed products."""

    written: int = 0  # products whose pictures are in the delta
    updated: int = 0  # products whose attributes are in the delta
    as_in_base: int = 0  # products that are again as the base has them
    rejected: Counter[str] = field(default_factory=Counter)  # Reason -> products without a usable picture
    rejects: list[dict[str, object]] = field(default_factory=list)  # of these, as REJECTS
    changed: int = 0  # products of which the release says something else than before
    failures: list[tuple[str, str, str]] = field(default_factory=list)  # product, reason and detail of each picture


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
