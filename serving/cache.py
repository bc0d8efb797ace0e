"""Caches of values computed before: query vectors of texts and pictures, and whole answers.

They live in the worker's own memory, or in a Redis that all workers and replicas share. A key covers everything that
its value depends on, the release or the encoder among it, so entries never need to be invalidated. A cache that is
down, slow or full costs time and never an answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import redis
import structlog
from cachetools import TTLCache
from redis.backoff import NoBackoff
from redis.retry import Retry

from artifacts.config import CacheConfig
from artifacts.errors import LookalikeError
from serving.metrics import CACHE_FAILURES, CACHE_HITS, CACHE_MISSES

#: Seconds that a call of Redis may take. A search takes a few milliseconds: computing the value again is faster than
#: waiting much longer.
_REDIS_TIMEOUT = 0.05
#: Seconds without calls of Redis after one has failed.
_REDIS_PAUSE = 1.0

_log = structlog.get_logger()


class Cache(Protocol):
    """Bytes by key. Neither method raises."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of `keys` in their order; None for those that are not cached."""
        ...

    def put_many(self, values: Mapping[str, bytes]) -> None:
        """Store values by key."""
        ...


class LocalCache:
    """Caches values in this process's memory and evicts the least recently used.

    Args:
        name: label of the metrics.
        max_bytes: size of all values together; 0 keeps none.
        seconds: lifetime of a value.
        clock: returns the current time in seconds.
    """

    def __init__(self, name: str, max_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._values: TTLCache[str, bytes] = TTLCache(max_bytes, seconds, timer=clock, getsizeof=len)
        self._lock = threading.Lock()

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._lock:
            values = [self._values.get(key) for key in keys]
        _count(self._name, values)
        return values

    def put_many(self, values: Mapping[str, bytes]) -> None:
        with self._lock:
            for key, value in values.items():
                if len(value) <= self._values.maxsize:
                    self._values[key] = value


class RedisCache:
    """Caches values in a Redis. After a failed call it pauses for a second, so that not every search waits for it.

    Args:
        name: label of the metrics, and part of every key.
        client: of the Redis.
        seconds: lifetime of a value.
        clock: returns the current time in seconds.
    """

    def __init__(
        self, name: str, client: redis.Redis, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._client, self._clock = name, client, clock
        self._milliseconds = round(seconds * 1000)
        self._paused_until = 0.0

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        values: list[bytes | None] = [None] * len(keys)
        if keys and self._available():
            try:
                # redis-py's annotations cover its asynchronous client too, which this is not.
                values = self._client.mget([f"lookalike:{self._name}:{key}" for key in keys])  # type: ignore[assignment]
            except redis.RedisError as error:
                self._pause(error)
        _count(self._name, values)
        return values

    def put_many(self, values: Mapping[str, bytes]) -> None:
        if not values or not self._available():
            return
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for key, value in values.items():
                    pipeline.set(f"lookalike:{self._name}:{key}", value, px=self._milliseconds)
                pipeline.execute()
        except redis.RedisError as error:
            self._pause(error)

    def _available(self) -> bool:
        return self._clock() >= self._paused_until

    def _pause(self, error: redis.RedisError) -> None:
        self._paused_until = self._clock() + _REDIS_PAUSE
        CACHE_FAILURES.labels(self._name).inc()
        _log.warning("cache failed", cache=self._name, error=str(error))


@dataclass(frozen=True)
class Caches:
    """The caches of a server."""

    embeddings: Cache
    results: Cache


def open_caches(config: CacheConfig) -> Caches:
    """Make the caches of a server; none of them connects yet.

    Raises:
        LookalikeError: `redis_url` is not a URL of a Redis.
    """
    return Caches(
        _open("embedding", config.embedding_cache_seconds, config),
        _open("result", config.result_cache_seconds, config),
    )


def _open(name: str, seconds: float, config: CacheConfig) -> Cache:
    if not config.redis_url or seconds == 0:
        return LocalCache(name, config.cache_bytes if seconds else 0, max(seconds, 1))
    try:
        client = redis.Redis.from_url(
            config.redis_url,
            socket_timeout=_REDIS_TIMEOUT,
            socket_connect_timeout=_REDIS_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise LookalikeError(f"redis_url {config.redis_url!r}: {error}") from error
    return RedisCache(name, client, seconds)


def _count(name: str, values: Sequence[bytes | None]) -> None:
    hits = sum(value is not None for value in values)
    CACHE_HITS.labels(name).inc(hits)
    CACHE_MISSES.labels(name).inc(len(values) - hits)
