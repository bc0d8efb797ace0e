"""Requests at the same time share a call; alone they wait for nobody; one that fails fails alone."""

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


class Encoder:
    """Doubles numbers, so many calls at a time, and no call ends before it may."""

    def __init__(self, concurrency: int = 1) -> None:
        self.concurrency = concurrency
        self.calls: list[list[int]] = []
        self.open = threading.Event()
        self.inside = 0

    def __call__(self, items: list[int]) -> list[int]:
        self.inside += 1
        assert self.inside <= self.concurrency  # never more at once
        self.calls.append(items)
        self.open.wait(60)
        self.inside -= 1
        if -1 in items:
            raise ValueError("minus one")
        return [2 * item for item in items]


def ask(batcher: Batcher[int, int], items: list[int], answers: dict[int, Any]) -> threading.Thread:
    def work() -> None:
        try:
            answers[items[0]] = batcher(items)
        except ValueError as error:
            answers[items[0]] = error

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def gathered(encoder: Encoder, orders: list[list[int]], most: int = 100) -> dict[int, Any]:
    """The answers to orders, of which all but the first of each lane come while their calls run."""
    concurrency = encoder.concurrency
    batcher, answers = Batcher("t", encoder, most, concurrency), {}
    threads: list[threading.Thread] = []
    for place, order in enumerate(orders[:concurrency], start=1):
        threads.append(ask(batcher, order, answers))
        wait_until(lambda place=place: len(encoder.calls) == place)
    for place, order in enumerate(orders[concurrency:], start=1):
        threads.append(ask(batcher, order, answers))
        wait_until(lambda place=place: len(batcher._waiting) == place)
    encoder.open.set()
    for thread in threads:
        thread.join()
    assert batcher._free == concurrency
    return answers


def test_alone_nobody_is_waited_for() -> None:
    encoder = Encoder()
    encoder.open.set()
    batcher = Batcher("t", encoder, 10)
    assert [batcher([number]) for number in (1, 2, 3)] == [[2], [4], [6]]
    assert encoder.calls == [[1], [2], [3]]
    assert batcher([]) == []


def test_what_comes_during_a_call_goes_together_into_the_next() -> None:
    encoder = Encoder()
    answers = gathered(encoder, [[1], [2], [3, 4], [5]])
    assert encoder.calls == [[1], [2, 3, 4, 5]]
    assert answers == {1: [2], 2: [4], 3: [6, 8], 5: [10]}


def test_a_call_has_a_size() -> None:
    encoder = Encoder()
    answers = gathered(encoder, [[1], [2, 3], [4], [5, 6, 7, 8, 9], [10]], most=3)
    assert encoder.calls == [[1], [2, 3, 4], [5, 6, 7, 8, 9], [10]]
    assert answers[5] == [10, 12, 14, 16, 18]


def test_calls_run_side_by_side_in_lanes() -> None:
    encoder = Encoder(concurrency=2)
    answers = gathered(encoder, [[1], [2], [3], [4], [5, 6]])
    assert encoder.calls[:2] == [[1], [2]]
    assert sorted(number for call in encoder.calls[2:] for number in call) == [3, 4, 5, 6]
    assert len(encoder.calls) <= 4
    assert answers == {1: [2], 2: [4], 3: [6], 4: [8], 5: [10, 12]}


def test_one_that_fails_fails_alone() -> None:
    encoder = Encoder()
    answers = gathered(encoder, [[1], [2], [-1], [3]])
    assert isinstance(answers.pop(-1), ValueError)
    assert answers == {1: [2], 2: [4], 3: [6]}


def test_many_threads_each_get_their_own() -> None:
    encoder = Encoder()
    encoder.open.set()
    batcher = Batcher("t", encoder, 16)
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
    assert sum(map(len, encoder.calls)) == 8 * 200 * 2


def test_searches_at_the_same_time_share_a_call_of_the_index(rich: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    app = client_for(rich.model_copy(update={"workers": 256})).application  # one lane, however many cores
    watcher = services_of(app).watcher
    routes = [
        "/v1/products/p001/similar", "/v1/products/p002/similar", "/v1/products/p003/similar?brand=brand%201",
        "/v1/products/p004/similar?brand=brand%201", "/v1/search/text?q=red", "/v1/search/text?q=red&diversity=0.5",
    ]  # fmt: skip
    alone = {route: ids(app.test_client().get(route).get_json()) for route in routes}
    calls: list[tuple[int, bool]] = []
    begun, go_on = threading.Event(), threading.Event()
    search_release = Release.search

    def slow(self: Release, queries: np.ndarray, k: int, params: Any, conditions: Any, **others: Any) -> Any:
        calls.append((len(queries), bool(conditions)))
        begun.set()
        go_on.wait(60)
        return search_release(self, queries, k, params, conditions, **others)

    monkeypatch.setattr(Release, "search", slow)
    answers: dict[str, list[str]] = {}
    threads = [
        threading.Thread(target=lambda route=route: answers.update({route: ids(app.test_client().get(route).json)}))
        for route in routes
    ]
    threads[0].start()
    begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(watcher.snapshot().search._waiting) == len(routes) - 1)
    go_on.set()
    for thread in threads:
        thread.join()
    assert answers == alone
    assert calls[0] == (1, False)
    # Those with the same filter and depth together, whatever is done with what they find.
    assert sorted(calls[1:]) in ([(1, False), (2, False), (2, True)], [(2, True), (3, False)])


def test_searches_at_the_same_time_share_a_call(rich: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    app = client_for(rich).application
    words = ["red", "blue", "green", "white", "black"]
    alone = {word: ids(app.test_client().get(f"/v1/search/text?q={word}").get_json()) for word in words}
    sizes: list[int] = []
    begun, go_on = threading.Event(), threading.Event()
    text_vectors = ColourWords.text_vectors

    def slow(self: ColourWords, texts: Any) -> np.ndarray:
        sizes.append(len(texts))
        begun.set()
        go_on.wait(60)
        return text_vectors(self, texts)

    monkeypatch.setattr(ColourWords, "text_vectors", slow)
    answers: dict[str, list[str]] = {}

    def search(word: str) -> None:
        answers[word] = ids(app.test_client().get(f"/v1/search/text?q={word}").get_json())

    threads = [threading.Thread(target=search, args=(word,)) for word in words]
    threads[0].start()
    begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    batcher = services_of(app).watcher.snapshot().encode_texts
    wait_until(lambda: len(batcher._waiting) == 4)
    go_on.set()
    for thread in threads:
        thread.join()
    assert sizes == [1, 4]
    assert answers == alone
