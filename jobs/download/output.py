"""The rows of a shard while they are written: in order, while their pictures arrive in any order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from artifacts.config import DownloadLimits
from artifacts.schema import OK, TRANSIENT_REASONS
from jobs.download.earlier import EarlierImages
from jobs.download.fetch import NOT_MODIFIED, Fetched, fetch_all
from jobs.download.images_file import ImagesWriter, Picture, Source
from jobs.download.local import CatalogFolder
from jobs.download.spool import Spool
from jobs.download.validators import Validators


class ShardOutput:
    """Writes the rows of a shard: those kept from its earlier file, those taken from elsewhere, and those fetched.

    Args:
        rows: in the order of the file.
        kept: for each row, whether its result in `old` is written as it is.
        old: the shard's earlier file; None if there is none.
        rechecked: pictures of `old` that are asked for again, with their validators. They are kept unless the server
            sends another picture.
        refetched: pictures of `old` that are fetched anew. A good one is kept if the failure to do so may pass.
        writer: of the new file.
        spool: holds results until it is their turn.

    Attributes:
        reused: good rows that were written as they were before.
        recheck_failed: of these, rows whose picture was to be fetched or asked for, and could not be.
    """

    def __init__(
        self,
        rows: Sequence[Picture],
        kept: Sequence[bool],
        old: EarlierImages | None,
        rechecked: Mapping[Source, Validators],
        refetched: Collection[Source],
        writer: ImagesWriter,
        spool: Spool,
    ) -> None:
        self.reused = self.recheck_failed = 0
        self._rows, self._kept, self._old = rows, kept, old
        self._rechecked, self._refetched = rechecked, refetched
        self._writer, self._spool = writer, spool
        self._next_row = 0
        self._taken: set[Source] = set()
        self._missing: dict[Source, list[int]] = {}  # one request for a picture, however many rows name it
        for position, row in enumerate(rows):
            if not kept[position]:
                self._missing.setdefault(row.source, []).append(position)

    def missing(self) -> list[Picture]:
        """Return the rows that have no result yet."""
        return [self._rows[position] for positions in self._missing.values() for position in positions]

    def take(self, source: Source, fetched: Fetched) -> None:
        """Use a result for all rows of a picture that have none."""
        self._spool.put(self._missing.pop(source), fetched)
        self._taken.add(source)

    async def fetch(self, limits: DownloadLimits, folder: CatalogFolder) -> None:
        """Fetch what is missing, and write all rows."""
        requests = ((source, source[0]) for source in self._missing)
        async for source, fetched in fetch_all(requests, limits, folder, validators=self._rechecked):
            self._spool.put(self._missing[source], fetched)
            self._write_ready()
        self._write_ready()

    def _write_ready(self) -> None:
        """Write the rows up to the first whose result has not arrived."""
        while self._next_row < len(self._rows):
            row = self._rows[self._next_row]
            if self._kept[self._next_row] and self._old is not None:
                fetched, reused = self._old.read(row.source), True
            else:
                fetched = self._spool.pop(self._next_row)
                if fetched is None:
                    return
                fetched, reused = self._compared(row.source, fetched)
            self.reused += reused and fetched.status == OK
            self._writer.add(row, fetched)
            self._next_row += 1

    def _compared(self, source: Source, fetched: Fetched) -> tuple[Fetched, bool]:
        """Return what to write after a picture has arrived, and whether it is what was there before."""
        taken = source in self._taken
        if self._old is None or taken or (source not in self._rechecked and source not in self._refetched):
            return fetched, taken
        if source in self._rechecked and (confirmed := _confirmed(self._old.read(source), fetched)):
            return confirmed, True
        may_pass = source in self._rechecked or fetched.status in TRANSIENT_REASONS
        if fetched.status == OK or not may_pass or self._old.status(source) != OK:
            return fetched, False
        self.recheck_failed += 1
        return self._old.read(source), True


def _confirmed(earlier: Fetched, fetched: Fetched) -> Fetched | None:
    """Return an earlier picture as of now, if the server still has the same; else None."""
    if fetched.status == NOT_MODIFIED:
        fetched = replace(
            fetched,
            etag=fetched.etag or earlier.etag,
            last_modified=fetched.last_modified or earlier.last_modified,
        )
    elif fetched.status != OK or fetched.source_sha256 != earlier.source_sha256:
        return None
    return replace(earlier, etag=fetched.etag, last_modified=fetched.last_modified, fetched_at=fetched.fetched_at)
