"""Step 2: catalog/shard-….parquet → images/shard-….parquet, one row for each picture that the catalog names.

A shard is done again when its pictures' URLs, a local file or a setting that matters changed, or when some of its
failures may have passed. Then only what is new or changed is fetched: every row whose URL is the same, and that went
well or failed for good, is carried over from the earlier file.

A picture behind an unchanged http URL counts as unchanged: name its product in `refetch` when a shop has replaced it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow.parquet as pq

from artifacts.errors import CorruptFile, StepFailed
from artifacts.pictures import FORMATS, JPEG_QUALITY, MIN_SIDE
from artifacts.schema import OK, TRANSIENT_REASONS
from artifacts.settings import Settings
from artifacts.storage import Folder
from jobs.download.fetch import fetch_all
from jobs.download.images_file import EarlierImages, ImagesWriter, Picture
from jobs.download.local import CatalogFolder
from jobs.download.spool import Spool
from jobs.workspace import ShardCounts, ShardReport, fingerprint, read_report, run_shard, shard_name

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: Which failures of an otherwise unchanged shard are tried again: those that may have passed, all, or none.
Retry = Literal["transient", "all", "none"]


def run_download(
    spark: SparkSession,
    workspace: Folder,
    settings: Settings,
    shards: Sequence[int] | None = None,
    on_report: Callable[[ShardReport], None] = lambda report: None,
    *,
    retry: Retry = "transient",
    refetch: frozenset[str] = frozenset(),
) -> list[ShardReport]:
    """Download the pictures of some shards, or of all, one Spark task each. See `download_shard`.

    Raises:
        StepFailed: a shard could not be done.
    """
    from jobs.spark.shards import everywhere, map_shards

    task = partial(
        download_shard, everywhere(workspace), shards=settings.shards, settings=settings, retry=retry, refetch=refetch
    )
    return map_shards(spark, range(settings.shards) if shards is None else shards, task, on_report)


def download_shard(
    workspace_url: str,
    shard: int,
    shards: int,
    settings: Settings,
    *,
    retry: Retry = "transient",
    refetch: frozenset[str] = frozenset(),
) -> ShardReport:
    """Download the pictures of one shard, unless they are there.

    Args:
        retry: which earlier failures are tried again.
        refetch: ids of products whose pictures are fetched whatever earlier runs found.

    Raises:
        StepFailed: the catalog step has not been done.
    """
    workspace = Folder(workspace_url)
    catalog, images = workspace / "catalog", workspace / "images"
    if not catalog.exists("report.json") or read_report(catalog, shard) is None:
        raise StepFailed(f"{catalog.url}: shard {shard} has not been done; run the catalog step first")
    folder = CatalogFolder(json.loads(catalog.read_text("report.json")).get("base"))
    rows = pictures_of(catalog, shard, folder)
    marks = _marks(settings, folder.base)
    # Of the catalog only what names pictures counts: a new price must not rewrite the shard's pictures.
    state = fingerprint("download", marks, [(row.product_id, row.url, row.stamp) for row in rows])
    wanted = any(row.product_id in refetch for row in rows)

    def again(report: ShardReport) -> bool:
        worth = set(report.failed) if retry == "all" else set(report.failed) & TRANSIENT_REASONS
        return wanted or (retry != "none" and bool(worth))

    def write(path: Path, name: str | None) -> tuple[ImagesWriter, int]:
        with (
            closing(EarlierImages(images, name)) if name else nullcontext() as old,
            ImagesWriter(path, marks) as writer,
        ):
            kept = [row.product_id not in refetch and _holds(row, folder, old, marks, retry) for row in rows]
            return writer, asyncio.run(_write(rows, kept, old, writer, settings, folder))

    def work(path: Path) -> ShardCounts:
        name = shard_name(shard)
        try:
            writer, reused = write(path, name if images.exists(name) else None)
        except CorruptFile:  # found while it was read; the new file is begun again without it
            writer, reused = write(path, None)
        failed = {status: count for status, count in writer.statuses.items() if status != OK}
        return ShardCounts(rows=len(rows), ok=writer.statuses[OK], failed=failed, reused=reused)

    return run_shard(images, "download", shard, shards, state, work, again=again)


def pictures_of(catalog: Folder, shard: int, folder: CatalogFolder) -> list[Picture]:
    """Every picture that a catalog shard names, sorted by (product_id, picture), with the stamps of local files."""
    with catalog.open(shard_name(shard)) as file:
        columns = pq.read_table(file, columns=["product_id", "image_url"]).to_pydict()
    pairs = sorted(zip(columns["product_id"], columns["image_url"], strict=True), key=lambda pair: pair[0])
    return [
        Picture(product_id, picture, url or "", folder.stamp(url or ""))
        for product_id, urls in pairs
        for picture, url in enumerate(urls or ())
    ]


async def _write(
    rows: list[Picture],
    kept: list[bool],
    old: EarlierImages | None,
    writer: ImagesWriter,
    settings: Settings,
    folder: CatalogFolder,
) -> int:
    """Write all rows in order, fetching those that are not kept; returns how many good ones were kept."""
    wanted: dict[str, list[int]] = {}  # one request for a URL, however many rows name it
    for position, row in enumerate(rows):
        if not kept[position]:
            wanted.setdefault(row.url, []).append(position)
    reused = next_row = 0
    with Spool() as spool:

        def write_ready() -> None:
            nonlocal reused, next_row
            while next_row < len(rows):
                row = rows[next_row]
                if kept[next_row] and old is not None:
                    fetched = old.read(row.url, row.stamp)
                    reused += fetched.status == OK
                else:
                    fetched = spool.pop(next_row)
                    if fetched is None:
                        return
                writer.add(row, fetched)
                next_row += 1

        async for url, fetched in fetch_all(((url, url) for url in wanted), settings.pipeline.download, folder):
            spool.put(wanted[url], fetched)
            write_ready()
        write_ready()
    return reused


def _marks(settings: Settings, base: str | None) -> dict[str, str]:
    """What an images file remembers of its making, as the Parquet file's metadata."""
    return {
        # a change here makes other JPEGs, so nothing holds
        "recipe": fingerprint(settings.picture_side, JPEG_QUALITY),
        # a change here may turn failures into pictures; what was taken stays
        "limits": fingerprint(
            settings.max_pixels, settings.max_picture_bytes, settings.allow_private_addresses, settings.user_agent,
            MIN_SIDE, FORMATS,
        ),
        # relative paths start here
        "base": base or "",
    }  # fmt: skip


def _holds(row: Picture, folder: CatalogFolder, old: EarlierImages | None, marks: dict[str, str], retry: Retry) -> bool:
    """Whether the earlier result of a picture is still true."""
    if old is None or old.metadata.get("recipe") != marks["recipe"]:
        return False
    status = old.status(row.url, row.stamp)
    if status is None or (folder.depends(row.url) and old.metadata.get("base") != marks["base"]):
        return False
    if status == OK:
        return True
    tried_again = retry == "all" or (retry == "transient" and status in TRANSIENT_REASONS)
    return not tried_again and old.metadata.get("limits") == marks["limits"]
