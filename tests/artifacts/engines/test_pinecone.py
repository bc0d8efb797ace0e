from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pyarrow as pa
import pytest

from artifacts.engines.base import Engine, EngineAddress
from artifacts.engines.collection import Collection, RowBatch
from artifacts.engines.reference import NAME_PREFIX
from artifacts.engines.registry import open_engine
from artifacts.errors import EngineError, EngineUnavailable
from artifacts.products.filters import Condition
from tests.artifacts.engines.conftest import DIM, Rows
from tests.artifacts.engines.contract import (
    EngineContract,
    loaded,
    no_progress,
    require_request_logged_without_key,
)
from tests.pinecone_fake import PineconeFake
from tests.waiting import wait_until

KEY = "s3cret-key"


def opened(fake: PineconeFake, key: str = KEY) -> Engine:
    return open_engine("pinecone", EngineAddress(fake.url, key))


@pytest.fixture(scope="module")
def running() -> Iterator[PineconeFake]:
    fake = PineconeFake(DIM, KEY)
    yield fake
    fake.stop()


@pytest.fixture
def fake(running: PineconeFake) -> Iterator[PineconeFake]:
    """The fake, which a test may hold up or stop."""
    running.bodies.clear()
    yield running
    running.lag, running.refusals, running.page = 0.0, 0, 100
    running.proceed.set()
    assert running.wrong_answers == []


@pytest.fixture
def engine(fake: PineconeFake) -> Iterator[Engine]:
    engine = opened(fake)
    yield engine
    engine.close()


class TestPinecone(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Iterator[Engine]:
        fake = PineconeFake(DIM, KEY, lag=0.2)
        engine = opened(fake)
        yield engine
        engine.close()
        fake.stop()
        assert fake.wrong_answers == []

    @pytest.fixture(autouse=True)
    def give_up_missing_rows_soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("artifacts.engines.pinecone.engine._APPEAR_SECONDS", 2.0)


@pytest.fixture(scope="module")
def few() -> Rows:
    return Rows(300)


# ── loading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_requests_have_at_most_1000_records_and_2_mb(fake: PineconeFake, engine: Engine) -> None:
    rows = Rows(2_000)
    long = pa.table({"text": ["ö" * 4_000] * 2_000})
    collection = Collection(f"{NAME_PREFIX}long", 2_000, DIM, {"text": pa.string()})
    engine.write(collection, RowBatch(0, rows.vectors, long))
    assert sum(fake.bodies) > 2_000 * 8_000
    assert max(fake.bodies) <= 2_000_000
    assert len(fake.bodies) <= 10
    with loaded(engine, rows):
        pass
    engine.drop(collection.name)


def test_row_with_too_long_columns_is_named(engine: Engine) -> None:
    table = pa.table({"text": ["short", "x" * 41_000]})
    collection = Collection(f"{NAME_PREFIX}long", 2, DIM, {"text": pa.string()})
    with pytest.raises(EngineError, match=r"row 11 .*41,0.*40,000.*shorten"):
        engine.write(collection, RowBatch(10, Rows(2).vectors, table))


def test_load_ends_when_all_rows_are_counted(fake: PineconeFake, engine: Engine, few: Rows) -> None:
    fake.lag = 1.5
    start = time.monotonic()
    with loaded(engine, few) as (collection, search):
        assert time.monotonic() - start >= 1.5
        assert engine.count(collection) == 300
        assert len(search.search(few.queries(1), 300, 0, (), 30)[0].rows) == 300


def test_rows_that_never_appear_end_the_load(
    fake: PineconeFake, engine: Engine, few: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artifacts.engines.pinecone.engine._APPEAR_SECONDS", 0.5)
    fake.lag = 3600
    collection = few.collection(f"{NAME_PREFIX}late")
    with pytest.raises(EngineUnavailable, match="0 rows in lookalike_late, which has 300"):
        engine.build(collection, few.batches, no_progress)
    engine.drop(collection.name)


def test_throttled_requests_are_sent_again(fake: PineconeFake, engine: Engine, few: Rows) -> None:
    fake.refusals = 2
    with loaded(engine, few) as (collection, _):
        assert engine.count(collection) == 300


def test_index_for_other_vectors_is_refused(engine: Engine, few: Rows) -> None:
    with pytest.raises(EngineError, match="vectors of 16 numbers, the segment's have 17"):
        engine.build(replace(few.collection(f"{NAME_PREFIX}x"), dim=17), few.batches, no_progress)
    fake = PineconeFake(DIM, KEY, metric="euclidean")
    other = opened(fake)
    with pytest.raises(EngineError, match="dotproduct"):
        other.build(few.collection(f"{NAME_PREFIX}x"), few.batches, no_progress)
    other.close()
    fake.stop()


def test_options_are_refused(engine: Engine, few: Rows) -> None:
    with pytest.raises(EngineError, match="engine_options of pinecone: pods"):
        engine.build(replace(few.collection(f"{NAME_PREFIX}x"), options={"pods": 2}), few.batches, no_progress)


def test_names_of_all_pages_are_listed(fake: PineconeFake, engine: Engine, few: Rows) -> None:
    fake.page = 2
    names = [f"{NAME_PREFIX}page_{number}" for number in range(5)]
    for name in [*names, "another"]:
        engine.write(few.collection(name), RowBatch(0, few.vectors[:1], few.table.slice(0, 1)))
    assert engine.names() == names
    for name in [*names, "another"]:
        engine.drop(name)


# ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────────────

LARGE = [2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**62, None]


@pytest.mark.parametrize(
    "condition",
    [
        Condition("number", any_of=(2**53 + 1,)),
        Condition("number", any_of=(2**53 - 1,)),
        Condition("number", none_of=(2**53, 2**53 - 1)),
        Condition("number", minimum=2**53 + 1),
        Condition("number", maximum=2**53 - 1),
        Condition("number", below=-(2**53)),
        Condition("price", maximum=float("inf")),
    ],
    ids=lambda condition: str(condition)[:80],
)
def test_numbers_that_pinecone_would_round_exclude_nothing(engine: Engine, condition: Condition) -> None:
    table = pa.table({"number": pa.array(LARGE, pa.int64()), "price": [0.0, 1.0, 2.0, 19_999.0, 5.0, 6.0]})
    rows = Rows(len(LARGE))
    rows.table = table
    collection = Collection(f"{NAME_PREFIX}large", len(LARGE), DIM, {"number": pa.int64(), "price": pa.float64()})
    engine.build(collection, rows.batches, no_progress)
    (found,) = engine.open(collection).search(rows.queries(1), 10, 0, (condition,), 30)
    assert set(rows.passing((condition,)).tolist()) <= set(found.rows.tolist())
    engine.drop(collection.name)


# ── timeouts, restarts, credentials ──────────────────────────────────────────────────────────────────────────────────


def test_search_of_an_index_that_hangs_ends_in_time(fake: PineconeFake, engine: Engine, few: Rows) -> None:
    with loaded(engine, few) as (_, search):
        fake.proceed.clear()
        start = time.monotonic()
        with pytest.raises(EngineUnavailable, match="in time") as raised:
            search.search(few.queries(3), 5, 0, (), 0.4)
        assert time.monotonic() - start < 5
        assert KEY not in str(raised.value)
        with pytest.raises(EngineUnavailable, match="in time"):
            engine.ping(0.2)
        with pytest.raises(EngineUnavailable, match="no time is left"):
            search.search(few.queries(1), 5, 0, (), -0.1)
        fake.proceed.set()
        assert len(search.search(few.queries(1), 5, 0, (), 30)[0].rows) == 5


def test_closing_ends_the_calls_in_progress_and_the_next_ones_work(
    fake: PineconeFake, engine: Engine, few: Rows
) -> None:
    with loaded(engine, few) as (_, search), ThreadPoolExecutor(2) as pool:
        fake.proceed.clear()
        arrived = fake.requests + 2
        calls = [pool.submit(search.search, few.queries(1), 5, 0, (), 60) for _ in range(2)]
        wait_until(lambda: fake.requests == arrived)
        engine.close()
        for call in calls:
            with pytest.raises(EngineUnavailable, match="was closed"):
                call.result(30)
        fake.proceed.set()
        assert len(search.search(few.queries(1), 5, 0, (), 30)[0].rows) == 5


def test_open_search_goes_on_after_the_index_was_down(fake: PineconeFake, engine: Engine, few: Rows) -> None:
    with loaded(engine, few) as (_, search):
        (before,) = search.search(few.queries(1), 20, 0, (), 30)
        fake.stop()
        start = time.monotonic()
        with pytest.raises(EngineUnavailable, match=fake.url):
            search.search(few.queries(1), 20, 0, (), 1)
        assert time.monotonic() - start < 6
        fake.start()
        (after,) = search.search(few.queries(1), 20, 0, (), 30)
        assert (after.rows == before.rows).all()


def test_searches_of_several_threads_have_their_own_results(engine: Engine, few: Rows) -> None:
    queries = few.queries(8)
    with loaded(engine, few) as (_, search), ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda query: search.search(query[None], 10, 0, (), 30)[0].rows, queries))
    for query, rows in zip(queries, found, strict=True):
        assert (rows == few.best(query, 10)).all()


def test_wrong_credential_is_named_and_never_repeated(fake: PineconeFake, few: Rows) -> None:
    engine = opened(fake, "wr0ng")
    with pytest.raises(EngineError, match="engine_key") as raised:
        engine.build(few.collection(f"{NAME_PREFIX}x"), few.batches, no_progress)
    assert not isinstance(raised.value, EngineUnavailable)
    assert "wr0ng" not in str(raised.value) + repr(engine) + repr(engine.address)
    engine.close()
    for key in ("", "wr0ng\n"):
        with pytest.raises(EngineError, match="engine_key") as raised:
            opened(fake, key)
        assert "wr0ng" not in str(raised.value)


def test_credential_is_in_no_log(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_request_logged_without_key(engine, "/namespaces", KEY, caplog, monkeypatch)


def test_engine_that_was_used_can_be_used_after_a_fork(engine: Engine, few: Rows) -> None:
    with loaded(engine, few) as (_, search):
        child = os.fork()
        if child == 0:  # pytest's own clean-up is the parent's
            try:
                (found,) = search.search(few.queries(1), 5, 0, (), 30)
            except EngineError:
                os._exit(1)
            os._exit(0 if len(found.rows) == 5 else 2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(search.search(few.queries(1), 5, 0, (), 30)[0].rows) == 5


@pytest.mark.parametrize(
    "url", ["index-1.svc.pinecone.io", "http://index-1.svc.pinecone.io", "https://", "https://me:pw0rd@127.0.0.1", ""]
)
def test_address_that_is_not_one_is_refused(url: str) -> None:
    with pytest.raises(EngineError, match="engine_url") as raised:
        open_engine("pinecone", EngineAddress(url, KEY))
    assert "pw0rd" not in str(raised.value)


def test_nothing_is_started_before_it_is_used() -> None:
    threads = threading.active_count()
    engine = open_engine("pinecone", EngineAddress("http://127.0.0.1:9", KEY))
    engine.close()
    assert threading.active_count() == threads


# ── the fake ─────────────────────────────────────────────────────────────────────────────────────────────────────────


VALUES = [0.1] * DIM


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/vectors/upsert",
            {"namespace": "n", "vectors": [{"id": "1", "values": [0.1] * DIM, "metadata": {"a": None}}]},
        ),
        ("/vectors/upsert", {"namespace": "n", "vectors": [{"id": "1", "values": [0.0] * DIM}]}),
        ("/vectors/upsert", {"namespace": "n", "vectors": [{"id": "1", "values": [0.1] * 3}]}),
        ("/vectors/upsert", {"namespace": "n", "vectors": [{"id": "1", "values": [0.1] * DIM}] * 1_001}),
        ("/vectors/upsert", {"namespace": "n", "vectors": [{"id": "1" * 513, "values": [0.1] * DIM}]}),
        ("/query", {"namespace": "n", "topK": 10_001, "vector": [0.1] * DIM}),
        ("/query", {"namespace": "n", "topK": 10, "vector": [0.1] * DIM, "filter": {"a": {"$like": "b"}}}),
        ("/query", {"namespace": "n", "topK": 10, "vector": [0.1] * DIM, "filter": {"a": {"$gte": "b"}}}),
        ("/query", {"namespace": "n", "topK": 10, "vector": [0.1] * DIM, "filter": {"a": {"$in": [True]}}}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_fake_refuses_what_pinecone_refuses(fake: PineconeFake, path: str, body: dict[str, object]) -> None:
    headers = {"Api-Key": KEY, "X-Pinecone-Api-Version": "2025-10"}
    assert httpx.post(fake.url + path, json={"namespace": "n", **body}, headers=headers).status_code == 400
