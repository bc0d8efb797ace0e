"""Caches: faster, never wrong, never failing; the same answers with them, without them, and while they break."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from flask.testing import FlaskClient

from artifacts.config import CacheConfig
from artifacts.errors import LookalikeError
from artifacts.release.release import Release
from artifacts.settings import Settings
from serving import cache as cache_module
from serving.cache import FAILURES, HITS, MISSES, LocalCache, RedisCache, open_caches
from serving.services import services_of
from tests.encoders import ColourWords
from tests.redis import RedisServer
from tests.serving.answers import client_for, encoded, ids, photo
from tests.serving.versions import publish_another
from tests.waiting import wait_until


@pytest.fixture
def caching(rich: Settings) -> Settings:
    return rich.model_copy(update={"embedding_cache_seconds": 3600, "result_cache_seconds": 300})


def counted(counter: Any, name: str) -> float:
    return counter.labels(name)._value.get()


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what belongs to one call."""
    return {name: value for name, value in answer.items() if name not in ("search_id", "query_time_ms")}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often texts and pictures were encoded, and the index searched."""
    counts = {"texts": 0, "images": 0, "index": 0}
    text_vectors, image_vectors, search = ColourWords.text_vectors, ColourWords.image_vectors, Release.search

    def texts(self: ColourWords, given: Any) -> Any:
        counts["texts"] += len(given)
        return text_vectors(self, given)

    def images(self: ColourWords, given: Any) -> Any:
        counts["images"] += len(given)
        return image_vectors(self, given)

    def found(self: Release, queries: np.ndarray, *args: Any, **kwargs: Any) -> Any:
        counts["index"] += len(queries)
        return search(self, queries, *args, **kwargs)

    monkeypatch.setattr(ColourWords, "text_vectors", texts)
    monkeypatch.setattr(ColourWords, "image_vectors", images)
    monkeypatch.setattr(Release, "search", found)
    return counts


# ── a cache ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_values_come_back_in_order_and_are_counted() -> None:
    cache = LocalCache("t", 1000, 60)
    hits, misses = counted(HITS, "t"), counted(MISSES, "t")
    cache.put_many({"a": b"1", "b": b"2"})
    assert cache.get_many(["b", "x", "a"]) == [b"2", None, b"1"]
    assert (counted(HITS, "t") - hits, counted(MISSES, "t") - misses) == (2, 1)
    assert cache.get_many([]) == []


def test_memory_is_bounded_and_the_least_used_goes_first() -> None:
    cache = LocalCache("t", 100, 60)
    cache.put_many({str(number): bytes(40) for number in range(2)})
    cache.get_many(["0"])
    cache.put_many({"new": bytes(40)})
    assert [value is not None for value in cache.get_many(["0", "1", "new"])] == [True, False, True]
    cache.put_many({"too large": bytes(101)})
    assert cache.get_many(["too large", "new"])[0] is None


def test_values_grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = LocalCache("t", 100, 60)
    cache.put_many({"a": b"1"})
    now = cache._values.timer()
    monkeypatch.setattr(cache._values, "_TTLCache__timer", lambda: now + 61, raising=False)
    cache._values.expire(now + 61)
    assert cache.get_many(["a"]) == [None]


def test_threads_share_one() -> None:
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


def test_zero_seconds_is_no_cache() -> None:
    caches = open_caches(CacheConfig(result_cache_seconds=0))
    caches.results.put_many({"a": b"1"})
    assert caches.results.get_many(["a"]) == [None]


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(LookalikeError, match="redis_url 'nonsense'"):
        open_caches(CacheConfig(redis_url="nonsense"))


@pytest.mark.redis
def test_redis_keeps_values_for_their_time(redis_server: RedisServer) -> None:
    cache = RedisCache("t", redis_server.client, 60)
    cache.put_many({"a": b"1", "b": bytes(range(256))})
    assert cache.get_many(["b", "x", "a"]) == [bytes(range(256)), None, b"1"]
    assert 59_000 < redis_server.client.pttl("lookalike:t:a") <= 60_000
    cache.put_many({})
    assert cache.get_many([]) == []


@pytest.mark.redis
def test_a_redis_that_is_gone_is_left_alone_for_a_while_and_found_again(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = RedisCache("t", redis_server.client, 60)
    cache.put_many({"a": b"1"})
    redis_server.kill()
    failures = counted(FAILURES, "t")
    assert cache.get_many(["a"]) == [None]
    assert counted(FAILURES, "t") == failures + 1
    for _ in range(10):
        assert cache.get_many(["a"]) == [None]
        cache.put_many({"a": b"2"})
    assert counted(FAILURES, "t") == failures + 1  # not asked again and again
    redis_server.start()
    now = cache_module.time.monotonic()
    monkeypatch.setattr(cache_module.time, "monotonic", lambda: now + 2)
    cache.put_many({"a": b"3"})
    assert cache.get_many(["a"]) == [b"3"]


def test_any_error_of_redis_is_a_miss() -> None:
    class Broken(redis.Redis):
        def mget(self, *_: object, **__: object) -> Any:
            raise redis.ResponseError("OOM command not allowed")

    assert RedisCache("t", Broken(), 60).get_many(["a"]) == [None]


# ── in searches ──────────────────────────────────────────────────────────────────────────────────────────────────


def ask(client: FlaskClient, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/search", json=body)
    assert response.status_code == 200, response.get_data(as_text=True)
    return response.get_json()


def test_the_same_search_is_done_once(caching: Settings, calls: dict[str, int]) -> None:
    client = client_for(caching)
    calls.update(texts=0, images=0, index=0)
    hits = counted(HITS, "result")
    body = {"text": "red", "filter": ["size:1", "colour:red"], "facets": ["price"], "limit": 7}
    first, again = ask(client, **body), ask(client, **body)
    # however it is written
    other = client.get("/v1/search/text?q=%20red&filter=colour:red&filter=size:1&facets=price&limit=7").get_json()
    assert plain(first) == plain(again) == plain(other)
    assert len({answer["search_id"] for answer in (first, again, other)}) == 3
    assert calls == {"texts": 1, "images": 0, "index": 1}
    assert counted(HITS, "result") == hits + 2


@pytest.mark.parametrize(
    "change",
    [
        {"text": "blue"}, {"limit": 6}, {"offset": 1}, {"brand": ["brand 1"]}, {"rerank": False}, {"diversity": 0.3},
        {"collapse": 0.9}, {"facets": ["brand"]}, {"multi_select": True}, {"recall": 2}, {"max_per_category": 1},
        {"like": ["p003"]}, {"weights": {"text": 2}}, {"unlike": ["p003"]},
    ],
)  # fmt: skip
def test_another_search_is_another_answer(caching: Settings, calls: dict[str, int], change: dict[str, Any]) -> None:
    client = client_for(caching)
    body = {"text": "red", "limit": 7, "facets": ["price"]}
    ask(client, **body)
    calls["index"] = 0
    ask(client, **{**body, **change})
    assert calls["index"] >= 1


def test_texts_and_pictures_are_encoded_once(caching: Settings, rich_shop: Path, calls: dict[str, int]) -> None:
    client = client_for(caching)
    calls.update(texts=0, images=0)
    for limit in (5, 6):
        ask(client, text="red", images=[encoded(rich_shop, 3)], limit=limit)
        client.post("/v1/search/image", data={"image": (photo(rich_shop, 3), "x.jpg")})
        ask(client, images=[{"data": encoded(rich_shop, 3), "crop": "0,0,0.5,1"}], limit=limit)
    assert (calls["texts"], calls["images"]) == (1, 2)  # a crop is another picture


def test_what_explains_itself_is_done(caching: Settings, calls: dict[str, int]) -> None:
    client = client_for(caching)
    for _ in range(3):
        assert ask(client, text="red", explain=True)["explain"]["segments"]
    assert calls["index"] >= 3


def test_a_batch_takes_from_the_cache_what_is_there(caching: Settings, calls: dict[str, int]) -> None:
    client = client_for(caching)
    known = ask(client, text="red")
    calls.update(texts=0, index=0)
    searches = [{"text": "blue"}, {"text": "red"}, {}, {"text": "green"}]
    answers = client.post("/v1/search/batch", json={"searches": searches}).get_json()["answers"]
    assert plain(answers[1]) == plain(known)
    assert "problem" in answers[2]
    assert (calls["texts"], calls["index"]) == (2, 2)


def test_a_new_release_is_another_answer(versions: Settings) -> None:
    client = client_for(versions)
    before = client.get("/v1/search/text?q=red").get_json()
    publish_another(versions, 30)
    services_of(client.application).watcher.poll()
    after = client.get("/v1/search/text?q=red").get_json()
    assert (before["total_found"], after["total_found"]) == (36, 30)
    assert before["release"] != after["release"]


@pytest.mark.redis
def test_replicas_share_a_redis_but_not_across_rankings(
    caching: Settings, redis_server: RedisServer, calls: dict[str, int]
) -> None:
    shared = caching.model_copy(update={"redis_url": redis_server.url})
    one, two = client_for(shared), client_for(shared)
    other = client_for(shared.model_copy(update={"weight_rating": 0.5}))
    calls.update(texts=0, index=0)
    first = one.get("/v1/search/text?q=red").get_json()
    assert plain(two.get("/v1/search/text?q=red").get_json()) == plain(first)
    assert (calls["texts"], calls["index"]) == (1, 1)
    assert plain(other.get("/v1/search/text?q=red").get_json()) != plain(first)
    assert (calls["texts"], calls["index"]) == (1, 2)  # its text is known, its order is its own


@pytest.mark.redis
def test_rubbish_in_redis_is_a_miss(caching: Settings, redis_server: RedisServer) -> None:
    client = client_for(caching.model_copy(update={"redis_url": redis_server.url}))
    expected = plain(client.get("/v1/search/text?q=red").get_json())
    for rubbish in (b"", b"rubbish", b"[]", b"{}", b'{"release": "another", "results": []}', b"null"):
        for key in redis_server.client.keys("*"):  # type: ignore[union-attr]
            redis_server.client.set(key, rubbish)
        assert plain(client.get("/v1/search/text?q=red").get_json()) == expected


@pytest.mark.redis
def test_killing_and_starting_redis_under_load_fails_nobody(caching: Settings, redis_server: RedisServer) -> None:
    app = client_for(caching.model_copy(update={"redis_url": redis_server.url})).application
    expected = {word: ids(app.test_client().get(f"/v1/search/text?q={word}").get_json()) for word in ("red", "blue")}
    stop = threading.Event()
    answers = [0] * 4
    wrong: list[object] = []

    def work(number: int) -> None:
        client = app.test_client()
        while not stop.is_set():
            word = ("red", "blue")[answers[number] % 2]
            response = client.get(f"/v1/search/text?q={word}")
            if response.status_code != 200 or ids(response.get_json()) != expected[word]:
                wrong.append(response.get_data(as_text=True)[:300])
            answers[number] += 1

    def more() -> None:
        """Wait until every thread has had some more answers."""
        goal = [count + 20 for count in answers]
        wait_until(lambda: all(count >= most for count, most in zip(answers, goal, strict=True)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        more()
        for _ in range(2):
            redis_server.kill()
            more()
            redis_server.start()
            more()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
