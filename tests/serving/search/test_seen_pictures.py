"""Pictures of queries in the embedding store: shared by servers, never slow, and never a reason to fail."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY

from artifacts.encoders.registry import load_encoder
from artifacts.errors import EmbeddingStoreError
from artifacts.features.base import EmbeddingStore
from artifacts.features.parquet_store import ParquetStore
from artifacts.settings import Settings
from serving.search.seen_pictures import SeenPictures
from serving.services import services_of
from tests.encoders import ColourWords
from tests.redis import RedisServer
from tests.serving.answers import client_for, ids, photo, scores
from tests.waiting import wait_until

DIGESTS = [f"{number:064x}" for number in range(1, 6)]


def count(outcome: str) -> float:
    return REGISTRY.get_sample_value(f"image_search_cache_{outcome}_total", {"cache": "embedding_store"}) or 0.0


def unit(number: int) -> np.ndarray:
    """float32[8], a unit vector; another one for each number."""
    vector = np.random.default_rng(number).standard_normal(8).astype(np.float32)
    return vector / np.linalg.norm(vector)


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeStore(EmbeddingStore):
    """Keeps vectors in memory; fails, or waits for `answer`, when told to."""

    rows_per_call = 10

    def __init__(self) -> None:
        self.values: dict[tuple[str, bytes], np.ndarray] = {}
        self.failing, self.gets, self.closed = False, 0, False
        self.answer = threading.Event()
        self.answer.set()

    def _read(self, encoder_id: str, keys: list[bytes], found: np.ndarray, vectors: np.ndarray) -> None:
        self.gets += 1
        self.answer.wait(30)
        if self.failing:
            raise EmbeddingStoreError("down")
        for row, key in enumerate(keys):
            if (encoder_id, key) in self.values:
                found[row], vectors[row] = True, self.values[encoder_id, key]

    def _write(self, encoder_id: str, keys: list[bytes], vectors: np.ndarray) -> None:
        if self.failing:
            raise EmbeddingStoreError("down")
        self.values.update(zip([(encoder_id, key) for key in keys], vectors, strict=True))

    def close(self) -> None:
        self.closed = True


# ── the store alone ──────────────────────────────────────────────────────────────────────────────────────────────────


def put(seen: SeenPictures, digests: Sequence[str] = DIGESTS, side: int = 512) -> dict[str, np.ndarray]:
    stored = seen.put_many("e", side, {digest: unit(int(digest, 16)) for digest in digests})
    seen.flush()
    return stored


def test_pictures_are_found_as_they_were_stored() -> None:
    seen = SeenPictures(FakeStore(), wait_seconds=30)
    stored = put(seen, DIGESTS[:3])
    hits, misses = count("hits"), count("misses")
    known = seen.get_many("e", 512, 8, DIGESTS)
    assert known.keys() == stored.keys()
    assert all(np.array_equal(known[digest], stored[digest]) for digest in stored)
    assert all(vector.dtype == np.float32 for vector in known.values())
    assert (count("hits") - hits, count("misses") - misses) == (3, 2)
    seen.close()


def test_pictures_are_of_one_encoder_and_side_and_not_the_catalogs() -> None:
    store = FakeStore()
    seen = SeenPictures(store, wait_seconds=30)
    put(seen)
    assert seen.get_many("f", 512, 8, DIGESTS) == seen.get_many("e", 256, 8, DIGESTS) == {}
    found, _ = store.get("e", 8, [bytes.fromhex(digest) for digest in DIGESTS])  # as the pipeline asks
    assert not found.any()
    seen.close()


def test_without_a_store_nothing_is_found_or_changed() -> None:
    seen = SeenPictures(None)
    vectors = {DIGESTS[0]: unit(1)}
    assert seen.put_many("e", 512, vectors) == vectors
    assert seen.get_many("e", 512, 8, DIGESTS) == {}
    seen.close()


def test_a_store_that_does_not_answer_is_not_waited_for_and_not_asked_for_a_while() -> None:
    store, clock = FakeStore(), Clock()
    seen = SeenPictures(store, clock, wait_seconds=0.05)
    put(seen)
    store.answer.clear()
    failures = count("failures")
    for _ in range(10):
        assert seen.get_many("e", 512, 8, DIGESTS) == {}
    wait_until(lambda: store.gets > 0)  # the thread may begin after the search has gone on
    assert (store.gets, count("failures") - failures) == (1, 1)
    store.answer.set()
    clock.now += 6
    wait_until(lambda: len(seen.get_many("e", 512, 8, DIGESTS)) == 5 or bool(setattr(clock, "now", clock.now + 6)))
    seen.close()


def test_a_store_that_fails_is_not_asked_for_a_while() -> None:
    store, clock = FakeStore(), Clock()
    seen = SeenPictures(store, clock, wait_seconds=30)
    put(seen)
    store.failing = True
    failures = count("failures")
    for _ in range(10):
        assert seen.get_many("e", 512, 8, DIGESTS) == {}
    assert (store.gets, count("failures") - failures) == (1, 1)
    store.failing = False
    clock.now += 6
    assert len(seen.get_many("e", 512, 8, DIGESTS)) == 5
    store.failing = True
    put(seen)  # a failed put fails nothing
    assert count("failures") - failures == 2
    seen.close()


def test_a_store_that_is_too_slow_for_searches_is_filled() -> None:
    store, clock = FakeStore(), Clock()
    seen = SeenPictures(store, clock, wait_seconds=0.01)
    store.answer.clear()  # gets are slow from here on, and puts are not
    for digest in DIGESTS:
        assert seen.get_many("e", 512, 8, [digest]) == {}
        put(seen, [digest])
        clock.now += 1
    assert len(store.values) == len(DIGESTS)
    store.answer.set()
    seen.close()


def test_what_could_not_be_put_is_put_later() -> None:
    store, clock = FakeStore(), Clock()
    seen = SeenPictures(store, clock, wait_seconds=30)
    store.failing = True
    put(seen, DIGESTS[:2])
    store.failing = False
    put(seen, DIGESTS[2:3])  # there is a pause
    assert store.values == {}
    assert seen.get_many("e", 512, 8, DIGESTS) == {}
    assert store.gets == 1  # the pause is for puts only
    clock.now += 6
    seen.flush()
    assert len(seen.get_many("e", 512, 8, DIGESTS)) == 3
    seen.close()


def test_closing_stores_what_is_pending() -> None:
    store = FakeStore()
    seen = SeenPictures(store)
    seen.put_many("e", 512, {DIGESTS[0]: unit(1)})
    seen.close()
    assert (len(store.values), store.closed) == (1, True)
    seen.close()


def test_many_pictures_are_stored_without_waiting_for_the_interval() -> None:
    store = FakeStore()
    seen = SeenPictures(store)
    seen.put_many("e", 512, {f"{number:064x}": unit(number) for number in range(1000)})
    wait_until(lambda: len(store.values) == 1000)
    seen.close()


# ── servers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the calls of the encoder for pictures."""
    sizes: list[int] = []
    image_vectors = ColourWords.image_vectors

    def counting(self: ColourWords, prepared: Any) -> Any:
        sizes.append(len(prepared))
        return image_vectors(self, prepared)

    monkeypatch.setattr(ColourWords, "image_vectors", counting)
    return sizes


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let searches wait for the store, on a busy machine too."""
    monkeypatch.setattr("serving.app.SeenPictures", partial(SeenPictures, wait_seconds=30))


def with_store(published: Settings, url: str | Path) -> Settings:
    return published.model_copy(update={"embedding_store": str(url)})


def search(client: FlaskClient, shop: Path, number: int) -> dict[str, Any]:
    response = client.post("/v1/search/image", data={"image": (photo(shop, number), "photo.jpg")})
    assert response.status_code == 200, response.get_data(as_text=True)
    return response.get_json()


def close(client: FlaskClient) -> None:
    services_of(client.application).close()


def assert_second_server_encodes_nothing(published: Settings, shop: Path, url: str | Path, sizes: list[int]) -> None:
    first = client_for(with_store(published, url))
    sizes.clear()
    answers = [search(first, shop, number) for number in range(3)]
    assert sizes == [1, 1, 1]
    close(first)
    second = client_for(with_store(published, url))
    sizes.clear()
    again = [search(second, shop, number) for number in range(3)]
    assert sizes == []
    assert [ids(answer) for answer in again] == [ids(answer) for answer in answers]
    assert [scores(answer) for answer in again] == [scores(answer) for answer in answers]  # to the last bit
    close(second)


@pytest.mark.usefixtures("patient")
def test_a_new_server_does_not_encode_what_another_has_seen(
    published: Settings, shop: Path, tmp_path: Path, encoded: list[int]
) -> None:
    assert_second_server_encodes_nothing(published, shop, tmp_path / "features", encoded)


@pytest.mark.redis
@pytest.mark.usefixtures("patient")
def test_a_new_server_does_not_encode_what_another_has_put_into_redis(
    published: Settings, shop: Path, redis_server: RedisServer, encoded: list[int]
) -> None:
    assert_second_server_encodes_nothing(published, shop, redis_server.url, encoded)


@pytest.mark.usefixtures("patient")
def test_the_cache_is_asked_before_the_store_and_filled_from_it(
    published: Settings, shop: Path, tmp_path: Path, encoded: list[int]
) -> None:
    settings = with_store(published, tmp_path / "features").model_copy(update={"embedding_cache_seconds": 3600})
    first = client_for(settings)
    search(first, shop, 0)
    close(first)
    second = client_for(settings)
    encoded.clear()
    hits = count("hits")
    for _ in range(3):
        search(second, shop, 0)
    assert (encoded, count("hits") - hits) == ([], 1)
    close(second)


@pytest.mark.redis
def test_searches_go_on_while_the_store_is_down(
    published: Settings, shop: Path, redis_server: RedisServer, encoded: list[int]
) -> None:
    client = client_for(with_store(published, redis_server.url))
    expected = [ids(search(client, shop, number)) for number in range(4)]
    redis_server.kill()
    assert [ids(search(client, shop, number)) for number in range(4)] == expected
    close(client)


def test_a_query_picture_is_not_given_the_catalogs_vector(
    published: Settings, shop: Path, tmp_path: Path, encoded: list[int]
) -> None:
    """The bytes of a file may be those of a stored JPEG, but their vectors are made in different ways."""
    encoder = load_encoder("python:tests.encoders:ColourWords")
    picture = photo(shop, 0).read()
    key = hashlib.sha256(picture).digest()
    wrong = np.eye(8, dtype=np.float16)[:1]
    ParquetStore(str(tmp_path / "features")).put(encoder.id, [key], wrong)
    client = client_for(with_store(published, tmp_path / "features"))
    encoded.clear()
    search(client, shop, 0)
    assert encoded == [1]
    close(client)
