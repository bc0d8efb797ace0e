"""Embeddings in Redis: in memory, so for the pictures that are asked for often, each for a number of days.

    emb:<encoder id>:<32 bytes of sha256>  →  float16[dim], little-endian

Redis evicts by its own `maxmemory-policy`; an evicted vector is computed again.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from artifacts.errors import EmbeddingStoreError, InputError
from artifacts.features.base import EmbeddingStore

#: Keys of one MGET, and vectors of one pipeline: a command that is longer keeps other clients waiting.
_COMMAND_KEYS = 1000
_SECONDS_PER_DAY = 86_400


class RedisStore(EmbeddingStore):
    """Vectors in a Redis.

    Args:
        url: redis://, rediss:// or unix://, without credentials.
        user: name; empty for Redis' default user.
        password: empty for none.
        days: after which a vector is forgotten; 0: never.
        seconds: that a connection, and each answer, may take.

    Raises:
        InputError: the URL is not one of a Redis.
    """

    rows_per_call: ClassVar[int] = 5000

    def __init__(self, url: str, user: str, password: str, *, days: float, seconds: float) -> None:
        self._url, self._lifetime = url, round(days * _SECONDS_PER_DAY) or None
        try:
            self._client = redis.Redis.from_url(
                url,
                username=user or None,
                password=password or None,
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise InputError(f"embedding_store {url!r}: {error}") from error

    def _read(self, encoder_id: str, keys: list[bytes], found: np.ndarray, vectors: np.ndarray) -> None:
        names = _names(encoder_id, keys)
        size = vectors.itemsize * vectors.shape[1]
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for start in range(0, len(names), _COMMAND_KEYS):
                    pipeline.mget(names[start : start + _COMMAND_KEYS])
                values = [value for answer in pipeline.execute() for value in answer]
        except redis.RedisError as error:
            raise self._failed(error) from error
        found[:] = [value is not None and len(value) == size for value in values]
        content = b"".join(value for value, good in zip(values, found, strict=True) if good)
        vectors[found] = np.frombuffer(content, "<f2").reshape(-1, vectors.shape[1])

    def _write(self, encoder_id: str, keys: list[bytes], vectors: np.ndarray) -> None:
        names, values = _names(encoder_id, keys), vectors.astype("<f2", copy=False)
        try:
            for start in range(0, len(names), _COMMAND_KEYS):
                with self._client.pipeline(transaction=False) as pipeline:
                    for row in range(start, min(start + _COMMAND_KEYS, len(names))):
                        pipeline.set(names[row], values[row].tobytes(), ex=self._lifetime)
                    pipeline.execute()
        except redis.RedisError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        self._client.close()

    def _failed(self, error: redis.RedisError) -> EmbeddingStoreError:
        return EmbeddingStoreError(f"embedding store {self._url}: {error}")


def _names(encoder_id: str, keys: list[bytes]) -> list[bytes]:
    prefix = f"emb:{encoder_id}:".encode()
    return [prefix + key for key in keys]
