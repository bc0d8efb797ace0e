"""Caches in memory and in Redis: values, their lifetime, and failures."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import redis
from prometheus_client import REGISTRY

from artifacts.config import CacheConfig
from artifacts.errors import LookalikeError
from serving.cache import LocalCache, RedisCache, open_caches
from tests.redis import RedisServer


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def count(outcome: str, cache: str) -> float:
    """The "hits", "misses" or "failures" of a cache, by its metric."""
    return REGISTRY.get_sample_value(f"image_search_cache_{outcome}_total", {"cache": cache}) or 0.0


def test_local_cache_returns_values_in_order_and_counts_hits() -> None:
    cache = LocalCache("t", 1000, 60)
    hits, misses = count("hits", "t"), count("misses", "t")
    cache.put_many({"a": b"1", "b": b"2"})
    assert cache.get_many(["b", "x", "a"]) == [b"2", None, b"1"]
    assert (count("hits", "t") - hits, count("misses", "t") - misses) == (2, 1)
    assert cache.get_many([]) == []


def test_local_cache_evicts_the_least_recently_used_value() -> None:
    cache = LocalCache("t", 100, 60)
    cache.put_many({str(number): bytes(40) for number in range(2)})
    cache.get_many(["0"])
    cache.put_many({"new": bytes(40)})
    assert [value is not None for value in cache.get_many(["0", "1", "new"])] == [True, False, True]
    cache.put_many({"too large": bytes(101)})
    assert cache.get_many(["too large", "new"])[0] is None


def test_local_cache_forgets_values_after_their_lifetime() -> None:
    clock = Clock()
    cache = LocalCache("t", 100, 60, clock)
    cache.put_many({"a": b"1"})
    clock.now += 59
    assert cache.get_many(["a"]) == [b"1"]
    clock.now += 2
    assert cache.get_many(["a"]) == [None]


def test_local_cache_is_safe_with_several_threads() -> None:
    cache = LocalCache("t", 10_000, 60)
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(300):
            key = str(turn % 50)
            cache.put_many({key: key.encode()})
            value = cache.get_many([key])[0]
            if value not in (None, key.encode()):
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_cache_of_zero_seconds_keeps_nothing() -> None:
    caches = open_caches(CacheConfig(result_cache_seconds=0))
    caches.results.put_many({"a": b"1"})
    assert caches.results.get_many(["a"]) == [None]


def test_open_caches_refuses_an_invalid_redis_url() -> None:
    with pytest.raises(LookalikeError, match="redis_url 'nonsense'"):
        open_caches(CacheConfig(redis_url="nonsense"))


@pytest.mark.redis
def test_redis_cache_sets_the_lifetime_of_values(redis_server: RedisServer) -> None:
    cache = RedisCache("t", redis_server.client, 60)
    cache.put_many({"a": b"1", "b": bytes(range(256))})
    assert cache.get_many(["b", "x", "a"]) == [bytes(range(256)), None, b"1"]
    assert 59_000 < redis_server.client.pttl("lookalike:t:a") <= 60_000
    cache.put_many({})
    assert cache.get_many([]) == []


@pytest.mark.redis
def test_redis_cache_pauses_after_a_failure_and_recovers(redis_server: RedisServer) -> None:
    clock = Clock()
    cache = RedisCache("t", redis_server.client, 60, clock)
    cache.put_many({"a": b"1"})
    redis_server.kill()
    failures = count("failures", "t")
    assert cache.get_many(["a"]) == [None]
    assert count("failures", "t") == failures + 1
    for _ in range(10):
        assert cache.get_many(["a"]) == [None]
        cache.put_many({"a": b"2"})
    assert count("failures", "t") == failures + 1  # no call was made during the pause
    redis_server.start()
    clock.now += 2
    cache.put_many({"a": b"3"})
    assert cache.get_many(["a"]) == [b"3"]


def test_redis_cache_treats_any_error_as_a_miss() -> None:
    class Broken(redis.Redis):
        def mget(self, *_: object, **__: object) -> Any:
            raise redis.ResponseError("OOM command not allowed")

    assert RedisCache("t", Broken(), 60).get_many(["a"]) == [None]
