"""The images shards of several refreshes as one: of each picture the newest result that is of use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import CorruptFile
from artifacts.schema import OK, TRANSIENT_REASONS, shard_of
from jobs.catalog.local_pictures import depends_on_folder
from jobs.download.fetch import Fetched
from jobs.download.images_file import FETCHED_COLUMNS, ImagesWriter, Picture
from jobs.parquet import corruption_guard
from jobs.workspace.shards import ShardCounts
from jobs.workspace.workspace import Workspace

#: What decides which rows of an images file are valid, see `EarlierImages.metadata`; sorted.
Marks = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ImagesFile:
    """An images shard of a refresh.

    Attributes:
        rows: how many there are.
        marks: files of one merge have the same.
    """

    refresh: Workspace
    shard: int
    rows: int
    marks: Marks

    @property
    def path(self) -> str:
        """For messages."""
        return self.refresh.images.path(self.shard)

    @contextmanager
    def open(self) -> Iterator[pq.ParquetFile]:
        """Yield the file.

        Raises:
            CorruptFile: it is damaged, or what the block reads of it.
            FileNotFoundError: it is gone.
        """
        with self.refresh.images.open(self.shard) as stream, corruption_guard(self.path):
            yield pq.ParquetFile(stream, page_checksum_verification=True)


def images_files(refresh: Workspace) -> list[ImagesFile]:
    """Return the images shards of a refresh; those without rows and damaged ones are left out.

    Raises:
        FileNotFoundError: another process removes the refresh.
    """
    found: list[ImagesFile] = []
    for shard in filter(refresh.images.exists, range(refresh.shards)):
        file = ImagesFile(refresh, shard, 0, ())
        try:
            with file.open() as parquet:
                if parquet.metadata.num_rows:
                    found.append(ImagesFile(refresh, shard, parquet.metadata.num_rows, _marks(parquet)))
        except CorruptFile:
            continue
    return found


def _marks(parquet: pq.ParquetFile) -> Marks:
    marks = {key.decode(): value.decode() for key, value in (parquet.schema_arrow.metadata or {}).items()}
    if not any(map(depends_on_folder, parquet.read(["url"])["url"].to_pylist())):
        marks["base"] = ""  # no picture is resolved against it: that of a change file is often a folder of its own
    return tuple(sorted(marks.items()))


class _Row(NamedTuple):
    """One row of a file, as far as it decides which of several results of a picture is of use."""

    file: int
    group: int  # row group
    position: int  # in the row group
    passing: bool  # whether it is a failure that may pass
    fetched_at: datetime | None

    def replaces(self, earlier: _Row) -> bool:
        """Return whether a build that finds both, each in a refresh of its own, takes this one."""
        if self.passing != earlier.passing:
            return earlier.passing
        if self.fetched_at is not None and earlier.fetched_at is not None:
            return self.fetched_at >= earlier.fetched_at
        return True


def write_merged(files: Sequence[ImagesFile], shard: int, shards: int, path: Path) -> ShardCounts:
    """Write one shard of a merge; damaged files are left out. One row group of one file is in memory at a time.

    Args:
        files: those of the oldest refresh first; all with the same marks. The rows are written in their order.
        shards: of the merge.
        path: the Parquet file to write.

    Raises:
        FileNotFoundError: a file is gone.
    """
    remaining = list(files)
    while True:
        try:
            return _write(path, remaining, shard, shards)
        except CorruptFile as error:  # noticed while it was read: begun again without it
            remaining = [file for file in remaining if file.path != error.path]


def _write(path: Path, files: Sequence[ImagesFile], shard: int, shards: int) -> ShardCounts:
    rows = sorted(_choose(files, shard, shards))
    with ImagesWriter(path, dict(files[0].marks) if files else {}) as writer:
        for number, of_file in groupby(rows, key=lambda row: row.file):
            with files[number].open() as parquet:
                for group, of_group in groupby(of_file, key=lambda row: row.group):
                    table = parquet.read_row_group(group).take(pa.array([row.position for row in of_group]))
                    _copy(table, writer)
    failed = {status: count for status, count in writer.statuses.items() if status != OK}
    return ShardCounts(writer.statuses.total(), writer.statuses[OK], failed, content=writer.content())


def _choose(files: Sequence[ImagesFile], shard: int, shards: int) -> list[_Row]:
    """Return the rows of a shard that are kept: one for each picture of a product."""
    chosen: dict[tuple[str, str, str | None], _Row] = {}
    for number, file in enumerate(files):
        with file.open() as parquet:
            for group in range(parquet.num_row_groups):
                columns = parquet.read_row_group(group, ["product_id", "url", "stamp", "status", "fetched_at"])
                for position, values in enumerate(columns.to_pylist()):
                    if shards > 1 and shard_of(values["product_id"], shards) != shard:
                        continue
                    key = values["product_id"], values["url"], values["stamp"]
                    row = _Row(number, group, position, values["status"] in TRANSIENT_REASONS, values["fetched_at"])
                    if key not in chosen or row.replaces(chosen[key]):
                        chosen[key] = row
    return list(chosen.values())


def _copy(table: pa.Table, writer: ImagesWriter) -> None:
    for row in table.to_pylist():
        picture = Picture(row["product_id"], row["picture"], row["url"], row["stamp"])
        writer.add(picture, Fetched(**{name: row[name] for name in FETCHED_COLUMNS}))
