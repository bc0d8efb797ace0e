"""The changed products of a refresh, and which of their pictures the release has, has failed to get, or lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import StepFailed
from artifacts.schema import (
    ATTRIBUTES_DIGEST,
    CHANGE_KIND,
    OK,
    PICTURES_DIGEST,
    TRANSIENT_REASONS,
    picture_source,
    shard_of,
)
from jobs.catalog.changes import CatalogChanges
from jobs.catalog.compare.selection import Selection
from jobs.catalog.local_pictures import LocalPictures
from jobs.download.refetch import Refetch, refuse_unknown
from jobs.refresh.served import State

#: Products that are looked up in the state at once.
_BLOCK = 20_000

#: Kind of a change that leaves a product's pictures as they are.
ATTRIBUTES = "attributes"


@dataclass
class ChangedPicture:
    """One picture of a changed product.

    Attributes:
        number: position in the product's list of pictures.
        stamp: of a local file; None for a URL.
        status: OK, a Reason, or "" while it has to be fetched.
        row: of the release, if that has the picture; -1 otherwise.
        in_delta: whether `row` is one of the last delta's.
        sha256: first half of that of the stored JPEG; None if there is none.
        known_source: digest of URL and stamp, where the stamp is not at hand.
        earlier: what the state says of the good picture that the release has of this source, if it is fetched again;
            that picture stays if fetching it fails for a reason that may pass.
    """

    number: int
    url: str
    stamp: str | None
    status: str = ""
    row: int = -1
    in_delta: bool = False
    sha256: bytes | None = None
    known_source: int | None = None
    earlier: dict[str, Any] | None = None

    @property
    def source(self) -> int:
        """Digest of URL and stamp."""
        return picture_source(self.url, self.stamp) if self.known_source is None else self.known_source

    def take(self, state: dict[str, Any]) -> None:
        """Be the picture of a row of STATE: the one that the release has, or has failed to get."""
        self.status, self.sha256 = state["status"], state["sha256"]
        if self.status == OK:
            self.row, self.in_delta = state["row"], state["in_delta"]


@dataclass(frozen=True)
class ChangedProduct:
    """One changed product: its row as changes_schema has it, and its pictures in order.

    Attributes:
        applied_at: when a release began to say so, if that is not now.
    """

    row: dict[str, Any]
    pictures: list[ChangedPicture]
    applied_at: datetime | None = None

    @property
    def product_id(self) -> str:
        return self.row["product_id"]

    @property
    def to_fetch(self) -> list[ChangedPicture]:
        return [picture for picture in self.pictures if not picture.status]

    def is_as_in(self, state: list[dict[str, Any]]) -> bool:
        """Return whether a release says the same of the product already, and has these very vectors of its pictures.

        Args:
            state: the release's rows of the product, as STATE.
        """
        row = (self.row[ATTRIBUTES_DIGEST], self.row[PICTURES_DIGEST], self.row["updated_at"])
        ours = [
            (
                *row,
                each.number,
                each.status,
                each.source,
                each.sha256,
                each.row if each.row >= 0 else None,
                each.in_delta,
            )
            for each in self.pictures
        ]
        names = ("attributes", "pictures", "updated_at", "picture", "status", "source", "sha256", "row", "in_delta")
        return ours == [tuple(each[name] for name in names) for each in state]


def changed_products(changes: CatalogChanges, state: State, refetch: Refetch) -> Iterator[ChangedProduct]:
    """Yield the changed products, sorted by id.

    A picture with the source of an earlier one of the same product is that picture; if it failed, it is fetched again
    only where the reason may have passed.

    Args:
        refetch: products whose pictures are all fetched.
    """
    folder = LocalPictures(changes.base)
    for batch in pq.ParquetFile(changes.changed, pre_buffer=False).iter_batches(_BLOCK):
        rows = batch.to_pylist()
        earlier = by_product(state.of_products([row["product_id"] for row in rows]))
        for row in rows:
            known = earlier.get(row["product_id"], [])
            # Selected products are of another kind; one with a new price alone was not selected by a range of dates.
            again = row[CHANGE_KIND] != ATTRIBUTES and (
                refetch.all or row["product_id"] in refetch.products or row["category"] in refetch.categories
            )
            yield ChangedProduct(row, _resolve(row, known, folder, again=again))


def _resolve(
    row: dict[str, Any], known: list[dict[str, Any]], folder: LocalPictures, *, again: bool
) -> list[ChangedPicture]:
    pictures = [ChangedPicture(number, url, folder.stamp(url)) for number, url in enumerate(row["image_url"])]
    by_source = {state["source"]: state for state in known if state["picture"] is not None}
    for picture in pictures:
        state = by_source.get(picture.source)
        if again:
            picture.earlier = state if state is not None and state["status"] == OK else None
            continue
        if row[CHANGE_KIND] == ATTRIBUTES and state is None:  # digests of lists are equal, so sources are
            raise ValueError(
                f"product {row['product_id']}: picture {picture.number} is not in the state of the release"
            )
        if state is not None and (state["status"] not in TRANSIENT_REASONS or row[CHANGE_KIND] == ATTRIBUTES):
            picture.take(state)
    return pictures


def by_product(state: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each product of a state that is sorted by product."""
    return {
        product_id: list(rows) for product_id, rows in groupby(state.to_pylist(), key=lambda row: row["product_id"])
    }


def rejects_of(changes: CatalogChanges) -> list[tuple[str, str, str]]:
    """Return product, reason and detail of each row that was rejected."""
    rows = pq.read_table(changes.rejects).to_pylist()
    return [(row["product_id"] or "", row["reason"], row["detail"]) for row in rows]


def selection_of(refetch: Refetch) -> Selection | None:
    """Return the products that a refetch selects; None if there are none.

    Raises:
        StepFailed: it names products and categories.
    """
    if refetch.all:
        return Selection()
    if refetch.products and refetch.categories:
        raise StepFailed("refetch either products or categories, not both at once")
    if refetch.products:
        return Selection(product_ids=refetch.products)
    return Selection(categories=refetch.categories) if refetch.categories else None


def require_selected(selection: Selection, changes: CatalogChanges, state: State) -> None:
    """Check that a catalog, or the release, has every product and category that is selected.

    Args:
        changes: the selected products are forced to be among them.

    Raises:
        StepFailed: one is unknown; the message names it.
    """
    table = pq.read_table(changes.changed, columns=["product_id", "category"])
    products, categories = selection.product_ids or frozenset(), selection.categories or frozenset()
    unknown = products.difference(table["product_id"].to_pylist())
    unknown = unknown.difference(state.of_products(sorted(unknown))["product_id"].to_pylist())
    # Of both, only products that meet both are among the changes.
    missing = frozenset() if products else categories.difference(table["category"].to_pylist())
    refuse_unknown(unknown, missing)


def in_shard(product_id: str, shard: int, shards: int) -> bool:
    """Return whether a product belongs to a shard of a refresh's workspace."""
    return shards == 1 or shard_of(product_id, shards) == shard
