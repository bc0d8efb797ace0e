"""One shard of the download: which pictures it names, which of them are there already, and the writing of its file.

A picture is not fetched if an earlier result with its URL and stamp is still valid: one of the shard's own earlier
file, or one that a refresh has left in the workspace. Of the two, the one that was fetched later counts. A picture that
was fetched over HTTP more than `recheck_days` ago is asked for again, and is kept if it is the same.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import closing, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from artifacts.config import DownloadLimits
from artifacts.errors import CorruptFile, StepFailed
from artifacts.pictures import FORMATS, JPEG_QUALITY, MIN_SIDE
from artifacts.schema import OK, TRANSIENT_REASONS
from jobs.catalog.report import CatalogReport
from jobs.download.earlier import EarlierImages, open_refreshed
from jobs.download.images_file import ImagesWriter, Picture, Source
from jobs.download.local import CatalogFolder
from jobs.download.output import ShardOutput
from jobs.download.refetch import Refetch
from jobs.download.spool import Spool
from jobs.download.validators import Validators
from jobs.parquet import read_parquet
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.shards import ShardCounts, ShardFolder, ShardReport, shard_name
from jobs.workspace.workspace import Workspace

#: Which failures of an otherwise unchanged shard are tried again: those that may have passed, all, or none.
Retry = Literal["transient", "all", "none"]


class ShardDownload:
    """The pictures that one shard of the catalog names, and the earlier results that are still valid.

    Args:
        retry: which earlier failures are tried again.
        refetch: products whose pictures are fetched even if they are unchanged.
        newest: returns when refreshes have last fetched a picture; see `newest_fetches`.

    Raises:
        StepFailed: the catalog step has not been done.
    """

    def __init__(
        self,
        workspace: Workspace,
        catalog: CatalogReport,
        shard: int,
        limits: DownloadLimits,
        retry: Retry,
        refetch: Refetch,
        newest: Callable[[], Mapping[tuple[str, str], int]],
    ) -> None:
        if workspace.catalog.report(shard) is None:
            url = workspace.catalog.url
            raise StepFailed(f"{url}: shard {shard} has not been done; run the catalog step first")
        self._workspace, self._shard, self._limits = workspace, shard, limits
        self._retry, self._newest = retry, newest
        self._due_before = datetime.now(UTC) - timedelta(days=limits.recheck_days) if limits.recheck_days else None
        self._folder = CatalogFolder(catalog.base)
        self._rows = pictures_of(workspace.catalog, shard, self._folder)
        chosen = refetch.of_shard(workspace.catalog, shard)
        self._refetched = {row.source for row in self._rows if row.product_id in chosen}
        self._marks = _marks(limits, catalog.base)
        # Of the catalog only the pictures count: a new price must not rewrite the shard's pictures.
        self._fingerprint = fingerprint("download", self._marks, _described(self._rows))

    def unchanged(self) -> ShardReport | None:
        """Return the report of an earlier run, if there is nothing to do."""
        return self._workspace.images.unchanged(self._shard, self._fingerprint, self._again)

    def run(self) -> ShardReport:
        """Write the shard's file and report, unless there is nothing to do."""
        return self._workspace.images.run(self._shard, self._fingerprint, self._work, again=self._again)

    def _again(self, report: ShardReport) -> bool:
        """Tell whether a shard is worth another run although its fingerprint is the same."""
        failed = set(report.failed) if self._retry == "all" else set(report.failed) & TRANSIENT_REASONS
        oldest = report.oldest_fetched_at
        return (
            bool(self._refetched)
            or (self._retry != "none" and bool(failed))
            or (self._due_before is not None and oldest is not None and oldest < self._due_before)
            or self._refreshed_since()
        )

    def _refreshed_since(self) -> bool:
        """Tell whether a refresh has fetched one of the pictures later than this shard has."""
        newest = self._newest()
        if not newest or not any((row.product_id, row.url) in newest for row in self._rows):
            return False
        try:
            with closing(EarlierImages(self._workspace.images.folder, shard_name(self._shard))) as old:
                return bool(self._superseded(old))
        except (CorruptFile, FileNotFoundError):
            return True

    def _superseded(self, old: EarlierImages) -> dict[Source, int]:
        """Return the pictures that a refresh has fetched later than the earlier file has, and when."""
        newest = self._newest()
        times = ((row.source, newest.get((row.product_id, row.url), 0)) for row in self._rows if row.is_web)
        return {source: time for source, time in times if time > old.fetched_at(source)}

    def _work(self, path: Path) -> ShardCounts:
        try:
            return self._write(path, earlier=self._workspace.images.exists(self._shard))
        except CorruptFile:  # noticed while the earlier file was read; the new one is begun again without it
            return self._write(path, earlier=False)

    def _write(self, path: Path, *, earlier: bool) -> ShardCounts:
        name = shard_name(self._shard)
        opened = closing(EarlierImages(self._workspace.images.folder, name)) if earlier else nullcontext()
        with opened as old, ImagesWriter(path, self._marks) as writer, Spool() as spool:
            superseded = self._superseded(old) if old else {}
            valid = [self._is_valid(row.source, old) for row in self._rows]
            anew = self._refetched.union(superseded)
            due = self._due(old, valid, anew) if old else {}
            kept = [
                is_valid and row.source not in anew and row.source not in due
                for row, is_valid in zip(self._rows, valid, strict=True)
            ]
            replaced = {row.source for row, is_valid in zip(self._rows, valid, strict=True) if is_valid} & anew
            output = ShardOutput(self._rows, kept, old, due, replaced, writer, spool)
            self._take_from_refreshes(output, superseded, due)
            asyncio.run(output.fetch(self._limits, self._folder))
        return ShardCounts(
            rows=len(self._rows),
            ok=writer.statuses[OK],
            failed={status: count for status, count in writer.statuses.items() if status != OK},
            reused=output.reused,
            content=writer.content(),
            recheck_failed=output.recheck_failed,
            oldest_fetched_at=writer.oldest_fetched_at,
        )

    def _due(self, old: EarlierImages, valid: list[bool], anew: Collection[Source]) -> dict[Source, Validators]:
        """Return the pictures to ask for again, with their validators.

        If there are more than `recheck_batch`, they are drawn, so that those of a dead host do not hold back others.

        Args:
            valid: for each row, whether its result in `old` still holds.
            anew: pictures that are not kept anyway.
        """
        if self._due_before is None:
            return {}
        before = int(self._due_before.timestamp() * 1e6)
        candidates = {row.source for row, is_valid in zip(self._rows, valid, strict=True) if is_valid and row.is_web}
        due = sorted(
            source
            for source in candidates.difference(anew)
            if old.status(source) == OK and old.fetched_at(source) < before
        )
        batch = self._limits.recheck_batch
        return old.validators(due if len(due) <= batch else random.sample(due, batch))

    def _take_from_refreshes(
        self, output: ShardOutput, superseded: Mapping[Source, int], due: Collection[Source]
    ) -> None:
        """Take the pictures that refreshes have downloaded, the newest valid result of each."""
        missing = output.missing()
        wanted = {row.source for row in missing}.difference(self._refetched, due)
        products = sorted({row.product_id for row in missing if row.source in wanted})
        for images in open_refreshed(self._workspace, products):
            with suppress(CorruptFile, FileNotFoundError):  # what it does not give, others have, or it is fetched
                for source in images.sources():
                    is_newest = images.fetched_at(source) >= superseded.get(source, 0)
                    if source in wanted and is_newest and self._is_valid(source, images):
                        output.take(source, images.read(source))
                        wanted.remove(source)
            if not wanted:
                return

    def _is_valid(self, source: Source, old: EarlierImages | None) -> bool:
        """Tell whether the result that an earlier file has for a picture still holds."""
        if old is None or old.metadata.get("recipe") != self._marks["recipe"]:
            return False
        status = old.status(source)
        if status is None or (self._folder.depends(source[0]) and old.metadata.get("base") != self._marks["base"]):
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
        columns = read_parquet(file, columns=["product_id", "image_url"]).to_pydict()
    pairs = sorted(zip(columns["product_id"], columns["image_url"], strict=True), key=lambda pair: pair[0])
    return [
        Picture(product_id, picture, url, folder.stamp(url), folder.is_web(url))
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
