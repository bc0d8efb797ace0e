"""TODO."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import dataclass, replace

from jobs.download.fetch import Fetched

SPOOL_BYTES = 64_000_000  # of JPEG that may wait in memory; what comes on top waits on disk


@dataclass(slots=True)
class _Waiting:
    fetched: Fetched  # without its JPEG where that is on disk
    size: int  # bytes of the JPEG
    rows: int  # that still need it
    start: int | None = None  # in the file; None while it is in memory


class Spool:
    """Results that wait for their turn, by position; what is over SPOOL_BYTES of JPEG waits on disk."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="lookalike-")  # noqa: SIM115
        self._waiting: dict[int, _Waiting] = {}
        self._in_memory = 0  # bytes
        self._on_disk = 0  # results
        self._end = 0  # of what the file holds

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, positions: Collection[int], fetched: Fetched) -> None:
        """Keep one result for all the rows that named its URL."""
        jpeg = fetched.jpeg or b""
        entry = _Waiting(fetched, len(jpeg), len(positions))
        if self._in_memory + entry.size > SPOOL_BYTES:
            self._file.seek(self._end)
            self._file.write(jpeg)
            entry.fetched, entry.start = replace(fetched, jpeg=None), self._end
            self._end += entry.size
            self._on_disk += 1
        else:
            self._in_memory += entry.size
        self._waiting.update(dict.fromkeys(positions, entry))

    def pop(self, position: int) -> Fetched | None:
        """The result for a position, or None if it is not there yet."""
        entry = self._waiting.pop(position, None)
        if entry is None:
            return None
        entry.rows -= 1
        if entry.start is None:
            self._in_memory -= 0 if entry.rows else entry.size
            return entry.fetched
        self._file.seek(entry.start)
        fetched = replace(entry.fetched, jpeg=self._file.read(entry.size) or None)
        self._on_disk -= 0 if entry.rows else 1
        if not self._on_disk:  # nothing there is needed any more: use the room again
            self._end = 0
        return fetched
