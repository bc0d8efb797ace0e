"""Batching: concurrent requests share a call, a lone one runs at once, and a failing one fails alone."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from artifacts.release.release import Release
from artifacts.settings import Settings
from serving.releases.batching import Batcher
from serving.services import services_of
from tests.encoders import ColourWords
from tests.serving.answers import client_for, ids
from tests.waiting import wait_until


class Doubler:
    """Doubles numbers. Its calls end once `may_end` is set; more calls than `concurrency` at a time are an error."""

    def __init__(self, concurrency: int = 1) -> None:
        self.concurrency = concurrency
        self.calls: list[list[int]] = []
        self.may_end = threading.Event()
        self.running = 0

    def __call__(self, items: list[int]) -> list[int]:
        self.running += 1
        assert self.running <= self.concurrency
        self.calls.append(items)
        self.may_end.wait(60)
        self.running -= 1
        if -1 in items:
            raise ValueError("minus one")
        return [2 * item for item in items]


def start_request(batcher: Batcher[int, int], items: list[int], results: dict[int, Any]) -> threading.Thread:
    """Request items in a thread; their results or error are stored by the first item."""

    def work() -> None:
        try:
            results[items[0]] = batcher(items)
        except ValueError as error:
            results[items[0]] = error

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def run_concurrently(doubler: Doubler, requests: list[list[int]], limit: int = 100) -> dict[int, Any]:
    """Results by first item of requests that arrive in order: the first ones start calls, the others meanwhile."""
    concurrency = doubler.concurrency
    batcher, results = Batcher("t", doubler, limit, concurrency), {}
    threads: list[threading.Thread] = []
    for number, items in enumerate(requests[:concurrency], start=1):
        threads.append(start_request(batcher, items, results))
        wait_until(lambda number=number: len(doubler.calls) == number)
    for number, items in enumerate(requests[concurrency:], start=1):
        threads.append(start_request(batcher, items, results))
        wait_until(lambda number=number: batcher.waiting == number)
    doubler.may_end.set()
    for thread in threads:
        thread.join()
    assert batcher.free_slots == concurrency
    return results


def test_lone_request_runs_at_once() -> None:
    doubler = Doubler()
    doubler.may_end.set()
    batcher = Batcher("t", doubler, 10)
    assert [batcher([number]) for number in (1, 2, 3)] == [[2], [4], [6]]
    assert doubler.calls == [[1], [2], [3]]
    assert batcher([]) == []


def test_requests_during_a_call_share_the_next_one() -> None:
    doubler = Doubler()
    results = run_concurrently(doubler, [[1], [2], [3, 4], [5]])
    assert doubler.calls == [[1], [2, 3, 4, 5]]
    assert results == {1: [2], 2: [4], 3: [6, 8], 5: [10]}


def test_call_has_a_limit_of_items() -> None:
    doubler = Doubler()
    results = run_concurrently(doubler, [[1], [2, 3], [4], [5, 6, 7, 8, 9], [10]], limit=3)
    assert doubler.calls == [[1], [2, 3, 4], [5, 6, 7, 8, 9], [10]]
    assert results[5] == [10, 12, 14, 16, 18]


def test_calls_run_in_parallel_up_to_the_concurrency() -> None:
    doubler = Doubler(concurrency=2)
    results = run_concurrently(doubler, [[1], [2], [3], [4], [5, 6]])
    assert doubler.calls[:2] == [[1], [2]]
    assert sorted(number for call in doubler.calls[2:] for number in call) == [3, 4, 5, 6]
    assert len(doubler.calls) <= 4
    assert results == {1: [2], 2: [4], 3: [6], 4: [8], 5: [10, 12]}


def test_failing_request_fails_alone() -> None:
    doubler = Doubler()
    results = run_concurrently(doubler, [[1], [2], [-1], [3]])
    assert isinstance(results.pop(-1), ValueError)
    assert results == {1: [2], 2: [4], 3: [6]}


def test_every_thread_gets_its_own_results() -> None:
    doubler = Doubler()
    doubler.may_end.set()
    batcher = Batcher("t", doubler, 16)
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(200):
            item = number * 1000 + turn
            if batcher([item, item + 1]) != [2 * item, 2 * item + 2]:
                wrong.append(item)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(map(len, doubler.calls)) == 8 * 200 * 2


# ── through the server ───────────────────────────────────────────────────────────────────────────────────────────────


def test_concurrent_searches_share_a_call_of_the_index(rich: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    app = client_for(rich.model_copy(update={"workers": 256})).application  # one call at a time on any machine
    watcher = services_of(app).watcher
    routes = [
        "/v1/products/p001/similar", "/v1/products/p002/similar", "/v1/products/p003/similar?brand=brand%201",
        "/v1/products/p004/similar?brand=brand%201", "/v1/search/text?q=red", "/v1/search/text?q=red&diversity=0.5",
    ]  # fmt: skip
    alone = {route: ids(app.test_client().get(route).get_json()) for route in routes}
    calls: list[tuple[int, bool]] = []
    started, may_continue = threading.Event(), threading.Event()
    search_release = Release.search

    def slow(self: Release, queries: np.ndarray, k: int, params: Any, conditions: Any, **options: Any) -> Any:
        calls.append((len(queries), bool(conditions)))
        started.set()
        may_continue.wait(60)
        return search_release(self, queries, k, params, conditions, **options)

    monkeypatch.setattr(Release, "search", slow)
    answers: dict[str, list[str]] = {}
    threads = [
        threading.Thread(target=lambda route=route: answers.update({route: ids(app.test_client().get(route).json)}))
        for route in routes
    ]
    threads[0].start()
    started.wait(60)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: watcher.snapshot().search.waiting == len(routes) - 1)
    may_continue.set()
    for thread in threads:
        thread.join()
    assert answers == alone
    assert calls[0] == (1, False)
    # Queries with the same filter and depth share a call, whatever happens to their hits.
    assert sorted(calls[1:]) in ([(1, False), (2, False), (2, True)], [(2, True), (3, False)])


def test_concurrent_searches_share_a_call_of_the_encoder(rich: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    app = client_for(rich).application
    words = ["red", "blue", "green", "white", "black"]
    alone = {word: ids(app.test_client().get(f"/v1/search/text?q={word}").get_json()) for word in words}
    sizes: list[int] = []
    started, may_continue = threading.Event(), threading.Event()
    text_vectors = ColourWords.text_vectors

    def slow(self: ColourWords, texts: Any) -> np.ndarray:
        sizes.append(len(texts))
        started.set()
        may_continue.wait(60)
        return text_vectors(self, texts)

    monkeypatch.setattr(ColourWords, "text_vectors", slow)
    answers: dict[str, list[str]] = {}

    def search(word: str) -> None:
        answers[word] = ids(app.test_client().get(f"/v1/search/text?q={word}").get_json())

    threads = [threading.Thread(target=search, args=(word,)) for word in words]
    threads[0].start()
    started.wait(60)
    for thread in threads[1:]:
        thread.start()
    batcher = services_of(app).watcher.snapshot().encode_texts
    wait_until(lambda: batcher.waiting == 4)
    may_continue.set()
    for thread in threads:
        thread.join()
    assert sizes == [1, 4]
    assert answers == alone
