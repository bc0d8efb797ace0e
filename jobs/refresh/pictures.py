"""Downloads and embeds the pictures that a refresh needs and the release lacks, in a workspace of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.encoders.identity import EncoderIdentity
from artifacts.release.release import Release
from artifacts.schema import ATTRIBUTES_DIGEST, OK, catalog_schema, shard_of
from jobs.catalog.report import CatalogReport
from jobs.download.refetch import Refetch
from jobs.download.step import run_download
from jobs.embed.cache import VectorTable
from jobs.embed.step import run_embed
from jobs.parquet import read_parquet
from jobs.refresh.changed import ChangedProduct
from jobs.refresh.report import Obtained
from jobs.refresh.served import State
from jobs.steps import StepContext
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.records import write_record
from jobs.workspace.shards import ShardCounts, shard_name
from jobs.workspace.workspace import CATALOG_REPORT, Workspace


def obtain_pictures(
    context: StepContext,
    workspace: Workspace,
    source: str,
    base: str | None,
    products: Iterable[ChangedProduct],
    release: Release,
    state: State | None,
    identity: EncoderIdentity,
    *,
    again: bool = False,
) -> Obtained:
    """Download and embed the pictures that the release lacks. Nothing is started if there are none.

    Args:
        context: of the refresh.
        workspace: see `jobs.refresh.workspace.refresh_workspace`.
        source: display name of the catalog.
        base: folder or URL that relative pictures are resolved against.
        products: those with pictures to fetch.
        state: names the pictures whose vectors the release has; None embeds all that are fetched.
        again: fetch them although another refresh has fetched the same URLs. An earlier attempt of this one, which was
            overtaken, has done so.

    Raises:
        StepFailed: a shard failed.
    """
    written = _write_catalog(workspace, source, base, products)
    if not written:
        return Obtained()
    step = replace(context, workspace=workspace, in_process=workspace.shards == 1)
    downloaded = run_download(step, refetch=Refetch(all=again and not workspace.images.exists(0)))
    known = 0
    if state is not None:
        known = sum(_seed_vectors(workspace, shard, release, state, identity) for shard in range(workspace.shards))
    embedded = run_embed(step, reuse=state is not None)
    return Obtained(downloaded.report.done, embedded.report.done, known)


def _write_catalog(workspace: Workspace, source: str, base: str | None, products: Iterable[ChangedProduct]) -> int:
    """Write the pictures to fetch as catalog shards; returns their number."""
    shards: list[list[dict[str, Any]]] = [[] for _ in range(workspace.shards)]
    for product in products:
        wanted = {picture.number for picture in product.to_fetch}
        urls = [picture.url if picture.number in wanted else None for picture in product.pictures]
        row = {"product_id": product.product_id, "image_url": urls, "category": product.row["category"]}
        shards[shard_of(product.product_id, workspace.shards)].append({**row, ATTRIBUTES_DIGEST: 0})
    rows = sum(map(len, shards))
    schema = catalog_schema({})
    for shard, shard_rows in enumerate(shards):

        def write(path: Path, shard_rows: list[dict[str, Any]] = shard_rows) -> ShardCounts:
            pq.write_table(pa.Table.from_pylist(shard_rows, schema=schema), path)
            return ShardCounts(len(shard_rows), len(shard_rows))

        workspace.catalog.run(shard, fingerprint("refresh", shard_rows), write)
    report = CatalogReport(source, fingerprint("refresh", workspace.name), base, rows, rows, {}, {}, workspace.shards)
    write_record(workspace.catalog.folder, CATALOG_REPORT, report)
    return rows


def _seed_vectors(workspace: Workspace, shard: int, release: Release, state: State, identity: EncoderIdentity) -> int:
    """Write the vectors that the release has of a shard's pictures where the embed step finds them; returns how many.

    A picture is known by its bytes, so one that came under another URL, or belongs to another product, too, is not
    embedded again.
    """
    embeddings = workspace.embeddings(identity.slug)
    if embeddings.exists(shard):
        return 0  # an earlier attempt has been here
    with workspace.images.open(shard) as file:
        table = read_parquet(file, columns=["sha256", "status"])
    keys = sorted({key for key, status in zip(*table.to_pydict().values(), strict=True) if status == OK})
    halves = {bytes.fromhex(key)[:16]: key for key in keys}
    rows = state.rows_with_pictures(list(halves))
    if not rows:
        return 0
    numbers = [row + (release.base.info.rows if in_delta else 0) for row, in_delta in rows.values()]
    vectors = VectorTable(sorted(halves[half] for half in rows), identity.dim)
    vectors.put([halves[half] for half in rows], release.searcher.vectors.take(np.array(numbers, np.int64)))
    with embeddings.folder.writing(shard_name(shard)) as path:
        vectors.write(path)
    return len(rows)
