"""Rebasing: carries changes of the served release over to a new base that was made without them.

A build takes hours and a compaction minutes, and refreshes go on meanwhile. What they have published is not lost when
the new base is: it becomes the delta of the new base. Nothing is downloaded or embedded, unless the new base has
another encoder: then the pictures that the base lacks are embedded with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from artifacts.encoders.identity import encoder_identity
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
    STATE,
    attributes_of,
)
from artifacts.store.manifest import SegmentRef
from jobs.catalog.compare.state import StateFiles
from jobs.rebase.reencode import embed_missing, with_rows_of
from jobs.refresh.changed import ChangedPicture, ChangedProduct, in_shard
from jobs.refresh.delta import DeltaBuild
from jobs.refresh.obtained import ObtainedShard
from jobs.refresh.served import Served, State
from jobs.steps import StepContext
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.workspace import Workspace

# ruff: noqa: S608 — the SQL is built from constants and text_literal(), never from a catalog's values.

#: Products that are read at once.
_BLOCK = 20_000

#: No row is written with it: each carries the time at which its change was applied.
_NEVER = datetime(1, 1, 1, tzinfo=UTC)


def rebase(context: StepContext, served: Served, base: Served, *, read_at: datetime | None) -> SegmentRef | None:
    """Write the delta that a new base needs to say what the served release says; returns None if it needs none.

    Args:
        base: the new base alone, with a state of the catalog; of the encoder of the context's configuration.
        read_at: when the new base's catalog was read. Of two rows with an updated_at the later one is newer; else, what
            was applied after the catalog was read. A product that the catalog lacks is newer if either is so, by the
            latest updated_at of all rows. None carries over every product that differs, and removes those that only the
            new base has.

    Raises:
        StepFailed: pictures could not be embedded with the encoder of the new base.
    """
    store, config = context.store, context.config
    (new,) = base.manifest.segments
    if served.manifest.segments[0] == new and read_at is None:
        return served.delta
    tombstones_since = datetime.now(UTC) - timedelta(days=config.tombstone_days)
    products, gone = _newer_products(served.state_files, base.state_files, read_at, tombstones_since)
    if not products and not gone:
        return None
    if served.manifest.segments[0] == new and served.delta is not None:
        with State(served.state_files) as state:
            if set(state.delta()["product_id"].to_pylist()) == set(products):
                return served.delta  # all that the served delta says
    segments = [segment.info_sha256 for segment in served.manifest.segments]
    inputs = fingerprint("rebase", FORMAT_VERSION, new.info_sha256, segments, products, gone)
    with ExitStack() as stack:
        release, new_base = (stack.enter_context(closing(version.open())) for version in (served, base))
        state, served_state = (stack.enter_context(State(version.state_files)) for version in (base, served))

        def carried() -> Iterator[ChangedProduct]:
            for start in range(0, len(products), _BLOCK):
                yield from _products_of(release, served_state.of_products(products[start : start + _BLOCK]))

        def reencoded() -> Iterator[ChangedProduct]:
            return with_rows_of(state, carried())

        same_encoder = served.manifest.encoder["id"] == base.manifest.encoder["id"]
        identity = encoder_identity(config.encoder.encoder, config.encoder.device, config.cache)
        pictures: Workspace | None = None
        if not same_encoder:
            missing = embed_missing(context, inputs[:16], reencoded(), new_base, state, identity)
            pictures = stack.enter_context(missing)
        folder = stack.enter_context(store.new_segment(inputs[:16]))
        build = DeltaBuild(
            folder, new_base.base, state, release if same_encoder else new_base,
            merged_schema(served.schema, base.schema), attributes_of(served.schema), _NEVER, config.thumbnail_side,
        )  # fmt: skip
        if pictures is None:
            build.add(carried())
        else:
            for shard in range(pictures.shards):
                with ObtainedShard(pictures, shard, identity) as obtained:
                    build.add(
                        (each for each in reencoded() if in_shard(each.product_id, shard, pictures.shards)), obtained
                    )
        for start in range(0, len(products), _BLOCK):
            build.delete(_deleted_of(served_state.of_products(products[start : start + _BLOCK])))
        build.delete(_tombstones(gone))
        if build.is_empty:
            return None
        build.finish(inputs[:16], inputs)
    return store.reference(inputs[:16])


def _newer_products(
    served: StateFiles, base: StateFiles, read_at: datetime | None, tombstones_since: datetime
) -> tuple[list[str], list[str]]:
    """Return the ids of the products of which the served state is newer than the new base's, and differs; sorted.

    Tombstones of products that the new base lacks are among them: an older event must not bring the products back.

    Returns:
        Ids of the products, and of those to remove because the served release does not know them.
    """
    with duckdb.connect() as connection, State(served) as state:
        connection.execute("SET TimeZone = 'UTC'")
        new = f"read_parquet({text_literal(str(base.base))})"
        condition = "true"
        if read_at is not None:
            condition = f"""CASE
                WHEN n.product_id IS NULL
                    THEN s.applied_at > $read_at OR s.updated_at > (SELECT max(updated_at) FROM {new})
                WHEN s.updated_at <> n.updated_at THEN s.updated_at > n.updated_at
                ELSE s.applied_at > $read_at END"""
        # A product's pictures are told by their digests, in order: one that failed then and not now differs.
        columns = (
            "product_id, any_value(attributes) AS attributes, any_value(pictures) AS pictures, "
            "max(updated_at) AS updated_at, max(applied_at) AS applied_at, any_value(status = 'deleted') AS deleted, "
            "list(sha256 ORDER BY picture) AS digests"
        )
        connection.register("served", state.all_rows())
        statement = f"""
            SELECT coalesce(s.product_id, n.product_id) AS product_id, s.product_id IS NULL AS gone
            FROM (SELECT {columns} FROM served GROUP BY product_id) s
            {"LEFT" if read_at else "FULL"} JOIN (SELECT {columns} FROM {new} GROUP BY product_id) n
                ON s.product_id = n.product_id
            WHERE CASE WHEN s.product_id IS NULL THEN NOT n.deleted
                WHEN n.product_id IS NULL AND s.deleted
                    THEN s.updated_at IS NOT NULL AND s.applied_at >= $tombstones_since
                ELSE ({condition}) AND (n.product_id IS NULL OR s.deleted <> n.deleted OR NOT s.deleted AND (
                    s.attributes IS DISTINCT FROM n.attributes OR s.pictures IS DISTINCT FROM n.pictures
                    OR s.digests IS DISTINCT FROM n.digests)) END
            ORDER BY product_id"""
        parameters = {"tombstones_since": tombstones_since}
        if read_at is not None:
            parameters["read_at"] = read_at
        rows = connection.execute(statement, parameters).fetchall()
    return [product_id for product_id, gone in rows if not gone], [product_id for product_id, gone in rows if gone]


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


def _tombstones(product_ids: list[str]) -> pa.Table:
    """Return new tombstones, as DeltaBuild.delete takes them."""
    names = ["product_id", "updated_at", "applied_at"]
    rows = [{"product_id": product_id, "applied_at": datetime.now(UTC)} for product_id in product_ids]
    return pa.Table.from_pylist(rows, schema=pa.schema([STATE.field(name) for name in names]))
