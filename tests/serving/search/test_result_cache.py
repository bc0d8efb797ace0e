"""Cached answers and query vectors: searches answer the same with, without and with broken caches."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY

from artifacts.release.release import Release
from artifacts.settings import Settings
from serving.services import services_of
from tests.encoders import ColourWords
from tests.redis import RedisServer
from tests.serving.answers import client_for, encoded, ids, photo
from tests.serving.versions import publish_another
from tests.waiting import wait_until


@pytest.fixture
def caching(rich: Settings) -> Settings:
    return rich.model_copy(update={"embedding_cache_seconds": 3600, "result_cache_seconds": 300})


def result_hits() -> float:
    return REGISTRY.get_sample_value("image_search_cache_hits_total", {"cache": "result"}) or 0.0


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without the fields that differ from call to call."""
    return {name: value for name, value in answer.items() if name not in ("search_id", "query_time_ms")}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Numbers of texts and pictures encoded, and of queries searched in the index."""
    counts = {"texts": 0, "images": 0, "index": 0}
    text_vectors, image_vectors, search = ColourWords.text_vectors, ColourWords.image_vectors, Release.search

    def count_texts(self: ColourWords, texts: Any) -> Any:
        counts["texts"] += len(texts)
        return text_vectors(self, texts)

    def count_pictures(self: ColourWords, prepared: Any) -> Any:
        counts["images"] += len(prepared)
        return image_vectors(self, prepared)

    def count_queries(self: Release, queries: np.ndarray, *args: Any, **kwargs: Any) -> Any:
        counts["index"] += len(queries)
        return search(self, queries, *args, **kwargs)

    monkeypatch.setattr(ColourWords, "text_vectors", count_texts)
    monkeypatch.setattr(ColourWords, "image_vectors", count_pictures)
    monkeypatch.setattr(Release, "search", count_queries)
    return counts


def ask(client: FlaskClient, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/search", json=body)
    assert response.status_code == 200, response.get_data(as_text=True)
    return response.get_json()


def test_equal_searches_are_computed_once(caching: Settings, calls: dict[str, int]) -> None:
    client = client_for(caching)
    calls.update(texts=0, images=0, index=0)
    hits = result_hits()
    body = {"text": "red", "filter": ["size:1", "colour:red"], "facets": ["price"], "limit": 7}
    first, again = ask(client, **body), ask(client, **body)
    # the same search in another form
    other = client.get("/v1/search/text?q=%20red&filter=colour:red&filter=size:1&facets=price&limit=7").get_json()
    assert comparable(first) == comparable(again) == comparable(other)
    assert len({answer["search_id"] for answer in (first, again, other)}) == 3
    assert calls == {"texts": 1, "images": 0, "index": 1}
    assert result_hits() == hits + 2


@pytest.mark.parametrize(
    "change",
    [
        {"text": "blue"}, {"limit": 6}, {"offset": 1}, {"brand": ["brand 1"]}, {"rerank": False}, {"diversity": 0.3},
        {"collapse": 0.9}, {"facets": ["brand"]}, {"multi_select": True}, {"recall": 2}, {"max_per_category": 1},
        {"like": ["p003"]}, {"weights": {"text": 2}}, {"unlike": ["p003"]},
    ],
)  # fmt: skip
def test_every_option_is_part_of_the_key(caching: Settings, calls: dict[str, int], change: dict[str, Any]) -> None:
    client = client_for(caching)
    body = {"text": "red", "limit": 7, "facets": ["price"]}
    ask(client, **body)
    calls["index"] = 0
    ask(client, **{**body, **change})
    assert calls["index"] >= 1


def test_equal_texts_and_pictures_are_encoded_once(caching: Settings, rich_shop: Path, calls: dict[str, int]) -> None:
    client = client_for(caching)
    calls.update(texts=0, images=0)
    for limit in (5, 6):
        ask(client, text="red", images=[encoded(rich_shop, 3)], limit=limit)
        client.post("/v1/search/image", data={"image": (photo(rich_shop, 3), "x.jpg")})
        ask(client, images=[{"data": encoded(rich_shop, 3), "crop": "0,0,0.5,1"}], limit=limit)
    assert (calls["texts"], calls["images"]) == (1, 2)  # a crop is another picture


def test_explained_searches_are_not_cached(caching: Settings, calls: dict[str, int]) -> None:
    client = client_for(caching)
    for _ in range(3):
        assert ask(client, text="red", explain=True)["explain"]["segments"]
    assert calls["index"] >= 3


def test_batch_takes_known_answers_from_the_cache(caching: Settings, calls: dict[str, int]) -> None:
    client = client_for(caching)
    known = ask(client, text="red")
    calls.update(texts=0, index=0)
    searches = [{"text": "blue"}, {"text": "red"}, {}, {"text": "green"}]
    answers = client.post("/v1/search/batch", json={"searches": searches}).get_json()["answers"]
    assert comparable(answers[1]) == comparable(known)
    assert "problem" in answers[2]
    assert (calls["texts"], calls["index"]) == (2, 2)


def test_release_is_part_of_the_key(versions: Settings) -> None:
    client = client_for(versions)
    before = client.get("/v1/search/text?q=red").get_json()
    publish_another(versions, 30)
    services_of(client.application).watcher.poll()
    after = client.get("/v1/search/text?q=red").get_json()
    assert (before["total_found"], after["total_found"]) == (36, 30)
    assert before["release"] != after["release"]


@pytest.mark.redis
def test_replicas_share_a_redis_unless_their_rankings_differ(
    caching: Settings, redis_server: RedisServer, calls: dict[str, int]
) -> None:
    shared = caching.model_copy(update={"redis_url": redis_server.url})
    one, two = client_for(shared), client_for(shared)
    other = client_for(shared.model_copy(update={"weight_rating": 0.5}))
    calls.update(texts=0, index=0)
    first = one.get("/v1/search/text?q=red").get_json()
    assert comparable(two.get("/v1/search/text?q=red").get_json()) == comparable(first)
    assert (calls["texts"], calls["index"]) == (1, 1)
    assert comparable(other.get("/v1/search/text?q=red").get_json()) != comparable(first)
    assert (calls["texts"], calls["index"]) == (1, 2)  # the text is cached, the order is not


@pytest.mark.redis
def test_garbage_in_redis_is_a_miss(caching: Settings, redis_server: RedisServer) -> None:
    client = client_for(caching.model_copy(update={"redis_url": redis_server.url}))
    expected = comparable(client.get("/v1/search/text?q=red").get_json())
    for garbage in (b"", b"garbage", b"[]", b"{}", b'{"release": "another", "results": []}', b"null"):
        for key in redis_server.client.keys("*"):  # type: ignore[union-attr]
            redis_server.client.set(key, garbage)
        assert comparable(client.get("/v1/search/text?q=red").get_json()) == expected


@pytest.mark.redis
def test_restarting_redis_under_load_fails_no_search(caching: Settings, redis_server: RedisServer) -> None:
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

    def wait_for_more_answers() -> None:
        goal = [number + 20 for number in answers]
        wait_until(lambda: all(number >= minimum for number, minimum in zip(answers, goal, strict=True)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_for_more_answers()
        for _ in range(2):
            redis_server.kill()
            wait_for_more_answers()
            redis_server.start()
            wait_for_more_answers()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
