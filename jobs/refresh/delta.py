"""Writes the next delta: what the last one says of products that have not changed since, and the changed products."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from artifacts.products.conform import conform
from artifacts.release.release import Release
from artifacts.schema import ATTRIBUTES_DIGEST, DELETED, OK, PICTURES_DIGEST, STATE, catalog_schema, is_http
from artifacts.segments.delta_writer import DeltaWriter
from artifacts.segments.info import SegmentInfo
from artifacts.segments.segment import Segment
from jobs.refresh.changed import ChangedPicture, ChangedProduct, by_product
from jobs.refresh.obtained import ObtainedShard, PictureContents
from jobs.refresh.report import DeltaTally
from jobs.refresh.served import State

#: Rows that are written at once.
_BLOCK = 4096

#: Detail of a picture that an earlier refresh has failed to get, and this one has not tried again.
AS_BEFORE = "as in an earlier refresh"


class DeltaBuild:
    """Fills a delta of a base.

    Call `carry` if there is a last delta, then `add` for the changed products of each shard, and `delete`; then
    `finish`.

    Args:
        folder: for the delta.
        base: open.
        state: of the catalog, of the base and its last delta.
        pictures: the release whose rows the changed products' pictures name.
        schema: of the product rows.
        attributes: of the changed products.
        applied_at: when the catalog was read.
        thumbnail_side: longest side in px.
    """

    def __init__(
        self,
        folder: Path,
        base: Segment,
        state: State,
        pictures: Release,
        schema: pa.Schema,
        attributes: dict[str, pa.DataType],
        applied_at: datetime,
        thumbnail_side: int,
    ) -> None:
        self._writer = DeltaWriter(folder, base, schema)
        self._base, self._release, self._state, self._schema = base, pictures, state, schema
        self._row_schema = catalog_schema(attributes)
        self._applied_at, self._thumbnail_side = applied_at, thumbnail_side
        self._replaced: list[str] = []  # products whose rows of the base are not searched any more
        self._rows: list[tuple[dict[str, Any], ChangedPicture, np.ndarray, bytes | None]] = []
        self._updates: list[tuple[dict[str, Any], ChangedPicture]] = []
        self._state_rows: list[dict[str, object]] = []
        self.tally = DeltaTally()
        self._names = 0  # products that the delta names

    # ── what the last delta says of other products ───────────────────────────────────────────────────────────────

    def carry(self, last: Segment, changed: frozenset[str], since: datetime) -> None:
        """Take over what the last delta says of products that have not changed.

        Args:
            last: open.
            changed: ids of the changed and the deleted products.
            since: older tombstones of products that the base lacks are dropped, and older products as in the base.
        """
        assert last.updates is not None  # noqa: S101  (a delta has them)
        state = self._state.delta()
        updates = last.updates.table["product_id"]
        state = state.filter(pa.array(~_is_in(state["product_id"], changed)))
        state = state.filter(pa.array(~self._is_forgotten(state, set(updates.to_pylist()), since)))
        in_delta = np.asarray(state["in_delta"]) & np.asarray(state["row"].is_valid())
        rows = state["row"].fill_null(-1).to_numpy()
        carried = np.sort(rows[in_delta])
        self._writer.carry(last, carried)
        numbers = np.where(in_delta, np.searchsorted(carried, rows), rows)
        column = pa.array(np.where(rows < 0, 0, numbers), pa.int64(), mask=rows < 0)
        self._add_state(state.set_column(state.schema.get_field_index("row"), STATE.field("row"), column))
        # The rows of the base are searched for products whose pictures are the base's, and for no others.
        kept = set(state["product_id"].filter(pa.array(_is_of_base(state))).to_pylist())
        self._replaced += sorted(set(state["product_id"].to_pylist()) - kept)
        numbers = np.flatnonzero(_is_in(updates, kept))
        table = conform(last.updates.rows_table(numbers), self._schema)
        self._writer.update(table, last.updated_rows[numbers])

    def _is_forgotten(self, state: pa.Table, updated: set[str], since: datetime) -> np.ndarray:
        """Return which rows say since long ago that a product is as the base has it, or lacks it, bool[n]."""
        old = state["applied_at"].to_numpy() < np.datetime64(since.replace(tzinfo=None), "us")
        gone = set(state["product_id"].filter(pa.array(old & (np.asarray(state["status"]) == DELETED))).to_pylist())
        gone -= set(self._state.of_base_products(gone)["product_id"].to_pylist())
        same = set(state["product_id"].filter(pa.array(old & _is_of_base(state))).to_pylist()) - updated
        return _is_in(state["product_id"], gone | same)

    # ── changed products ─────────────────────────────────────────────────────────────────────────────────────────

    def delete(self, deleted: pa.Table) -> None:
        """Leave products out, as DELETIONS names them; their state remembers that, whether the base has them or not.

        Args:
            deleted: with a further column `applied_at` where that is not now.
        """
        rows = [self._state_row(first=True, status=DELETED, **row) for row in deleted.to_pylist()]
        self._add_state(pa.Table.from_pylist(rows, schema=STATE))
        self._replaced += deleted["product_id"].to_pylist()

    def add(self, products: Iterable[ChangedProduct], obtained: ObtainedShard | None = None) -> None:
        """Add changed products, sorted by id, with the pictures that were obtained for them."""
        block: list[ChangedProduct] = []
        for product in products:
            block.append(product)
            if len(block) == _BLOCK:
                self._add_block(block, obtained)
                block = []
        self._add_block(block, obtained)

    def _add_block(self, products: list[ChangedProduct], obtained: ObtainedShard | None) -> None:
        contents = PictureContents(self._release, obtained, self._thumbnail_side)
        ids = [product.product_id for product in products]
        base, before = by_product(self._state.of_base_products(ids)), by_product(self._state.of_products(ids))
        for product in products:
            details: dict[int, str] = {}
            if obtained is not None:
                fetched = product.to_fetch
                details = {picture.number: obtained.resolve(product.product_id, picture) for picture in fetched}
                for picture in fetched:
                    contents.keep_earlier(product.product_id, picture)
            self.tally.failures += [
                (product.product_id, picture.status, details.get(picture.number, AS_BEFORE))
                for picture in product.pictures
                if picture.status != OK
            ]
            self.tally.changed += not product.is_as_in(before.get(product.product_id, []))
            in_base = base.get(product.product_id, [])
            good = [picture for picture in product.pictures if picture.status == OK]
            if not good:
                self._reject(product, details)
                if any(row["status"] == OK for row in before.get(product.product_id, [])):
                    self.tally.lost.append(self.tally.rejects[-1])
            elif self._has_pictures_of(in_base, good) and self._has_vectors_of(in_base, product, good, contents):
                self._update(product, good, in_base)
            else:
                self._write(product, good, contents)
        self._flush()

    def _has_pictures_of(self, base: list[dict[str, Any]], good: list[ChangedPicture]) -> bool:
        """Return whether the base has exactly these pictures of a product, and their thumbnails if they need some."""
        rows = [row for row in base if row["status"] == OK]
        if [(row["picture"], row["sha256"]) for row in rows] != [(picture.number, picture.sha256) for picture in good]:
            return False
        thumbnails = self._base.thumbnails
        return all(
            is_http(picture.url) or (thumbnails is not None and thumbnails.get(row["row"]) is not None)
            for row, picture in zip(rows, good, strict=True)
        )

    def _has_vectors_of(
        self, base: list[dict[str, Any]], product: ChangedProduct, good: list[ChangedPicture], contents: PictureContents
    ) -> bool:
        """Return whether the base has these vectors of a product's pictures: not if they were embedded anew since."""
        rows = [row["row"] for row in base if row["status"] == OK]
        return all(
            (self._base is self._release.base and not picture.in_delta and picture.row == row)
            or np.array_equal(contents.vector(product.product_id, picture), vector)
            for row, vector, picture in zip(rows, self._base.vectors.gather(np.array(rows)), good, strict=True)
        )

    def _update(self, product: ChangedProduct, good: list[ChangedPicture], base: list[dict[str, Any]]) -> None:
        for picture, row in zip(good, (row for row in base if row["status"] == OK), strict=True):
            picture.row, picture.in_delta = row["row"], False
        same = (product.row[ATTRIBUTES_DIGEST], product.row[PICTURES_DIGEST]) == (
            base[0]["attributes"],
            base[0]["pictures"],
        )
        if same and [row["status"] for row in base] == [picture.status for picture in product.pictures]:
            self.tally.as_in_base += 1
        else:
            self.tally.updated += 1
            self._updates += [(product.row, picture) for picture in good]
        # One that is as in the base again is named, too: a build that runs now may have seen what it was meanwhile.
        self._add_product_state(product)

    def _write(self, product: ChangedProduct, good: list[ChangedPicture], contents: PictureContents) -> None:
        first = self._writer.rows + len(self._rows)
        for number, picture in enumerate(good):
            vector = contents.vector(product.product_id, picture)
            jpeg = None if is_http(picture.url) else contents.thumbnail(product.product_id, picture)
            picture.row, picture.in_delta = first + number, True
            self._rows.append((product.row, picture, vector, jpeg))
        self.tally.written += 1
        self._replaced.append(product.product_id)
        self._add_product_state(product)

    def _reject(self, product: ChangedProduct, details: dict[int, str]) -> None:
        first = product.pictures[0]
        self.tally.rejected[first.status] += 1
        detail = details.get(first.number, AS_BEFORE)
        if first.url:  # of a failed picture that is carried over to a new base, only the digest is known
            detail = f"{first.url}: {detail}"
        self.tally.rejects.append({"product_id": product.product_id, "reason": first.status, "detail": detail})
        self._replaced.append(product.product_id)
        self._add_product_state(product)

    def _flush(self) -> None:
        if self._rows:
            vectors = np.stack([vector for _, _, vector, _ in self._rows])
            table = self._product_rows([(row, picture) for row, picture, _, _ in self._rows])
            self._writer.add(table, vectors, [jpeg for _, _, _, jpeg in self._rows])
            self._rows = []
        if self._updates:
            base_rows = np.array([picture.row for _, picture in self._updates], np.int64)
            self._writer.update(self._product_rows(self._updates), base_rows)
            self._updates = []
        self._add_state(pa.Table.from_pylist(self._state_rows, schema=STATE))
        self._state_rows = []

    def _product_rows(self, pictures: list[tuple[dict[str, Any], ChangedPicture]]) -> pa.Table:
        """One product row for each picture."""
        rows = pa.Table.from_pylist([{**row, "image_url": None} for row, _ in pictures], schema=self._row_schema)
        rows = rows.drop_columns(["image_url"])
        rows = rows.append_column("picture", pa.array([picture.number for _, picture in pictures], pa.int32()))
        rows = rows.append_column("image_url", pa.array([picture.url for _, picture in pictures], pa.large_string()))
        return conform(rows, self._schema)

    def _add_product_state(self, product: ChangedProduct) -> None:
        self._state_rows += [
            self._state_row(
                product_id=product.product_id,
                first=number == 0,
                status=picture.status,
                picture=picture.number,
                row=picture.row if picture.status == OK else None,
                in_delta=picture.in_delta and picture.status == OK,
                source=picture.source,
                sha256=picture.sha256,
                attributes=product.row[ATTRIBUTES_DIGEST],
                pictures=product.row[PICTURES_DIGEST],
                updated_at=product.row["updated_at"],
                applied_at=product.applied_at or self._applied_at,
            )
            for number, picture in enumerate(product.pictures)
        ]

    def _state_row(self, **values: object) -> dict[str, object]:
        return {"in_delta": False, "applied_at": self._applied_at, **values}

    def _add_state(self, state: pa.Table) -> None:
        self._names += state.num_rows
        if state.num_rows:
            self._writer.add_state(state)

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_empty(self) -> bool:
        """Whether the release is as its base, and needs no delta."""
        return not self._names

    def finish(self, segment_id: str, inputs: str) -> SegmentInfo:
        """Seal the delta."""
        database = self._base.database
        assert database is not None  # noqa: S101  (a base has one)
        self._writer.delete(database.base_rows_of(sorted(set(self._replaced))))
        return self._writer.finish(segment_id, inputs=inputs)


def _is_in(column: pa.ChunkedArray, values: Iterable[str]) -> np.ndarray:
    """Return which values of a column are among `values`, bool[n]."""
    chosen = set(values)
    return np.fromiter((value in chosen for value in column.to_pylist()), bool, len(column))


def _is_of_base(state: pa.Table) -> np.ndarray:
    """Return which rows of a delta's state are indexed pictures of the base, bool[n]."""
    return ~np.asarray(state["in_delta"]) & (np.asarray(state["status"]) == OK)
