"""The lease of a store: while a process holds it, others that want to publish wait.

It is advisory, and so are its limits. What keeps a publication from being lost is the compare-and-swap of CURRENT; the
lease lets work that takes minutes be published beside a stream that publishes every few seconds.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

from artifacts.storage import Folder

LEASE_FILE = "publish.lease"

#: Seconds after which a lease that its holder has not renewed is no lease: the holder has died.
STALE_SECONDS = 60.0
#: Seconds between two renewals.
_RENEW_SECONDS = 15.0
#: Seconds between two looks at the lease of another process.
_LOOK_SECONDS = 0.5
#: Longest wait for another process, in seconds; one that takes longer is overtaken.
_WAIT_SECONDS = 1800.0

_log = logging.getLogger(__name__)


class Lease:
    """The lease of the store in a folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def wait_until_free(self, seconds: float = _WAIT_SECONDS) -> bool:
        """Wait while another process holds the lease, for so many seconds at most; return whether it is free."""
        deadline = time.monotonic() + seconds
        while self._is_held():
            if time.monotonic() >= deadline:
                _log.warning("%s/%s has been held for %g s; going on without it", self._folder.url, LEASE_FILE, seconds)
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lease, or go on without it if another process does not give it back."""
        holder = uuid.uuid4().hex
        while not self._folder.create(LEASE_FILE, _claim(holder)):
            if not self.wait_until_free():
                yield
                return
            if self._is_stale():
                self._folder.remove(LEASE_FILE)
        done = threading.Event()
        thread = threading.Thread(target=self._renew, args=(holder, done), name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            if self._holder() == holder:
                self._folder.remove(LEASE_FILE)

    def _renew(self, holder: str, done: threading.Event) -> None:
        while not done.wait(_RENEW_SECONDS):
            if self._holder() != holder:
                return  # another process took it for stale: this one was suspended
            self._folder.write_bytes(LEASE_FILE, _claim(holder))

    def _is_held(self) -> bool:
        return self._holder() is not None and not self._is_stale()

    def _is_stale(self) -> bool:
        renewed, _ = self._read()
        return renewed is not None and (datetime.now(UTC) - renewed).total_seconds() >= STALE_SECONDS

    def _holder(self) -> str | None:
        return self._read()[1]

    def _read(self) -> tuple[datetime, str] | tuple[None, None]:
        """Return when the lease was renewed last, and its holder; None if there is none."""
        try:
            renewed, holder = self._folder.read_text(LEASE_FILE).split()
        except FileNotFoundError:
            return None, None
        return datetime.fromisoformat(renewed), holder


def _claim(holder: str) -> bytes:
    return f"{datetime.now(UTC).isoformat()} {holder}\n".encode()
