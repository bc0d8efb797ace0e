"""Rebasing: carries changes of the served release over to a new base that was made without them.

A build takes hours and a compaction minutes, and refreshes go on meanwhile. What they have published is not lost when
the new base is: it becomes the delta of the new base. Nothing is downloaded or embedded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from artifacts.config import PipelineConfig
from artifacts.products.conform import merged_schema
from artifacts.products.sql import text_literal
from artifacts.release.release import Release
from artifacts.schema import (
    ATTRIBUTES_DIGEST,
    CHANGE_KIND,
    DELETED,
    FORMAT_VERSION,
    OK,
    PICTURES_DIGEST,
    attributes_of,
)
from artifacts.segments.info import STATE_FILE
from artifacts.segments.segment import Segment
from artifacts.store.manifest import SegmentRef
from artifacts.store.store import Store
from jobs.catalog.compare.state import StateFiles
from jobs.refresh.changed import ChangedPicture, ChangedProduct
from jobs.refresh.delta import DeltaBuild
from jobs.refresh.served import Served, State
from jobs.workspace.fingerprints import fingerprint

# ruff: noqa: S608 — the SQL is built from constants and text_literal(), never from a catalog's values.

#: Products that are read at once.
_BLOCK = 20_000

#: No row is written with it: each carries the time at which its change was applied.
_NEVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Newer:
    """Which products of the served release are carried over.

    Attributes:
        read_at: when the new base's catalog was read: what was applied later is newer, and so is an event with a later
            updated_at than the catalog's row, or than all of its rows if it lacks the product. None carries over every
            product that differs.
    """

    read_at: datetime | None


def rebase(store: Store, served: Served, base: SegmentRef, newer: Newer, config: PipelineConfig) -> SegmentRef | None:
    """Write the delta that a new base needs to say what the served release says; returns None if it needs none.

    Args:
        base: the new one, in the store, with a state of the catalog.
    """
    if served.manifest.segments[0] == base and newer.read_at is None:
        return served.manifest.segments[1] if len(served.manifest.segments) > 1 else None
    folder = store.segment_path(base.id)
    tombstones_since = datetime.now(UTC) - timedelta(days=config.tombstone_days)
    products = _newer_products(served.state_files, folder / STATE_FILE, newer, tombstones_since)
    if not products:
        return None
    if served.manifest.segments[0] == base and len(served.manifest.segments) > 1:
        with State(served.state_files) as state:
            if set(state.delta()["product_id"].to_pylist()) == set(products):
                return served.manifest.segments[1]  # all that the served delta says
    segments = [segment.info_sha256 for segment in served.manifest.segments]
    inputs = fingerprint("rebase", FORMAT_VERSION, base.info_sha256, segments, products)
    release = served.open()
    new_base = Segment(folder, verify=False)
    try:
        with (
            State(StateFiles(folder / STATE_FILE)) as state,
            State(served.state_files) as served_state,
            store.new_segment(inputs[:16]) as delta_folder,
        ):
            schema = merged_schema(served.schema, new_base.products.table.schema)
            attributes = attributes_of(served.schema)
            build = DeltaBuild(
                delta_folder, new_base, state, release, schema, attributes, _NEVER, config.thumbnail_side
            )
            for start in range(0, len(products), _BLOCK):
                rows = served_state.of_products(products[start : start + _BLOCK])
                build.add(_products_of(release, rows))
                build.delete(_deleted_of(rows))
            if build.is_empty:
                return None
            build.finish(inputs[:16], config.index, inputs)
        return store.reference(inputs[:16])
    finally:
        release.close()
        new_base.close()


def _newer_products(served: StateFiles, base: Path, newer: Newer, tombstones_since: datetime) -> list[str]:
    """Return the ids of the products of which the served state is newer than the new base's, and differs; sorted.

    Tombstones of products that the new base lacks are among them: an older event must not bring the products back.
    """
    with duckdb.connect() as connection, State(served) as state:
        connection.execute("SET TimeZone = 'UTC'")
        new = f"read_parquet({text_literal(str(base))})"
        condition = "true"
        if newer.read_at is not None:
            condition = (
                "s.applied_at > $read_at OR CASE WHEN n.product_id IS NULL THEN s.updated_at > (SELECT max(updated_at) "
                f"FROM {new}) ELSE s.updated_at > n.updated_at END"
            )
        # A product's pictures are told by their digests, in order: one that failed then and not now differs.
        columns = (
            "product_id, any_value(attributes) AS attributes, any_value(pictures) AS pictures, "
            "max(updated_at) AS updated_at, max(applied_at) AS applied_at, any_value(status = 'deleted') AS deleted, "
            "list(sha256 ORDER BY picture) AS digests"
        )
        connection.register("served", state.all_rows())
        statement = f"""
            SELECT product_id FROM (SELECT {columns} FROM served GROUP BY product_id) s
            LEFT JOIN (SELECT {columns} FROM {new} GROUP BY product_id) n USING (product_id)
            WHERE CASE WHEN n.product_id IS NULL AND s.deleted
                THEN s.updated_at IS NOT NULL AND s.applied_at >= $tombstones_since
                ELSE ({condition}) AND (n.product_id IS NULL OR s.deleted <> n.deleted OR NOT s.deleted AND (
                    s.attributes IS DISTINCT FROM n.attributes OR s.pictures IS DISTINCT FROM n.pictures
                    OR s.digests IS DISTINCT FROM n.digests)) END
            ORDER BY product_id"""
        parameters = {"tombstones_since": tombstones_since}
        if newer.read_at is not None:
            parameters["read_at"] = newer.read_at
        return [product_id for (product_id,) in connection.execute(statement, parameters).fetchall()]


def _products_of(release: Release, state: pa.Table) -> Iterator[ChangedProduct]:
    """Yield the products of a state, with their rows of the release."""
    base_rows = release.base.info.rows
    for product_id, group in groupby(state.to_pylist(), key=lambda row: row["product_id"]):
        pictures = list(group)
        if pictures[0]["status"] == DELETED:
            continue
        good = [picture for picture in pictures if picture["status"] == OK]
        numbers = [picture["row"] + (base_rows if picture["in_delta"] else 0) for picture in good]
        rows = release.rows.take(np.array(numbers, np.int64)) if good else []
        urls = {picture["picture"]: row["image_url"] for picture, row in zip(good, rows, strict=True)}
        row: dict[str, Any] = dict(rows[0]) if rows else {"product_id": product_id}
        row |= {
            "updated_at": pictures[0]["updated_at"],
            ATTRIBUTES_DIGEST: pictures[0]["attributes"],
            PICTURES_DIGEST: pictures[0]["pictures"],
            CHANGE_KIND: "pictures",
        }
        yield ChangedProduct(
            row,
            [
                ChangedPicture(
                    picture["picture"], urls.get(picture["picture"], ""), None, picture["status"],
                    -1 if picture["row"] is None else picture["row"], picture["in_delta"], picture["sha256"],
                    picture["source"],
                )
                for picture in pictures
            ],
            pictures[0]["applied_at"],
        )  # fmt: skip


def _deleted_of(state: pa.Table) -> pa.Table:
    """Return the tombstones of a state, as DeltaBuild.delete takes them."""
    deleted = state.filter(pa.array(np.asarray(state["status"]) == DELETED))
    return deleted.select(["product_id", "updated_at", "applied_at"])
