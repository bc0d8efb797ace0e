"""Loads a version of the store: fetch, verify, open and warm it.

A worker that serves searches loads a new version beside the old one and shares the segments that both have.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from artifacts.config import ReleaseWatching
from artifacts.encoders.base import Encoder
from artifacts.encoders.registry import load_encoder
from artifacts.engines.pool import EnginePool
from artifacts.errors import DeviceError, EngineError, IncompatibleRelease, LookalikeError
from artifacts.index.gpus.pool import GpuPool
from artifacts.release.release import Release
from artifacts.segments.info import INFO_FILE, VERIFY_THREADS, read_info
from artifacts.segments.segment import Segment
from artifacts.store.manifest import Manifest
from artifacts.store.store import Store
from serving.metrics import GPU_FAILURES, GPU_TOO_DEEP
from serving.releases.batching import Batcher
from serving.releases.snapshot import Snapshot, search_index
from serving.releases.verification_cache import VerificationCache, file_state

_log = structlog.get_logger()

#: Limit of queries in one call of the index; more would delay all of them by more than the shared work saves.
_INDEX_BATCH = 16

#: Calls of an engine that run at the same time, and the seconds in which it has to say that it is there.
_ENGINE_CALLS, _ENGINE_SECONDS = 16, 5.0


class LoadError(Exception):
    """A version could not be loaded.

    Attributes:
        lasting: whether another attempt would fail in the same way.
    """

    def __init__(self, message: str, *, lasting: bool) -> None:
        super().__init__(message)
        self.lasting = lasting


class ReleaseLoader:
    """Makes snapshots of versions.

    Args:
        store: holds the versions.
        config: how to load them.
        verification_cache: what the workers of this server have verified.

    Raises:
        DeviceError: searches are to run on a GPU that FAISS does not see.
    """

    def __init__(self, store: Store, config: ReleaseWatching, verification_cache: VerificationCache) -> None:
        self._store, self._config, self._verification_cache = store, config, verification_cache
        self._gpus = None if config.search_device == "cpu" else GpuPool(config.search_device, GpuReports())
        self._retry: _Retry | None = None
        self._engines = EnginePool(config.engine, config.engine_url, config.engine_key)
        # A call of the index keeps one core busy, and the cores are shared with the other workers.
        self._concurrency = max(1, len(os.sched_getaffinity(0)) // config.workers // config.native_threads)

    def close(self) -> None:
        """Close the connections to engines."""
        self._engines.close()

    def load(self, version: str, snapshots: Sequence[Snapshot], stop: threading.Event) -> Snapshot:
        """Load a version.

        Args:
            version: of the store.
            snapshots: those that are open; their segments and encoders are shared. Empty when the server starts.
            stop: set when the process ends, so that it does not wait for other workers.

        Raises:
            LoadError: the version cannot be fetched, is damaged, or does not fit this server.
        """
        fetched = False
        try:
            manifest = self._store.manifest(version)
            with contextlib.ExitStack() as lock:
                lock.enter_context(self._verification_cache.lock(stop))
                segments = [segment for snapshot in snapshots for segment in snapshot.release.segments]
                folders = self._fetch(manifest, segments)
                fetched = True
                if not snapshots:
                    lock.close()  # no searches to leave the cores to, and loading an encoder takes seconds
                try:
                    return self._open(manifest, folders, segments, snapshots)
                except Exception:
                    if all((folder / INFO_FILE).exists() for folder in folders):
                        raise
                    # Another server has removed a segment from the cache that they share: fetch it again.
                    folders = self._fetch(manifest, segments)
                    return self._open(manifest, folders, segments, snapshots)
        except Exception as error:
            # FAISS, Arrow, DuckDB, torch, a store's client and custom encoders all raise errors of their own, and none
            # may stop the watcher. Errors up to the fetch are often temporary; later ones last, because a version
            # never changes.
            passing = isinstance(error, OSError | EngineError)  # an engine that lacks a collection may be loaded again
            lasting = not passing and (fetched or isinstance(error, LookalikeError))
            raise LoadError(str(error), lasting=lasting) from error

    def copy_again(self) -> None:
        """Copy a base to the GPUs that did not fit beside those before it, once these are closed. Tried once."""
        if self._gpus is None or self._retry is None or any(earlier() is not None for earlier in self._retry.earlier):
            return
        base, self._retry = self._retry.base(), None
        if base is not None:
            _copy_to_gpus(base, self._gpus, [])

    def _fetch(self, manifest: Manifest, segments: Sequence[Segment]) -> list[Path]:
        """Return the local folders of a version's segments, all verified by this worker or another."""
        opened = {segment.folder: segment.info for segment in segments}
        # Before the first release is loaded no search needs the cores; beside searches one core is enough.
        threads = 1 if opened else VERIFY_THREADS
        folders: list[Path] = []
        for segment, folder in zip(manifest.segments, self._store.fetch(manifest), strict=True):
            is_open = folder in opened and opened[folder] == read_info(folder)
            if not (is_open or self._verification_cache.holds(folder, segment.info_sha256)):
                state = file_state(folder)
                self._store.verified(segment, threads=threads)
                self._verification_cache.keep(folder, segment.info_sha256, state)
            folders.append(folder)
        return folders

    def _open(
        self, manifest: Manifest, folders: list[Path], segments: Sequence[Segment], snapshots: Sequence[Snapshot]
    ) -> Snapshot:
        release = Release(
            manifest,
            folders,
            verify=False,
            threads=self._config.native_threads,
            opened=segments,
            to_serve=True,
            engines=self._engines,
        )
        try:
            return self._warmed(release, segments, snapshots)
        except BaseException:
            release.close_unshared(segments)
            raise

    def _warmed(self, release: Release, segments: Sequence[Segment], snapshots: Sequence[Snapshot]) -> Snapshot:
        release.ping_engine(_ENGINE_SECONDS)  # before an encoder is loaded for nothing
        if self._gpus is not None and release.base not in segments:
            earlier = {id(snapshot.release.base): snapshot.release.base for snapshot in snapshots}
            self._retry = _copy_to_gpus(release.base, self._gpus, list(earlier.values()))
        encoder = self._load_encoder(release.manifest)
        # An engine computes elsewhere: a call of it keeps no core busy.
        concurrency = self._concurrency if release.base.info.engine is None else _ENGINE_CALLS
        snapshot = Snapshot(
            release,
            encoder,
            Batcher("index", functools.partial(search_index, release), _INDEX_BATCH, concurrency),
            Batcher("text", encoder.encode_texts, self._config.embed_batch),
            Batcher("image", encoder.encode_prepared, self._config.embed_batch),
        )
        _warm(snapshot, texts=all(encoder is not other.encoder for other in snapshots))
        _release_free_memory()
        return snapshot

    def _load_encoder(self, manifest: Manifest) -> Encoder:
        # The manifest names the encoder that made the vectors; the setting, if there is one, says where it is here.
        spec = self._config.encoder or manifest.encoder["spec"]
        encoder = load_encoder(spec, self._config.device, quick=self._config.quick_texts)
        actual, expected = encoder.describe(), manifest.encoder
        for name in ("weights_sha256", "dim", "preprocessing"):
            if actual[name] != expected[name]:
                raise IncompatibleRelease(
                    f"version {manifest.version} was made with encoder {expected['id']}, but this server has "
                    f"{actual['id']}: their {name} differ, so query vectors would not be comparable with the release's"
                )
        return encoder


class GpuReports:
    """Counts the searches that the CPU answers for GPUs, and logs the first failure and the giving up."""

    def __init__(self) -> None:
        self._logged = False

    def too_deep(self, queries: int) -> None:
        GPU_TOO_DEEP.inc(queries)

    def failed(self, error: str, given_up: bool) -> None:
        GPU_FAILURES.inc()
        if given_up:
            _log.error("GPUs are given up; the CPU answers all searches from now on", error=error)
        elif not self._logged:
            _log.warning("a GPU failed; the CPU answers instead, without further messages", error=error)
        self._logged = True


@dataclass(frozen=True)
class _Retry:
    """A base that did not fit beside the bases that were copied before it; it does not keep any of them open."""

    base: weakref.ref[Segment]
    earlier: list[weakref.ref[Segment]]


def _copy_to_gpus(base: Segment, gpus: GpuPool, earlier: Sequence[Segment]) -> _Retry | None:
    """Copy a base's index to the GPUs; without it, searches stay on the CPU.

    Args:
        earlier: other bases that are open, and may take the GPUs' memory.

    Returns:
        What to wait for before another try; None if there is nothing to try again.
    """
    retry = None
    try:
        base.copy_to_gpus(gpus)
    except DeviceError as error:
        _log.warning("index not copied to the GPUs; the CPU answers searches", segment=base.info.id, error=str(error))
    except RuntimeError as error:  # FAISS's own: not enough memory
        if earlier:
            retry = _Retry(weakref.ref(base), [weakref.ref(segment) for segment in earlier])
        until = " until the release before is closed" if earlier else ""
        message = f"index not copied to the GPUs; the CPU answers searches{until}"
        _log.warning(message, segment=base.info.id, error=str(error))
    else:
        _log.info("index copied to the GPUs", segment=base.info.id)
    return retry


def _warm(snapshot: Snapshot, *, texts: bool) -> None:
    """Run one search, so that the first caller does not wait for pages to be read, and encode one text if asked to."""
    query = np.zeros((1, snapshot.encoder.dim), np.float32)
    query[0, 0] = 1
    snapshot.release.to_results(snapshot.release.search(query, 10, snapshot.params("image"))[0][0])
    if texts and snapshot.encoder.supports_text:
        snapshot.encoder.encode_texts(["warm up"])


def _release_free_memory() -> None:
    """Return memory that loading freed to the system: glibc would keep it, some 200 MB for a CLIP model."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
