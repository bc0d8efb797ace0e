"""The outcome of a refresh, and the record by which the next one knows that nothing has changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import reduce
from operator import add
from typing import TypeVar

from artifacts.schema import EXPECTED_REASONS
from artifacts.store.manifest import Counts, Position
from jobs.catalog.changes import ChangeCounts

_DAY_MINUTES = 24 * 60
#: More of them would make a second a day.
_DOUBLINGS = 17


@dataclass(frozen=True)
class RefreshRecord:
    """What the served release was compared with last, for one source.

    Attributes:
        source: see `jobs.catalog.sources.positions.source_name`.
        version: that was served then; to another one the record does not apply.
        read_at: when the source was read, or found to be as before.
        fingerprint: of a whole catalog; None if it cannot be known without reading it.
        position: of a source of changes, at least as far as in the version's manifest; None if it has none.
        tried_at: when pictures were last tried that had failed for reasons that may pass; else, when it was read.
        transient: whether pictures of the version failed for reasons that may pass.
        retries: how often pictures were tried again since there are such failures, if the source names only what has
            changed: it is read as a whole for it.
    """

    source: str
    version: str
    read_at: datetime
    fingerprint: str | None
    position: Position | None
    tried_at: datetime
    transient: bool
    retries: int = 0

    def retry_due(self, now: datetime, minutes: float) -> bool:
        """Return whether pictures are worth another try.

        Args:
            minutes: to wait before the first retry; twice as long before each further one, but at most a day.
        """
        wait = min(minutes * 2 ** min(self.retries, _DOUBLINGS), max(minutes, _DAY_MINUTES))
        return self.transient and now - self.tried_at >= timedelta(minutes=wait)


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
    lost: list[dict[str, object]] = field(default_factory=list)  # of the rejects, those of products that were indexed
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
        done = f"{', '.join(parts)}; {pictures}; delta {self.delta_share:.1%} of the base" if parts else "nothing new"
        return f"{done}{self.lost_note}{self.rejected_note}"

    @property
    def unchanged_note(self) -> str:
        """One line for people, if nothing was published."""
        fetched, embedded = self.obtained.fetched, self.obtained.embedded
        pictures = f": {fetched:,} pictures fetched, {embedded:,} embedded, and none is another" if fetched else ""
        return f"nothing has changed{pictures}{self.rejected_note}"

    @property
    def lost_note(self) -> str:
        """What is added to a note: the number of products that are lost for their pictures, and the first one."""
        if not self.tally.lost:
            return ""
        first = self.tally.lost[0]
        return (
            f"; removed, since none of their pictures can be used: {len(self.tally.lost):,} products, such as "
            f"{first['product_id']}: {first['reason']}, {first['detail']}"
        )

    @property
    def faults(self) -> list[tuple[str, str, str]]:
        """The rejects of a source of changes that are no deletions."""
        return [reject for reject in self.rejects if reject[1] not in EXPECTED_REASONS]

    @property
    def rejected_note(self) -> str:
        """What is added to a note: the number of rows of a source of changes that are rejected, and the first one."""
        if not self.faults:
            return ""
        product_id, reason, detail = self.faults[0]
        product = product_id or "one without product_id"
        return f"; rejected: {len(self.faults):,} rows, such as {product}: {reason}, {detail}"


Summed = TypeVar("Summed", ChangeCounts, Obtained, DeltaTally)


def together(reports: Sequence[RefreshReport]) -> RefreshReport:
    """Return the report of refreshes that followed each other: the last one's release, and the work of all.

    Args:
        reports: one or more.
    """
    last = reports[-1]
    return replace(
        last,
        changes=_total([replace(each.changes, rejected=Counter(each.changes.rejected or {})) for each in reports]),
        obtained=_total([each.obtained for each in reports]),
        tally=_total([each.tally for each in reports]),
        rejects=[reject for each in reports for reject in each.rejects],
        seconds=sum(each.seconds for each in reports),
    )


def _total(parts: Sequence[Summed]) -> Summed:
    """Add dataclasses of one type, field by field."""
    names = [each.name for each in fields(parts[0])]
    return replace(parts[0], **{name: reduce(add, [getattr(part, name) for part in parts]) for name in names})
