"""Follows the store's current version and replaces the release being served when it changes.

A request takes the snapshot once and keeps it to its end, so it sees one version only. A new version is loaded beside
the old one and replaces it by one assignment. The old one is freed when the last request releases it, but not before
`cursor_seconds`, so that callers can go on paging through it. A version that cannot be loaded is refused, and the old
one stays in service.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass

import structlog

from artifacts.config import ReleaseWatching
from artifacts.errors import CursorGone, NoRelease
from artifacts.store.store import Store
from serving.metrics import (
    DELTA_SHARE,
    INDEX_SIZE,
    QUANTIZER_DRIFT,
    RELEASE_CREATED,
    RELEASE_WORKERS,
    RELOAD_SECONDS,
    RELOADS,
)
from serving.releases.loader import LoadError, ReleaseLoader
from serving.releases.snapshot import Snapshot
from serving.releases.verification_cache import VerificationCache

_log = structlog.get_logger()

#: Niceness of the thread that loads releases while searches are served.
_NICENESS = 10


@dataclass(frozen=True)
class Failure:
    """A version that could not be loaded.

    Attributes:
        lasting: whether another attempt would fail in the same way, so that none is made.
    """

    version: str
    error: str
    lasting: bool


@dataclass(frozen=True)
class _Replaced:
    """A snapshot of an earlier version, kept until a time on the monotonic clock."""

    snapshot: Snapshot
    until: float


class ReleaseWatcher:
    """Keeps a snapshot of the store's current version.

    Args:
        store: to follow.
        config: how often to poll it, and how to load releases.
        verification_cache: what the workers of this server have verified.

    Attributes:
        failure: of the newest version, if it could not be loaded.
        loads: number of versions loaded.
        failures: number of attempts that failed.
        first_poll: set when the first poll of the thread is over, whatever its outcome.
    """

    def __init__(self, store: Store, config: ReleaseWatching, verification_cache: VerificationCache) -> None:
        self._store, self._config = store, config
        self._loader = ReleaseLoader(store, config, verification_cache)
        self._snapshot: Snapshot | None = None
        self._waiting = False  # for a first release; logged once
        self._replaced: list[_Replaced] = []  # oldest first
        self.failure: Failure | None = None
        self.loads = 0
        self.failures = 0
        self.first_poll = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll_periodically, name="release-watcher", daemon=True)

    def start(self) -> None:
        """Poll the store in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def close(self) -> None:
        """Stop the thread and close all releases; for the end of a process."""
        self.stop()
        snapshots = self._open_snapshots()
        self._snapshot, self._replaced = None, []
        for snapshot in snapshots:
            snapshot.release.close()
        self._loader.close()

    def snapshot(self, version: str | None = None) -> Snapshot:
        """Return the snapshot being served, or that of an earlier version while it is kept.

        Args:
            version: on which a search began; None for the one being served.

        Raises:
            NoRelease: no release is loaded yet, or the requested version is about to be.
            CursorGone: the requested version is no longer kept.
        """
        snapshot, replaced = self._snapshot, self._replaced
        if snapshot is None:
            reason = f": {self.failure.error}" if self.failure else ""
            raise NoRelease(f"no release is loaded yet{reason}")
        if version in (None, snapshot.manifest.version):
            return snapshot
        for kept in replaced:
            if version == kept.snapshot.manifest.version:
                return kept.snapshot
        if version > snapshot.manifest.version and version == self._current_version():
            # Another worker serves it already, and this one will load it at its next poll.
            raise NoRelease(f"version {version[:80]} is not loaded here yet")
        raise CursorGone(f"version {version[:80]} is no longer served: search again from the first page")

    def poll(self) -> None:
        """Check the current version once and load it if it is new; drop replaced snapshots that have expired."""
        self._replaced = [kept for kept in self._replaced if time.monotonic() < kept.until]
        self._loader.copy_again()
        version = self._current_version()
        if version is None:
            return
        if self._snapshot and version == self._snapshot.manifest.version:
            self.failure = None
            return
        if self.failure and self.failure.version == version and self.failure.lasting:
            return
        started = time.monotonic()
        try:
            snapshot = self._loader.load(version, self._open_snapshots(), self._stop)
        except LoadError as error:
            self.failure, self.failures = Failure(version, str(error), error.lasting), self.failures + 1
            RELOADS.labels("refused").inc()
            _log.error("release refused", version=version, error=str(error))
            return
        self._replace(snapshot, time.monotonic() - started)
        self._prune_cache()
        _log.info("release loaded", version=version, products=snapshot.manifest.counts.indexed)

    def _replace(self, snapshot: Snapshot, seconds: float) -> None:
        """Serve a snapshot that took some seconds to load, and keep the one before it for a while."""
        if self._snapshot is not None:
            RELEASE_WORKERS.labels(self._snapshot.manifest.version).set(0)
        RELEASE_WORKERS.labels(snapshot.manifest.version).set(1)
        INDEX_SIZE.set(snapshot.release.pictures)
        RELEASE_CREATED.set(snapshot.manifest.created_at.timestamp())
        DELTA_SHARE.set(snapshot.release.delta_share)
        QUANTIZER_DRIFT.set(snapshot.release.drift or 0)
        RELOADS.labels("loaded").inc()
        RELOAD_SECONDS.observe(seconds)
        if self._snapshot is not None and self._config.cursor_seconds > 0:
            self._replaced.append(_Replaced(self._snapshot, time.monotonic() + self._config.cursor_seconds))
        self._snapshot, self.failure, self.loads = snapshot, None, self.loads + 1

    def _open_snapshots(self) -> list[Snapshot]:
        """Return all snapshots that are open, oldest first."""
        current = [] if self._snapshot is None else [self._snapshot]
        return [kept.snapshot for kept in self._replaced] + current

    def _prune_cache(self) -> None:
        """Remove segments of earlier versions from this machine: with each refresh comes a new delta."""
        in_use = {segment.info.id for snapshot in self._open_snapshots() for segment in snapshot.release.segments}
        try:
            self._store.prune_cache(in_use)
        except Exception as error:  # each kind of store raises its own, and the next version is another occasion
            _log.warning("cache not pruned", error=str(error))

    def _current_version(self) -> str | None:
        """Return the store's current version; None if it has none or cannot be reached."""
        try:
            version = self._store.current()
        except Exception as error:  # each kind of store raises its own, and the loaded release stays valid
            _log.warning("store unreachable", error=str(error))
            return None
        if version is None and not self._waiting:
            _log.info(f"no release in {self._store.folder.url} yet; waiting for the first build")
        self._waiting = version is None
        return version

    def _poll_periodically(self) -> None:
        while not self._stop.is_set():
            self.poll()
            self.first_poll.set()
            if self._snapshot is not None and sys.platform == "linux":
                # Searches have priority over loading from now on. Threads that this one starts inherit its niceness;
                # those of the encoder have been started before.
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
            self._stop.wait(self._config.reload_seconds)
