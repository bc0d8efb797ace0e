"""Remembers, for all workers of a server, which segments have been verified, and lets one worker load at a time.

A hundred million products are some hundred gigabytes. If every worker fetched and read them by itself, a new release
would cost a server with sixteen workers sixteen times that, all at once, and searches would wait behind it; so would a
worker that replaces one that died.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

#: Seconds between two attempts to get the lock.
_RETRY_SECONDS = 0.1


class VerificationCache:
    """Records verified segments in a folder that the workers share.

    Args:
        shared_dir: folder of this server, which is removed when it ends; None for a single process, which records
            nothing.
    """

    def __init__(self, shared_dir: Path | None) -> None:
        self._shared_dir = shared_dir

    @contextmanager
    def lock(self, stop: Event) -> Iterator[None]:
        """Wait until no other worker fetches or verifies, and hold the others off for the block.

        Args:
            stop: set when the process ends; the block then runs without the lock, since it is about to be cut short.
        """
        if self._shared_dir is None:
            yield
            return
        with (self._shared_dir / "lock").open("w") as file:
            while not (_try_lock(file.fileno()) or stop.wait(_RETRY_SECONDS)):
                pass
            yield  # closing the file releases the lock, as the end of the process does

    def holds(self, segment: Path, digest: str) -> bool:
        """Tell whether a segment was verified and its files have not changed since.

        Args:
            segment: folder.
            digest: SHA-256 of its segment.json.
        """
        record = self._record(segment, digest)
        try:
            return record is not None and json.loads(record.read_bytes()) == file_state(segment)
        except (FileNotFoundError, json.JSONDecodeError):  # a worker that died may leave an incomplete record
            return False

    def keep(self, segment: Path, digest: str, state: list[list[str | int]]) -> None:
        """Record that a segment was verified.

        Args:
            segment: folder.
            digest: SHA-256 of its segment.json.
            state: `file_state` of the segment before its files were read.
        """
        record = self._record(segment, digest)
        if record is not None:
            record.write_text(json.dumps(state))  # callers hold the lock

    def _record(self, segment: Path, digest: str) -> Path | None:
        if self._shared_dir is None:
            return None
        return self._shared_dir / hashlib.sha256(f"{digest} {segment}".encode()).hexdigest()


def file_state(segment: Path) -> list[list[str | int]]:
    """Return what changes when a segment's files are touched.

    Returns:
        Of each file its name, device, inode, size in bytes, and times of modification and change in nanoseconds; empty
        if there is no such folder.
    """
    files = sorted((path.relative_to(segment).as_posix(), path.stat()) for path in segment.rglob("*"))
    return [[name, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in files]


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
