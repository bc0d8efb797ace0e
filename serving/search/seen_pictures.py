"""Vectors of query pictures in the embedding store, which servers share and which outlive them.

The cache of query vectors is in front of it: asked first, and filled with what is found here. A search waits for the
store for a few hundredths of a second at most, and what it computes is stored later, in the background.

A vector of a query is not the catalog's vector of the same file: a catalog's picture is shrunk, stored as JPEG and
decoded again before it is encoded, and its key is the sha256 of that JPEG; a query's picture is shrunk and encoded, and
its key is the sha256 of what the caller sent, and of the crop. So queries have an encoder id of their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import structlog

from artifacts.errors import EmbeddingStoreError
from artifacts.features.base import EmbeddingStore
from serving.metrics import CACHE_FAILURES, CACHE_HITS, CACHE_MISSES

#: Raised when `read_picture` or the crop change, so that the same bytes give another vector.
QUERY_PREPROCESSING = 1

#: Label of the metrics.
CACHE_NAME = "embedding_store"
#: Seconds that a search waits for the store; encoding takes about as long.
_WAIT = 0.05
#: Seconds without gets after one has failed or was too slow, and without puts after one has failed.
_PAUSE = 5.0
#: Calls that may be in progress; with more, searches do not ask.
_READERS = 4
#: Seconds between two puts, and vectors from which one comes earlier: a put of Parquet is a file.
_PUT_SECONDS = 60.0
_PUT_ROWS = 1000
#: Vectors that wait for a put at most; further ones are not stored.
_MAX_PENDING = 10_000

_log = structlog.get_logger()


class SeenPictures:
    """The vectors of pictures that servers have encoded before. Its methods do not fail.

    Args:
        store: None for a server without one; then nothing is found or stored.
        clock: returns the current time in seconds.
        wait_seconds: that a search waits, at most.
    """

    def __init__(
        self,
        store: EmbeddingStore | None,
        clock: Callable[[], float] = time.monotonic,
        wait_seconds: float = _WAIT,
    ) -> None:
        self._store, self._clock, self._wait_seconds = store, clock, wait_seconds
        self._gets_paused_until = self._puts_paused_until = 0.0
        self._free = threading.BoundedSemaphore(_READERS)
        self._pending: dict[tuple[str, bytes], np.ndarray] = {}
        self._pending_lock = threading.Lock()
        self._due, self._stop = threading.Event(), threading.Event()
        if store is not None:
            self._readers = ThreadPoolExecutor(_READERS, "embedding-store")
            self._writer = threading.Thread(target=self._put_periodically, name="embedding-store-put", daemon=True)
            self._writer.start()

    def get_many(self, encoder_id: str, side: int, dim: int, digests: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the vectors that are known, float32[dim] by digest.

        Args:
            side: px, to which pictures are shrunk.
            digests: sha256 of the pictures, in hex.
        """
        if self._store is None or not digests:
            return {}
        vectors = self._ask(self._store, _id_of(encoder_id, side), dim, digests)
        CACHE_HITS.labels(CACHE_NAME).inc(len(vectors))
        CACHE_MISSES.labels(CACHE_NAME).inc(len(digests) - len(vectors))
        return vectors

    def put_many(self, encoder_id: str, side: int, vectors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Have vectors stored later.

        Args:
            vectors: float32[dim] by digest.

        Returns:
            The vectors as the store will return them, so that an answer does not depend on who computed a vector.
        """
        if self._store is None:
            return dict(vectors)
        stored = {digest: vector.astype(np.float16) for digest, vector in vectors.items()}
        self._keep({(_id_of(encoder_id, side), bytes.fromhex(digest)): vector for digest, vector in stored.items()})
        return {digest: vector.astype(np.float32) for digest, vector in stored.items()}

    def flush(self) -> None:
        """Store what is pending; what fails stays pending."""
        if self._store is None or self._clock() < self._puts_paused_until:
            return
        with self._pending_lock:
            pending, self._pending = self._pending, {}
        try:
            for encoder_id in {encoder_id for encoder_id, _ in pending}:
                rows = {key: vector for (owner, key), vector in pending.items() if owner == encoder_id}
                self._store.put(encoder_id, list(rows), np.stack(list(rows.values())))
        except EmbeddingStoreError as error:
            self._puts_paused_until = self._clock() + _PAUSE
            _note_failure(error)
            self._keep(pending)

    def close(self) -> None:
        """Store what is pending, and close the store."""
        if self._store is None or self._stop.is_set():
            return
        self._stop.set()
        self._due.set()
        self._writer.join()
        self._readers.shutdown()
        self.flush()
        self._store.close()

    def _ask(self, store: EmbeddingStore, encoder_id: str, dim: int, digests: Sequence[str]) -> dict[str, np.ndarray]:
        """Return what the store has; nothing if it fails, is too slow or was so just now."""
        if self._clock() < self._gets_paused_until or not self._free.acquire(blocking=False):
            return {}
        call = self._readers.submit(store.get, encoder_id, dim, [bytes.fromhex(digest) for digest in digests])
        call.add_done_callback(lambda _: self._free.release())
        try:
            found, vectors = call.result(self._wait_seconds)
        except (TimeoutError, EmbeddingStoreError) as error:  # a call that is slow goes on in its thread
            self._gets_paused_until = self._clock() + _PAUSE
            _note_failure(str(error) or f"no answer within {self._wait_seconds * 1000:.0f} ms")
            return {}
        return {digests[int(row)]: vectors[row].astype(np.float32) for row in np.flatnonzero(found)}

    def _keep(self, vectors: Mapping[tuple[str, bytes], np.ndarray]) -> None:
        with self._pending_lock:
            for key, vector in vectors.items():
                if len(self._pending) < _MAX_PENDING:
                    self._pending[key] = vector
            if len(self._pending) >= _PUT_ROWS:
                self._due.set()

    def _put_periodically(self) -> None:
        while not self._stop.is_set():
            self._due.wait(_PUT_SECONDS)
            self._due.clear()
            self.flush()


def _note_failure(reason: object) -> None:
    CACHE_FAILURES.labels(CACHE_NAME).inc()
    _log.warning("embedding store failed", seconds_without=_PAUSE, error=str(reason))


def _id_of(encoder_id: str, side: int) -> str:
    """Return the id that vectors of query pictures are stored under."""
    return f"{encoder_id} query-{QUERY_PREPROCESSING}-{side}"
