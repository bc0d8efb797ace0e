"""What is being served, and its replacement when CURRENT moves.

A request takes the snapshot once and keeps it to its end, so it sees one version whole. A new version is verified,
opened and warmed beside the old one, and then takes its place by one assignment; segments of both are shared. The old
one is freed when the last request lets go of it, but not before `cursor_seconds`, so that whoever is paging through it
can go on. A version that cannot be loaded is refused, and the old one goes on.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from prometheus_client import Counter, Gauge, Histogram

from artifacts.config import ReleaseWatching
from artifacts.encoders.base import Encoder
from artifacts.encoders.registry import load_encoder
from artifacts.errors import CursorGone, IncompatibleRelease, LookalikeError, NoRelease
from artifacts.release.release import Release
from artifacts.segments.info import VERIFY_THREADS, read_info
from artifacts.segments.segment import Segment
from artifacts.store.manifest import Manifest
from artifacts.store.store import Store
from serving.releases.batching import Batcher
from serving.releases.snapshot import _QUERIES_AT_ONCE, Snapshot, search_index
from serving.releases.verification_cache import VerificationCache, file_state

_log = structlog.get_logger()

INDEX_SIZE = Gauge("image_search_index_size", "Pictures in the index.", multiprocess_mode="livemax")
CREATED = Gauge(
    "image_search_release_created_seconds", "Unix time the served release was made; of workers that serve several "
    "the oldest.", multiprocess_mode="livemin",
)  # fmt: skip
SERVING = Gauge(
    "image_search_release_workers", "Worker processes that serve a version.", ["version"], multiprocess_mode="livesum"
)
RELOADS = Counter("image_search_reloads_total", "Versions that a worker has loaded, or refused.", ["outcome"])
RELOAD_SECONDS = Histogram(
    "image_search_reload_seconds", "Time to fetch, verify, open and warm a release.",
    buckets=[0.1, 0.5, 1, 5, 10, 30, 60, 300, 900],
)  # fmt: skip
#: Niceness of the thread that loads releases.
_NICE = 10


@dataclass(frozen=True)
class Failure:
    """A version that could not be loaded."""

    version: str
    error: str
    lasting: bool  # a version never changes: what was wrong with it once will be so again


@dataclass(frozen=True)
class _Replaced:
    """A release from before the one being served."""

    snapshot: Snapshot
    until: float  # on the monotonic clock


class ReleaseWatcher:
    """Keeps a snapshot of the store's current version."""

    def __init__(self, store: Store, config: ReleaseWatching, checked: VerificationCache) -> None:
        self._store, self._config, self._checked = store, config, checked
        self._snapshot: Snapshot | None = None
        self._replaced: list[_Replaced] = []  # for searches that page through them, oldest first
        self.failure: Failure | None = None  # of the newest version, if that could not be loaded
        self.loads = 0
        self.failures = 0
        self.first_poll = threading.Event()  # set once the first look at the store is over, whatever it found
        # A call of the index keeps one core busy; the cores are shared with the other workers.
        self._concurrency = max(1, len(os.sched_getaffinity(0)) // config.workers // config.native_threads)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="release-watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def close(self) -> None:
        """Stop, and let go of the release; for the end of a process."""
        self.stop()
        snapshots = [self._snapshot, *(each.snapshot for each in self._replaced)]
        self._snapshot, self._replaced = None, []
        for snapshot in snapshots:
            if snapshot is not None:
                snapshot.release.close()

    def snapshot(self, version: str | None = None) -> Snapshot:
        """What is being served; or the version that a search began on, while it is kept.

        Raises:
            NoRelease: nothing is loaded (yet), or not yet the version that is asked for.
            CursorGone: that version is not kept any more.
        """
        snapshot, replaced = self._snapshot, self._replaced
        if snapshot is None:
            reason = f": {self.failure.error}" if self.failure else ""
            raise NoRelease(f"no release is loaded yet{reason}")
        if version in (None, snapshot.manifest.version):
            return snapshot
        for each in replaced:
            if version == each.snapshot.manifest.version:
                return each.snapshot
        if version > snapshot.manifest.version and version == self._current():
            # Another worker has taken it over already, and this one is about to.
            raise NoRelease(f"version {version[:80]} is not loaded here yet")
        raise CursorGone(f"version {version[:80]} is not served any more: search again from the first page")

    def poll(self) -> None:
        """Look at CURRENT once, and load what it names if that is new; let go of what was replaced long ago."""
        self._replaced = [each for each in self._replaced if time.monotonic() < each.until]
        version = self._current()
        if version is None:
            return
        if self._snapshot and version == self._snapshot.manifest.version:
            self.failure = None
            return
        if self.failure and self.failure.version == version and self.failure.lasting:
            return
        fetched, began = False, time.monotonic()
        try:
            manifest = self._store.manifest(version)
            with contextlib.ExitStack() as turn:
                turn.enter_context(self._checked.turn(self._stop))
                folders = self._fetched(manifest)
                fetched = True
                if self._snapshot is None:
                    turn.close()  # there are no searches yet to make room for, and encoders take seconds to load
                snapshot = self._opened(manifest, folders)
        except Exception as error:
            # FAISS, Arrow, DuckDB, torch, a network's client, an encoder of the shop's own: each raises kinds of its
            # own, and none of them may end the watching. What fails on the way here may pass; what is here never
            # changes.
            lasting = isinstance(error, LookalikeError) or (fetched and not isinstance(error, OSError))
            self.failure, self.failures = Failure(version, str(error), lasting), self.failures + 1
            RELOADS.labels("refused").inc()
            _log.error("release refused", version=version, error=str(error))
            return
        self._tell(snapshot, time.monotonic() - began)
        if self._snapshot is not None and self._config.cursor_seconds > 0:
            self._replaced.append(_Replaced(self._snapshot, time.monotonic() + self._config.cursor_seconds))
        self._snapshot, self.failure, self.loads = snapshot, None, self.loads + 1
        _log.info("release loaded", version=version, products=snapshot.manifest.counts.indexed)

    def _tell(self, snapshot: Snapshot, seconds: float) -> None:
        """Metrics of a release that takes the place of the one before."""
        if self._snapshot is not None:
            SERVING.labels(self._snapshot.manifest.version).set(0)
        SERVING.labels(snapshot.manifest.version).set(1)
        INDEX_SIZE.set(snapshot.release.pictures)
        CREATED.set(snapshot.manifest.created_at.timestamp())
        RELOADS.labels("loaded").inc()
        RELOAD_SECONDS.observe(seconds)

    def _current(self) -> str | None:
        """The store's current version; None if there is none, or the store is out of reach for now."""
        try:
            return self._store.current()
        except Exception as error:  # every kind of store has errors of its own, and what is loaded stays right
            _log.warning("store unreachable", error=str(error))
            return None

    def _fetched(self, manifest: Manifest) -> list[Path]:
        """Folders on this machine with a version's segments, every file checked, by this worker or another."""
        at_hand = {segment.folder: segment.info for segment in self._segments()}
        # A lone start may take what there is; beside searches one core is enough.
        threads = 1 if at_hand else VERIFY_THREADS
        folders: list[Path] = []
        for segment, folder in zip(manifest.segments, self._store.fetch(manifest), strict=True):
            opened = folder in at_hand and at_hand[folder] == read_info(folder)
            if not (opened or self._checked.holds(folder, segment.info_sha256)):
                state = file_state(folder)
                self._store.verified(segment, threads=threads)
                self._checked.keep(folder, segment.info_sha256, state)
            folders.append(folder)
        return folders

    def _segments(self) -> list[Segment]:
        """Those that are open."""
        snapshots = [each.snapshot for each in self._replaced] + ([self._snapshot] if self._snapshot else [])
        return [segment for each in snapshots for segment in each.release.segments]

    def _opened(self, manifest: Manifest, folders: list[Path]) -> Snapshot:
        release = Release(manifest, folders, verify=False, threads=self._config.native_threads, opened=self._segments())
        encoder = self._encoder(manifest)
        snapshot = Snapshot(
            release,
            encoder,
            Batcher("index", functools.partial(search_index, release), _QUERIES_AT_ONCE, self._concurrency),
            Batcher("text", encoder.encode_texts, self._config.embed_batch),
            Batcher("image", encoder.encode_prepared, self._config.embed_batch),
        )
        _warm(snapshot, texts=self._snapshot is None or encoder is not self._snapshot.encoder)
        _give_back_memory()
        return snapshot

    def _encoder(self, manifest: Manifest) -> Encoder:
        # The release says which encoder it was made with. A setting given on purpose says where to find that one here.
        spec = self._config.encoder or manifest.encoder["spec"]
        encoder = load_encoder(spec, self._config.device, quick=self._config.quick_texts)
        ours, theirs = encoder.describe(), manifest.encoder
        for name in ("weights_sha256", "dim", "preprocessing"):
            if ours[name] != theirs[name]:
                raise IncompatibleRelease(
                    f"version {manifest.version} was made with encoder {theirs['id']}, and this server has "
                    f"{ours['id']}: their {name} differ, so queries would be compared with foreign vectors"
                )
        return encoder

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.poll()
            self.first_poll.set()
            if self._snapshot is not None and sys.platform == "linux":
                # Searches go first from now on. Of this thread and those it starts: an encoder's are there by now.
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
            self._stop.wait(self._config.reload_seconds)


def _warm(snapshot: Snapshot, *, texts: bool) -> None:
    """One search before the first shopper's, so that he does not wait for pages; one text if the encoder is new."""
    query = np.zeros((1, snapshot.encoder.dim), np.float32)
    query[0, 0] = 1
    snapshot.release.to_results(snapshot.release.search(query, 10, snapshot.params("image"))[0][0])
    if texts and snapshot.encoder.supports_text:
        snapshot.encoder.encode_texts(["warm up"])


def _give_back_memory() -> None:
    """What loading took and left unused, to the system: glibc would keep it, some 200 MB for a CLIP model."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    if trim is not None:
        trim(0)
