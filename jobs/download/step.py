"""Step 2: catalog/shard-….parquet → images/shard-….parquet, one row for each picture that the catalog names.

A shard is done again when its pictures' URLs, a local file or a setting that matters changed, or when some of its
failures may have passed. Then only new and changed pictures are fetched: every row whose URL is the same, and that
succeeded or failed for good, is carried over from the earlier file.

A picture behind an unchanged http URL counts as unchanged: name its product in `refetch` when a shop has replaced it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from artifacts.config import DownloadLimits
from artifacts.errors import CorruptFile, StepFailed
from artifacts.pictures import FORMATS, JPEG_QUALITY, MIN_SIDE
from artifacts.schema import OK, TRANSIENT_REASONS
from jobs.catalog.report import CatalogReport, read_catalog_report
from jobs.download.fetch import fetch_all
from jobs.download.images_file import EarlierImages, ImagesWriter, Picture
from jobs.download.local import CatalogFolder
from jobs.download.spool import Spool
from jobs.steps import ShardPlan, StepContext, StepResult, run_plan, split_shards
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.shards import ShardCounts, ShardFolder, ShardReport, ShardTotals, shard_name
from jobs.workspace.workspace import Workspace

#: Which failures of an otherwise unchanged shard are tried again: those that may have passed, all, or none.
Retry = Literal["transient", "all", "none"]

#: Products up to which the driver compares all shards by itself; in a larger catalog, tasks compare them side by side.
#: Comparing takes 5 s of a core for a million URLs, 25 s for a million local files; starting Spark takes about 7 s.
COMPARED_BY_DRIVER = 300_000


def run_download(
    context: StepContext,
    shards: Sequence[int] | None = None,
    *,
    retry: Retry = "transient",
    refetch: frozenset[str] = frozenset(),
) -> StepResult[ShardTotals]:
    """Download the pictures of some shards, or of all; see `download_shard` and `run_plan`.

    Raises:
        StepFailed: the catalog step has not been done, or a shard failed.
    """
    totals = run_plan(context, plan_download(context, shards, retry=retry, refetch=refetch))
    return StepResult(totals.changed, totals.note("pictures", "fetched"), totals)


def plan_download(
    context: StepContext,
    shards: Sequence[int] | None = None,
    *,
    retry: Retry = "transient",
    refetch: frozenset[str] = frozenset(),
) -> ShardPlan:
    """Find the shards that have pictures to fetch.

    Raises:
        StepFailed: the catalog step has not been done.
    """
    workspace, limits = context.workspace, context.config.download
    catalog = read_catalog_report(workspace)

    def unchanged(shard: int) -> ShardReport | None:
        if catalog.ok > COMPARED_BY_DRIVER:
            return None
        return _Shard(workspace, catalog, shard, limits, retry, refetch).unchanged()

    done, changed = split_shards(range(workspace.shards) if shards is None else shards, unchanged)
    task = partial(download_shard, workspace, limits=limits, retry=retry, refetch=refetch)
    return ShardPlan(done, changed, lambda threads: task)


def download_shard(
    workspace: Workspace,
    shard: int,
    limits: DownloadLimits,
    *,
    retry: Retry = "transient",
    refetch: frozenset[str] = frozenset(),
) -> ShardReport:
    """Download the pictures of one shard, unless they are there.

    Args:
        retry: which earlier failures are tried again.
        refetch: ids of products whose pictures are fetched even if they are unchanged.

    Raises:
        StepFailed: the catalog step has not been done.
    """
    return _Shard(workspace, read_catalog_report(workspace), shard, limits, retry, refetch).run()


class _Shard:
    """The pictures that one shard of the catalog names, and those of its earlier file that are still valid."""

    def __init__(
        self,
        workspace: Workspace,
        catalog: CatalogReport,
        shard: int,
        limits: DownloadLimits,
        retry: Retry,
        refetch: frozenset[str],
    ) -> None:
        if workspace.catalog.report(shard) is None:
            url = workspace.catalog.url
            raise StepFailed(f"{url}: shard {shard} has not been done; run the catalog step first")
        self._images, self._shard, self._limits = workspace.images, shard, limits
        self._retry, self._refetch = retry, refetch
        self._folder = CatalogFolder(catalog.base)
        self._rows = pictures_of(workspace.catalog, shard, self._folder)
        self._marks = _marks(limits, catalog.base)
        # Of the catalog only the pictures count: a new price must not rewrite the shard's pictures.
        self._fingerprint = fingerprint("download", self._marks, _described(self._rows))

    def unchanged(self) -> ShardReport | None:
        """Return the report of an earlier run, if there is nothing to do."""
        return self._images.unchanged(self._shard, self._fingerprint, self._again)

    def run(self) -> ShardReport:
        return self._images.run(self._shard, self._fingerprint, self._work, again=self._again)

    def _again(self, report: ShardReport) -> bool:
        """Tell whether a shard is worth another try although nothing has changed."""
        failed = set(report.failed) if self._retry == "all" else set(report.failed) & TRANSIENT_REASONS
        return (self._retry != "none" and bool(failed)) or any(row.product_id in self._refetch for row in self._rows)

    def _work(self, path: Path) -> ShardCounts:
        try:
            writer, reused = self._write(path, earlier=self._images.exists(self._shard))
        except CorruptFile:  # noticed while the earlier file was read; the new one is begun again without it
            writer, reused = self._write(path, earlier=False)
        failed = {status: count for status, count in writer.statuses.items() if status != OK}
        return ShardCounts(rows=len(self._rows), ok=writer.statuses[OK], failed=failed, reused=reused)

    def _write(self, path: Path, *, earlier: bool) -> tuple[ImagesWriter, int]:
        opened = closing(EarlierImages(self._images.folder, shard_name(self._shard))) if earlier else nullcontext()
        with opened as old, ImagesWriter(path, self._marks) as writer:
            kept = [row.product_id not in self._refetch and self._is_valid(row, old) for row in self._rows]
            return writer, asyncio.run(_write(self._rows, kept, old, writer, self._limits, self._folder))

    def _is_valid(self, row: Picture, old: EarlierImages | None) -> bool:
        """Tell whether the earlier result of a picture still holds."""
        if old is None or old.metadata.get("recipe") != self._marks["recipe"]:
            return False
        status = old.status(row.url, row.stamp)
        if status is None or (self._folder.depends(row.url) and old.metadata.get("base") != self._marks["base"]):
            return False
        if status == OK:
            return True
        tried_again = self._retry == "all" or (self._retry == "transient" and status in TRANSIENT_REASONS)
        return not tried_again and old.metadata.get("limits") == self._marks["limits"]


def pictures_of(catalog: ShardFolder, shard: int, folder: CatalogFolder) -> list[Picture]:
    """Return every picture that a catalog shard names, sorted by (product_id, picture), with the stamps of local files.

    An entry of `image_url` that is null is left out, and the pictures after it keep their numbers: a refresh writes
    null for a picture that needs no download.
    """
    with catalog.open(shard) as file:
        columns = pq.read_table(file, columns=["product_id", "image_url"]).to_pydict()
    pairs = sorted(zip(columns["product_id"], columns["image_url"], strict=True), key=lambda pair: pair[0])
    return [
        Picture(product_id, picture, url, folder.stamp(url))
        for product_id, urls in pairs
        for picture, url in enumerate(urls or ())
        if url is not None
    ]


def _described(rows: list[Picture]) -> list[tuple[object, ...]]:
    """Return (product_id, URL, stamp) of each picture for the fingerprint.

    The number of a picture follows from the order, and is added only where pictures before it are left out.
    """
    parts: list[tuple[object, ...]] = []
    next_numbers: Counter[str] = Counter()
    for row in rows:
        is_next = row.picture == next_numbers[row.product_id]
        parts.append((row.product_id, row.url, row.stamp, *(() if is_next else (row.picture,))))
        next_numbers[row.product_id] = row.picture + 1
    return parts


async def _write(
    rows: list[Picture],
    kept: list[bool],
    old: EarlierImages | None,
    writer: ImagesWriter,
    limits: DownloadLimits,
    folder: CatalogFolder,
) -> int:
    """Write all rows in order, fetching those that are not kept; returns how many good ones were kept."""
    positions: dict[str, list[int]] = {}  # one request for a URL, however many rows name it
    for position, row in enumerate(rows):
        if not kept[position]:
            positions.setdefault(row.url, []).append(position)
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

        async for url, fetched in fetch_all(((url, url) for url in positions), limits, folder):
            spool.put(positions[url], fetched)
            write_ready()
        write_ready()
    return reused


def _marks(limits: DownloadLimits, base: str | None) -> dict[str, str]:
    """Return what an images file was made with, as the Parquet file's metadata."""
    return {
        # a change here makes other JPEGs: no earlier result is valid
        "recipe": fingerprint(limits.picture_side, JPEG_QUALITY),
        # a change here may turn failures into pictures; good pictures stay valid
        "limits": fingerprint(
            limits.max_pixels, limits.max_picture_bytes, limits.allow_private_addresses, limits.user_agent,
            MIN_SIDE, FORMATS,
        ),
        # relative paths are resolved against this
        "base": base or "",
    }  # fmt: skip
