"""What every embedding store does: Parquet in a folder and on a URL, PostgreSQL with and without pgvector, Redis."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from artifacts.errors import EmbeddingStoreError
from artifacts.features.base import EmbeddingStore
from tests.features import DIM, MemoryPlace, Place, keys, unit_vectors


@pytest.fixture
def store(place: Place) -> Iterator[EmbeddingStore]:
    store = place.open()
    yield store
    store.close()


def test_get_returns_the_bits_that_were_put_in_the_order_of_the_keys(store: EmbeddingStore) -> None:
    known, vectors = keys(300), unit_vectors(300)
    unknown = keys(40, seed=1)
    assert store.put("e", known, vectors) == 300
    asked = [*unknown[:20], *known[::-1], *unknown[20:]]
    found, got = store.get("e", DIM, asked)
    assert found.dtype == bool
    assert (got.dtype, got.shape) == (np.float16, (340, DIM))
    assert found.tolist() == [False] * 20 + [True] * 300 + [False] * 20
    assert got[20:320].tobytes() == vectors[::-1].tobytes()
    assert not got[~found].any()


def test_vectors_stay_when_the_store_is_closed(place: Place, store: EmbeddingStore) -> None:
    store.put("e", keys(10), unit_vectors(10))
    store.close()
    again = place.open()
    found, got = again.get("e", DIM, keys(10))
    again.close()
    assert found.all()
    assert np.array_equal(got, unit_vectors(10))


def test_nothing_is_found_in_an_empty_store_and_of_no_keys(store: EmbeddingStore) -> None:
    found, got = store.get("e", DIM, keys(3))
    assert (found.tolist(), got.shape) == ([False] * 3, (3, DIM))
    found, got = store.get("e", DIM, [])
    assert (found.shape, got.shape) == ((0,), (0, DIM))
    assert store.put("e", [], np.empty((0, DIM), np.float16)) == 0


def test_a_key_may_be_asked_for_twice(store: EmbeddingStore) -> None:
    first, second, third = keys(3)
    store.put("e", [first, second], unit_vectors(2))
    found, got = store.get("e", DIM, [second, third, second, first])
    assert found.tolist() == [True, False, True, True]
    assert np.array_equal(got[[3, 0, 2]], unit_vectors(2)[[0, 1, 1]])


def test_encoders_and_dimensions_do_not_share_vectors(store: EmbeddingStore) -> None:
    store.put("open_clip:ViT-B-32/laion2b@1", keys(5), unit_vectors(5))
    store.put("open_clip:ViT-B-32/laion2b@1 query 1 512", keys(5), unit_vectors(5, seed=1))
    store.put("größe 'x'; --", keys(5), unit_vectors(5, seed=2))
    for seed, encoder_id in enumerate(
        ("open_clip:ViT-B-32/laion2b@1", "open_clip:ViT-B-32/laion2b@1 query 1 512", "größe 'x'; --")
    ):
        assert np.array_equal(store.get(encoder_id, DIM, keys(5))[1], unit_vectors(5, seed=seed))
    assert not store.get("another", DIM, keys(5))[0].any()
    assert not store.get("open_clip:ViT-B-32/laion2b@1", 2 * DIM, keys(5))[0].any()


def test_vectors_that_are_not_of_length_1_are_not_stored(store: EmbeddingStore) -> None:
    vectors = unit_vectors(5)
    vectors[1], vectors[2, 3], vectors[3] = 0, np.nan, 2 * vectors[3]
    assert store.put("e", keys(5), vectors) == 2
    assert store.get("e", DIM, keys(5))[0].tolist() == [True, False, False, False, True]


def test_putting_a_key_again_is_no_error(store: EmbeddingStore) -> None:
    store.put("e", keys(20), unit_vectors(20))
    store.put("e", keys(30), unit_vectors(30))
    found, got = store.get("e", DIM, keys(30))
    assert found.all()
    assert np.array_equal(got[20:], unit_vectors(30)[20:])


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 3, bytes(2 * DIM), b"\xff" * (2 * DIM), bytes(2 * DIM + 2)], ids=lambda each: len(each)
)
def test_half_broken_values_count_as_not_found(place: Place, store: EmbeddingStore, content: bytes) -> None:
    store.put("e", keys(4), unit_vectors(4))
    place.spoil(keys(4)[2], content)
    store.close()
    again = place.open()
    found, got = again.get("e", DIM, keys(4))
    assert not found[2]
    assert not got[~found].any()
    assert np.array_equal(got[found], unit_vectors(4)[found])
    again.put("e", keys(8, seed=2), unit_vectors(8, seed=2))  # no error
    again.close()


def test_a_store_that_is_down_raises_and_answers_again_after_its_return(place: Place, store: EmbeddingStore) -> None:
    store.put("e", keys(10), unit_vectors(10))
    place.stop()
    try:
        with pytest.raises(EmbeddingStoreError, match="embedding store ") as get_error:
            store.get("e", DIM, keys(10))
        with pytest.raises(EmbeddingStoreError):
            store.put("e", keys(10), unit_vectors(10))
    finally:
        place.start()
    assert "s3cret" not in str(get_error.value)
    store.put("e", keys(10), unit_vectors(10))
    assert store.get("e", DIM, keys(10))[0].all()


def test_a_store_made_before_its_server_runs_works_once_that_does(place: Place) -> None:
    place.stop()
    try:
        store = place.open()
        with pytest.raises(EmbeddingStoreError):
            store.get("e", DIM, keys(1))
    finally:
        place.start()
    store.put("e", keys(1), unit_vectors(1))
    assert store.get("e", DIM, keys(1))[0].all()
    store.close()


def skip_memory(place: Place) -> None:
    """Skip a test of several threads on memory://, where a file can be read while it is written."""
    if isinstance(place, MemoryPlace):
        pytest.skip("a file in memory:// can be read before it is written; object stores and renamed files cannot")


def test_many_writers_and_readers_at_once_lose_and_mix_nothing(place: Place) -> None:
    skip_memory(place)
    every_key, every_vector = keys(4000), unit_vectors(4000)
    wrong: list[object] = []

    def work(seed: int) -> None:
        store, random = place.open(), np.random.default_rng(seed)
        for part in np.array_split(random.permutation(2000) + 1000 * (seed % 3), 12):
            store.put("e", [every_key[row] for row in part], every_vector[part])
            asked = random.integers(0, 4000, 200)
            found, got = store.get("e", DIM, [every_key[row] for row in asked])
            if not np.array_equal(got[found], every_vector[asked[found]]):
                wrong.append(asked)
            if not store.get("e", DIM, [every_key[row] for row in part])[0].all():
                wrong.append(part)
        store.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert wrong == []
    store = place.open()
    found, got = store.get("e", DIM, every_key)
    store.close()
    assert found.all()
    assert np.array_equal(got, every_vector)


def test_one_store_can_be_used_by_several_threads(place: Place, store: EmbeddingStore) -> None:
    skip_memory(place)

    def work(seed: int) -> bool:
        store.put("e", keys(200, seed), unit_vectors(200, seed))
        found, got = store.get("e", DIM, keys(200, seed))
        return bool(found.all()) and np.array_equal(got, unit_vectors(200, seed))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(24)))


def test_keys_and_vectors_of_another_form_are_refused(store: EmbeddingStore) -> None:
    with pytest.raises(ValueError, match="31 bytes"):
        store.get("e", DIM, [bytes(31)])
    with pytest.raises(ValueError, match="float16"):
        store.put("e", keys(2), unit_vectors(2).astype(np.float32))
    with pytest.raises(ValueError, match="float16"):
        store.put("e", keys(2), unit_vectors(3))
