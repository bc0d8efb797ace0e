"""What a shard takes from the embedding store, and gives to it. Its failures are counted, and stop nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from artifacts.config import EmbeddingStoreConfig
from artifacts.encoders.identity import EncoderIdentity
from artifacts.errors import EmbeddingStoreError
from artifacts.features.base import EmbeddingStore
from artifacts.features.opening import open_embedding_store
from jobs.embed.cache import VectorTable

#: Seconds that a call of the store may take. Encoding what it does not answer takes longer.
_TIMEOUT = 30.0
#: Seconds without calls of the store after one has failed: a store that is down costs each shard a few timeouts.
_PAUSE = 60.0
#: Vectors that are put together, at most: what a process that is killed computes again.
_PUT_ROWS = 5000

_log = logging.getLogger(__name__)


class StoredVectors:
    """The embedding store as one shard uses it. Its methods do not fail, and do nothing if there is no store.

    Args:
        store: None if there is none.
        identity: of the encoder.
        clock: returns the current time in seconds.

    Attributes:
        taken: vectors that the store had.
        failures: calls of the store that failed.
    """

    def __init__(
        self, store: EmbeddingStore | None, identity: EncoderIdentity, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._identity, self._clock = store, identity, clock
        self._paused_until = 0.0
        self._keys: list[bytes] = []
        self._vectors: list[np.ndarray] = []
        self.taken = self.failures = 0

    def take(self, table: VectorTable) -> int:
        """Put the vectors that the store has of a table's missing pictures into the table; return how many."""
        if self._store is None:
            return 0
        missing, rows = sorted(table.missing()), self._store.rows_per_call
        for start in range(0, len(missing), rows):
            names = missing[start : start + rows]
            with self._attempt() as store:
                if store is None:
                    break
                found, vectors = store.get(
                    self._identity.id, self._identity.dim, [bytes.fromhex(name) for name in names]
                )
                table.put([names[row] for row in np.flatnonzero(found)], vectors[found].astype(np.float32))
                self.taken += int(found.sum())
        return self.taken

    def add(self, names: list[str], vectors: np.ndarray) -> None:
        """Give the store what the encoder has computed, some time later.

        Args:
            names: sha256 of the pictures, in hex.
            vectors: float32[n, dim].
        """
        if self._store is None:
            return
        self._keys += [bytes.fromhex(name) for name in names]
        self._vectors.append(vectors.astype(np.float16))
        if len(self._keys) >= _PUT_ROWS:
            self.flush()

    def flush(self) -> None:
        """Give the store what it has not been given yet."""
        keys, vectors = self._keys, self._vectors
        self._keys, self._vectors = [], []
        if keys:
            with self._attempt() as store:
                if store is not None:
                    store.put(self._identity.id, keys, np.concatenate(vectors))

    @contextmanager
    def _attempt(self) -> Iterator[EmbeddingStore | None]:
        """Yield the store for a call, which may fail; None while there is a pause."""
        if self._clock() < self._paused_until:
            yield None
            return
        try:
            yield self._store
        except EmbeddingStoreError as error:
            self.failures += 1
            self._paused_until = self._clock() + _PAUSE
            _log.warning("going on for %g s without the embedding store: %s", _PAUSE, error)


@contextmanager
def stored_vectors(config: EmbeddingStoreConfig, identity: EncoderIdentity) -> Iterator[StoredVectors]:
    """Open the embedding store for a block, give it what is pending at the block's end, and close it.

    Raises:
        InputError: the settings name a store that does not exist.
    """
    store = open_embedding_store(config, seconds=_TIMEOUT)
    stored = StoredVectors(store, identity)
    try:
        yield stored
    finally:
        stored.flush()  # also of a shard that fails: its next attempt finds these
        if store is not None:
            store.close()
