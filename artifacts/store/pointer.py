"""The pointer to the version being served: one line in a file, moved by a compare-and-swap."""

from __future__ import annotations

import contextlib
import fcntl
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

from artifacts.errors import PublishConflict
from artifacts.storage import Folder

POINTER_FILE = "CURRENT"
LOCK_FILE = "CURRENT.lock"

#: Moving the pointer takes milliseconds; an older lock was left by a process that died.
_LOCK_SECONDS = 60


class Pointer:
    """The file CURRENT of a store.

    Args:
        folder: of the store.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def read(self) -> str | None:
        """Return the version being served, or None if nothing has been published."""
        return self._folder.read_text(POINTER_FILE).strip() if self._folder.exists(POINTER_FILE) else None

    def move(self, version: str, *, expected: str | None) -> None:
        """Point to a version. Do nothing if the pointer already does.

        Args:
            expected: the version that the pointer must still name.

        Raises:
            PublishConflict: the pointer names another version, or another process is moving it.
        """
        with self._locked():
            current = self.read()
            if current == version:
                return
            if current != expected:
                raise PublishConflict(
                    f"{self._folder.url}: CURRENT is {current}, not {expected} as when this began, so it was not moved "
                    f"to {version}. Run the build again"
                )
            self._folder.write_text(POINTER_FILE, version + "\n")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time compare and swap the pointer."""
        if self._folder.is_local:
            path = self._folder.local(LOCK_FILE)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # the kernel releases it when the process dies
                yield
            return
        claim = f"{datetime.now(UTC).isoformat()} {uuid.uuid4().hex}".encode()
        if not self._folder.create(LOCK_FILE, claim):
            if not self._lock_is_stale():
                raise self._conflict()
            self._folder.remove(LOCK_FILE)
            if not self._folder.create(LOCK_FILE, claim):
                raise self._conflict()
        try:
            yield
        finally:
            if self._folder.read_bytes(LOCK_FILE) == claim:
                self._folder.remove(LOCK_FILE)

    def _conflict(self) -> PublishConflict:
        return PublishConflict(f"{self._folder.url}: another process is publishing; try again")

    def _lock_is_stale(self) -> bool:
        try:
            claimed = datetime.fromisoformat(self._folder.read_text(LOCK_FILE).split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return True  # released meanwhile, or not a claim
        return (datetime.now(UTC) - claimed).total_seconds() >= _LOCK_SECONDS
