"""What a backfill is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from artifacts.errors import StepFailed
from jobs.catalog.compare.selection import Selection
from jobs.download.refetch import Refetch


@dataclass(frozen=True)
class BackfillRequest:
    """The products to process again, and how.

    Attributes:
        product_ids, categories: the products; all products if both are empty and no time is given.
        updated_from, updated_before: products whose updated_at lies in this range; aware.
        redownload: fetch their pictures although nothing says that they have changed.
        reembed: embed their pictures although their vectors are known; fetches them, too.
        encoder: spec of another encoder, which all products are embedded with; None for the served release's.
        day: of the catalog's partition to read; None for the newest, or for a catalog without partitions. With a day
            and nothing else, what the partition says is applied, as a refresh does.
        changes_only: whether the catalog names only what has changed.
    """

    product_ids: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    updated_from: datetime | None = None
    updated_before: datetime | None = None
    redownload: bool = False
    reembed: bool = False
    encoder: str | None = None
    day: date | None = None
    changes_only: bool = False

    @property
    def selects(self) -> bool:
        """Whether products are chosen."""
        return bool(self.product_ids or self.categories or self.updated_from or self.updated_before)

    @property
    def selection(self) -> Selection | None:
        """The products that are processed although the catalog says the same of them; None if there are none.

        If products are chosen, these only.
        """
        if self.day and not (self.selects or self.redownload or self.reembed):
            return None
        return Selection(
            self.product_ids or None, self.categories or None, self.updated_from, self.updated_before, only=self.selects
        )

    @property
    def refetch(self) -> Refetch:
        """The products whose pictures are fetched again."""
        if not (self.redownload or self.reembed):
            return Refetch()
        if self.product_ids or self.categories:
            return Refetch(self.product_ids, self.categories)
        return Refetch(all=True)

    def validate(self) -> None:
        """Check that the request makes sense.

        Raises:
            StepFailed: two of its parts contradict each other.
        """
        if self.encoder and (self.selects or self.day or self.redownload or self.reembed):
            raise StepFailed(
                "a new encoder embeds every product: leave out product ids, categories, dates, redownload and reembed"
            )
        if self.encoder and self.changes_only:
            raise StepFailed("a new encoder embeds every product: it needs a whole catalog, not one of changes")
        if self.updated_from and self.updated_before and self.updated_from >= self.updated_before:
            first, last = (f"{time:%Y-%m-%d}" for time in (self.updated_from, self.updated_before))
            raise StepFailed(f"the range of dates is empty: it begins on {first} and ends before {last}")
