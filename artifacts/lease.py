"""The lease of a folder: while a process holds it, others that would do the same work wait, or do something else.

It is advisory, and so are its limits. What keeps a publication from being lost is the compare-and-swap of CURRENT; the
store's lease lets work that takes minutes be published beside a stream that publishes every few seconds.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from artifacts.repeated import repeated
from artifacts.storage import Folder

#: Seconds after which a lease that its holder has not renewed is stale: the holder has died.
STALE_SECONDS = 60.0
#: Seconds between two renewals.
_RENEW_SECONDS = 15.0
#: Seconds between two looks at the lease of another process.
_LOOK_SECONDS = 0.5
#: Longest wait for other processes, in seconds; one that takes longer is overtaken.
WAIT_SECONDS = 1800.0


@dataclass(frozen=True)
class _Claim:
    """The content of a lease's file; `renewed` is None if the file cannot be read."""

    holder: str
    renewed: datetime | None

    @property
    def is_stale(self) -> bool:
        # A time in the future is from a clock that is ahead; the lease would be valid until then.
        return self.renewed is None or abs((datetime.now(UTC) - self.renewed).total_seconds()) >= STALE_SECONDS


class Lease:
    """The lease of a folder.

    Args:
        folder: of a store, or of a workspace.
        name: of the lease's file in it.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self._name = folder, name

    def wait_until_free(self, seconds: float = WAIT_SECONDS) -> bool:
        """Wait while other processes hold the lease, for so many seconds at most; return whether it is free."""
        deadline = time.monotonic() + seconds
        while (claim := self._read()) is not None and not claim.is_stale:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    @contextlib.contextmanager
    def held(self, seconds: float = WAIT_SECONDS) -> Iterator[bool]:
        """Hold the lease during a block, or go on without it if other processes do not give it back in time.

        Args:
            seconds: longest wait for other processes.

        Yields:
            Whether it is held.
        """
        holder, deadline = uuid.uuid4().hex, time.monotonic() + seconds
        while not (held := self._take(holder)) and self.wait_until_free(max(0.0, deadline - time.monotonic())):
            pass
        if not held:
            yield False
            return
        try:
            with repeated(_RENEW_SECONDS, lambda: self._renew(holder)):
                yield True
        finally:
            if self._is_of(holder):
                self._folder.remove(self._name)

    def _take(self, holder: str) -> bool:
        """Take the lease if it is free; return whether it was."""
        claim = self._read()
        if claim is not None and claim.is_stale and self._read() == claim:
            self._folder.remove(self._name)
        return self._folder.create(self._name, _content(holder))

    def _renew(self, holder: str) -> None:
        if self._is_of(holder):  # another process took it for stale if this one was suspended
            self._folder.write_bytes(self._name, _content(holder))

    def _is_of(self, holder: str) -> bool:
        claim = self._read()
        return claim is not None and claim.holder == holder

    def _read(self) -> _Claim | None:
        """Return who holds the lease; None if nobody does."""
        try:
            content = self._folder.read_bytes(self._name)
        except FileNotFoundError:
            return None
        try:
            renewed, holder = content.decode().split()
            return _Claim(holder, datetime.fromisoformat(renewed).astimezone(UTC))
        except ValueError:  # damaged, or not text
            return _Claim("", None)


def _content(holder: str) -> bytes:
    return f"{datetime.now(UTC).isoformat()} {holder}\n".encode()
