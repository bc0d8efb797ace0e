"""The rows of a shard while they are written: in order, while their pictures arrive in any order."""

from __future__ import annotations

from collections.abc import Sequence

from artifacts.config import DownloadLimits
from artifacts.schema import OK
from jobs.download.fetch import Fetched, fetch_all
from jobs.download.images_file import EarlierImages, ImagesWriter, Picture, Source
from jobs.download.local import CatalogFolder
from jobs.download.spool import Spool


class ShardOutput:
    """Writes the rows of a shard: those kept from its earlier file, those taken from elsewhere, and those fetched.

    Args:
        rows: in the order of the file.
        kept: for each row, whether its result in `old` still holds.
        old: the shard's earlier file; None if there is none, and nothing is kept.
        writer: of the new file.
        spool: holds results until it is their turn.

    Attributes:
        reused: good rows that were written and not fetched.
    """

    def __init__(
        self,
        rows: Sequence[Picture],
        kept: Sequence[bool],
        old: EarlierImages | None,
        writer: ImagesWriter,
        spool: Spool,
    ) -> None:
        self.reused = 0
        self._rows, self._kept, self._old, self._writer, self._spool = rows, kept, old, writer, spool
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
        """Use an earlier result for all rows of a picture that have none."""
        self._spool.put(self._missing.pop(source), fetched)
        self._taken.add(source)

    async def fetch(self, limits: DownloadLimits, folder: CatalogFolder) -> None:
        """Fetch what is missing, and write all rows."""
        requests = ((source, source[0]) for source in self._missing)
        async for source, fetched in fetch_all(requests, limits, folder):
            self._spool.put(self._missing[source], fetched)
            self._write_ready()
        self._write_ready()

    def _write_ready(self) -> None:
        """Write the rows up to the first whose result has not arrived."""
        while self._next_row < len(self._rows):
            row = self._rows[self._next_row]
            if self._kept[self._next_row] and self._old is not None:
                fetched = self._old.read(row.source)
                reused = True
            else:
                fetched = self._spool.pop(self._next_row)
                reused = row.source in self._taken
            if fetched is None:
                return
            self.reused += reused and fetched.status == OK
            self._writer.add(row, fetched)
            self._next_row += 1
