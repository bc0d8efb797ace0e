"""What has been worked out before: vectors of texts and pictures, and whole answers.

In the worker's own memory, or in a Redis that all workers and replicas share. A key holds all that its value depends
on, the release or the encoder among it, so nothing is ever taken back. A cache is there to be fast: one that is down,
slow or full costs time and never an answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import redis
import structlog
from cachetools import TTLCache
from prometheus_client import Counter
from redis.backoff import NoBackoff
from redis.retry import Retry

from artifacts.config import CacheConfig
from artifacts.errors import LookalikeError

HITS = Counter("image_search_cache_hits_total", "Values that a cache had.", ["cache"])
MISSES = Counter("image_search_cache_misses_total", "Values that a cache did not have.", ["cache"])
FAILURES = Counter("image_search_cache_failures_total", "Calls of a cache that failed; the search went on.", ["cache"])

#: Seconds that a call of Redis may take. A search takes a few milliseconds; waiting much longer than that helps nobody.
_REDIS_TIMEOUT = 0.05
#: Seconds in which Redis is left alone after a call has failed.
_REDIS_PAUSE = 1.0

_log = structlog.get_logger()


class Cache(Protocol):
    """Bytes by key. Neither method fails."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of these keys, in this order; None for those that are not here."""
        ...

    def put_many(self, values: Mapping[str, bytes]) -> None: ...


class LocalCache:
    """In this process's memory, the least recently used going first.

    Args:
        name: for the metrics.
        most_bytes: of all values together; 0 keeps none.
        seconds: that a value is kept.
    """

    def __init__(self, name: str, most_bytes: int, seconds: float) -> None:
        self._name = name
        self._values: TTLCache[str, bytes] = TTLCache(most_bytes, seconds, getsizeof=len)
        self._lock = threading.Lock()

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._lock:
            found = [self._values.get(key) for key in keys]
        _count(self._name, found)
        return found

    def put_many(self, values: Mapping[str, bytes]) -> None:
        with self._lock:
            for key, value in values.items():
                if len(value) <= self._values.maxsize:
                    self._values[key] = value


class RedisCache:
    """In a Redis. After a call that failed it is left alone for a second, so that searches do not wait one by one.

    Args:
        name: for the metrics, and the first part of every key.
        seconds: that a value is kept.
    """

    def __init__(self, name: str, client: redis.Redis, seconds: float) -> None:
        self._name, self._client = name, client
        self._milliseconds = round(seconds * 1000)
        self._again = 0.0  # on the monotonic clock

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = [None] * len(keys)
        if keys and self._up():
            try:
                # redis-py's types allow for its asynchronous client, which this is not.
                found = self._client.mget([f"lookalike:{self._name}:{key}" for key in keys])  # type: ignore[assignment]
            except redis.RedisError as error:
                self._failed(error)
        _count(self._name, found)
        return found

    def put_many(self, values: Mapping[str, bytes]) -> None:
        if not values or not self._up():
            return
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for key, value in values.items():
                    pipeline.set(f"lookalike:{self._name}:{key}", value, px=self._milliseconds)
                pipeline.execute()
        except redis.RedisError as error:
            self._failed(error)

    def _up(self) -> bool:
        return time.monotonic() >= self._again

    def _failed(self, error: redis.RedisError) -> None:
        self._again = time.monotonic() + _REDIS_PAUSE
        FAILURES.labels(self._name).inc()
        _log.warning("cache failed", cache=self._name, error=str(error))


@dataclass(frozen=True)
class Caches:
    """The caches of a server."""

    embeddings: Cache
    results: Cache


def open_caches(config: CacheConfig) -> Caches:
    """The caches that the configuration asks for.

    Raises:
        LookalikeError: `redis_url` is none.
    """
    return Caches(
        _open("embedding", config.embedding_cache_seconds, config),
        _open("result", config.result_cache_seconds, config),
    )


def _open(name: str, seconds: float, config: CacheConfig) -> Cache:
    """A cache as configured; nothing is connected to yet."""
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


def _count(name: str, found: Sequence[bytes | None]) -> None:
    hits = sum(value is not None for value in found)
    HITS.labels(name).inc(hits)
    MISSES.labels(name).inc(len(found) - hits)
