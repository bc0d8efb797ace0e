"""Fetching and checking a release once for all workers of a server.

A hundred million products are some hundred gigabytes. Would each worker fetch and read them for itself, a new release
would cost a server of sixteen that much sixteen times, at the same time, and searches would have to wait behind it; and
so would whoever takes the place of a worker that died.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

#: Seconds between two tries to get the turn.
_AGAIN = 0.1


class VerificationCache:
    """What the workers of one server know of files that never change, and whose turn it is to look.

    Args:
        folder: of this server alone, gone when it ends; None for a process by itself, which remembers nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @contextmanager
    def turn(self, stop: Event) -> Iterator[None]:
        """Wait until no other worker is fetching or checking, and keep the others from it for the block.

        Args:
            stop: once set, nobody waits any longer, and the block runs whoever else does: its end is near.
        """
        if self._folder is None:
            yield
            return
        with (self._folder / "turn").open("w") as file:
            while not (_locked(file.fileno()) or stop.wait(_AGAIN)):
                pass
            yield  # closing the file ends the turn, as the death of the process does

    def holds(self, segment: Path, digest: str) -> bool:
        """Whether a segment was found whole, and its files are the very ones that were looked at.

        Args:
            digest: of its segment.json.
        """
        note = self._note(segment, digest)
        try:
            return note is not None and json.loads(note.read_bytes()) == file_state(segment)
        except (FileNotFoundError, json.JSONDecodeError):  # a worker that died may leave half a note
            return False

    def keep(self, segment: Path, digest: str, state: list[list[str | int]]) -> None:
        """Remember for all workers that a segment is whole.

        Args:
            state: of its files before they were read.
        """
        note = self._note(segment, digest)
        if note is not None:
            note.write_text(json.dumps(state))  # by whoever's turn it is

    def _note(self, segment: Path, digest: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / hashlib.sha256(f"{digest} {segment}".encode()).hexdigest()


def file_state(segment: Path) -> list[list[str | int]]:
    """What tells whether a segment's files were touched: of each its name, place, size and times in nanoseconds."""
    found = sorted((path.name, path.stat()) for path in segment.glob("*"))  # none where there is no folder
    return [[name, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in found]


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
