"""Holds fetched pictures until it is their turn to be written, in memory and beyond a limit on disk.

Pictures arrive in any order and the images file is sorted, so results wait for those before them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import dataclass, replace

from jobs.download.fetch import Fetched

#: Bytes of JPEG that wait in memory; further ones wait on disk.
SPOOL_BYTES = 64_000_000


@dataclass(slots=True)
class _Entry:
    """A result that waits."""

    fetched: Fetched  # without its JPEG if that is on disk
    size: int  # bytes of the JPEG
    pending_rows: int  # rows that still need it
    offset: int | None = None  # of the JPEG in the file; None while it is in memory


class Spool:
    """Maps the positions of rows to their results; JPEGs beyond SPOOL_BYTES are kept in a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="lookalike-")  # noqa: SIM115
        self._entries: dict[int, _Entry] = {}
        self._entries_on_disk = 0
        self._memory_bytes = 0
        self._disk_bytes = 0

    @property
    def memory_bytes(self) -> int:
        """Bytes of JPEG that wait in memory."""
        return self._memory_bytes

    @property
    def disk_bytes(self) -> int:
        """Bytes of the file that are in use; they are freed when no result on disk is needed any more."""
        return self._disk_bytes

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, positions: Collection[int], fetched: Fetched) -> None:
        """Keep one result for all the rows that name its URL."""
        jpeg = fetched.jpeg or b""
        entry = _Entry(fetched, len(jpeg), len(positions))
        if self._memory_bytes + entry.size > SPOOL_BYTES:
            self._file.seek(self._disk_bytes)
            self._file.write(jpeg)
            entry.fetched, entry.offset = replace(fetched, jpeg=None), self._disk_bytes
            self._disk_bytes += entry.size
            self._entries_on_disk += 1
        else:
            self._memory_bytes += entry.size
        self._entries.update(dict.fromkeys(positions, entry))

    def pop(self, position: int) -> Fetched | None:
        """Remove and return the result for a row's position; None if it has not been put yet."""
        entry = self._entries.pop(position, None)
        if entry is None:
            return None
        entry.pending_rows -= 1
        is_last = entry.pending_rows == 0
        if entry.offset is None:
            self._memory_bytes -= entry.size if is_last else 0
            return entry.fetched
        self._file.seek(entry.offset)
        fetched = replace(entry.fetched, jpeg=self._file.read(entry.size) or None)
        self._entries_on_disk -= 1 if is_last else 0
        if not self._entries_on_disk:
            self._disk_bytes = 0
        return fetched
