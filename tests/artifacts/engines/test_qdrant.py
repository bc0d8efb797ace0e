from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import flask
import numpy as np
import pytest
from werkzeug.serving import make_server

from artifacts.engines.base import Engine, EngineAddress
from artifacts.engines.checking import check_sample
from artifacts.engines.collection import Collection
from artifacts.engines.reference import NAME_PREFIX
from artifacts.engines.registry import open_engine
from artifacts.errors import EngineError, EngineUnavailable
from artifacts.products.filters import Condition
from tests.artifacts.engines.conftest import Rows
from tests.artifacts.engines.contract import (
    EngineContract,
    loaded,
    no_progress,
    require_request_logged_without_key,
)
from tests.qdrant_server import QdrantServer

KEY = "s3cret-key"

pytestmark = [
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore:Payload indexes:UserWarning"),
    pytest.mark.filterwarnings("ignore:Api key is used:UserWarning"),
]


def opened(server: QdrantServer, key: str = KEY) -> Engine:
    return open_engine("qdrant", EngineAddress(server.url, key))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantServer]:
    server = QdrantServer(tmp_path_factory.mktemp("qdrant"), KEY)
    server.start()
    yield server
    server.kill()


@pytest.mark.filterwarnings("ignore:Local mode:UserWarning")
class TestQdrantInProcess(EngineContract):
    """The client's own imitation of a Qdrant, which searches exactly."""

    other_options: ClassVar = {"m": 8}

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Iterator[Engine]:
        engine = open_engine("qdrant", EngineAddress("memory:"))
        yield engine
        engine.close()


class TestQdrantCore(EngineContract):
    """Qdrant's core behind the part of its REST API that is used."""

    other_options: ClassVar = {"m": 8}

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, running: QdrantServer) -> Iterator[Engine]:
        engine = opened(running)
        yield engine
        engine.close()


@pytest.fixture
def engine(running: QdrantServer) -> Iterator[Engine]:
    engine = opened(running)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def few() -> Rows:
    return Rows(300)


def with_options(rows: Rows, **options: int | float | str) -> Collection:
    return replace(rows.collection(f"{NAME_PREFIX}options"), options=options)


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("quantization", ["scalar", "binary"])
def test_quantized_vectors_are_scored_again_in_float16(engine: Engine, quantization: str) -> None:
    rows = Rows(3_000)
    options = {"quantization": quantization, "oversampling": 8.0, "indexing_threshold": 10, "full_scan_threshold": 10}
    collection = with_options(rows, **options)
    engine.build(collection, rows.batches, no_progress)
    try:
        for query in rows.queries(4):
            (found,) = engine.open(collection).search(query[None], 10, 512, (), 30)
            exact = rows.vectors[found.rows].astype(np.float32) @ query
            np.testing.assert_allclose(found.scores, exact, atol=5e-3)
            if quantization == "scalar":  # the sign bits of 16 numbers do not tell rows apart
                assert len(np.intersect1d(found.rows, rows.best(query, 10))) >= 9
    finally:
        engine.drop(collection.name)


@pytest.mark.parametrize("options", [{"mm": 16}, {"m": 1_000}, {"quantization": "product"}, {"on_disk": 2}])
def test_unknown_and_invalid_options_are_refused(engine: Engine, few: Rows, options: dict[str, int | str]) -> None:
    with pytest.raises(EngineError, match=f"engine_options of qdrant: {next(iter(options))}.*oversampling"):
        engine.build(with_options(few, **options), few.batches, no_progress)


# ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "condition",
    [
        Condition("size (cm)", minimum=-(2**53) - 3),
        Condition("size (cm)", maximum=2**60),
        Condition("price", maximum=float("inf")),
        Condition("price", none_of=(float("-inf"),)),
        Condition("size (cm)", none_of=(2**60,)),
    ],
    ids=str,
)
def test_bounds_beyond_what_json_has_exclude_nothing(engine: Engine, few: Rows, condition: Condition) -> None:
    with loaded(engine, few) as (_, search):
        (found,) = search.search(few.queries(1), 300, 512, (condition,), 30)
        assert set(few.passing((condition,))) <= set(found.rows.tolist())


# ── timeouts, restarts, credentials ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def fragile(running: QdrantServer) -> Iterator[QdrantServer]:
    """The server, which the test may freeze or kill."""
    yield running
    if running.process is None:
        running.start()
    os.kill(running.process.pid, signal.SIGCONT)  # type: ignore[union-attr]


def test_search_of_a_frozen_server_ends_in_time(fragile: QdrantServer, few: Rows) -> None:
    with loaded(opened(fragile), few) as (_, search):
        assert fragile.process is not None
        os.kill(fragile.process.pid, signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(EngineUnavailable, match="in time") as raised:
            search.search(few.queries(1), 5, 64, (), 0.4)
        assert time.monotonic() - start < 5
        assert KEY not in str(raised.value)
        with pytest.raises(EngineUnavailable):
            opened(fragile).ping(0.2)
        os.kill(fragile.process.pid, signal.SIGCONT)
        assert len(search.search(few.queries(1), 5, 64, (), 30)[0].rows) == 5


def test_search_of_a_server_whose_answer_trickles_ends_in_time() -> None:
    """Each piece comes in time; the whole does not."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def trickle() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):  # the client leaves
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(100):
                    connection.sendall(b" ")
                    time.sleep(0.1)

        server = threading.Thread(target=trickle)
        server.start()
        engine = open_engine("qdrant", EngineAddress(url))
        start = time.monotonic()
        with pytest.raises(EngineUnavailable, match="in time"):
            engine.ping(0.5)
        assert time.monotonic() - start < 5
        engine.close()
        server.join()


def test_open_search_goes_on_after_the_server_was_killed_and_started_again(fragile: QdrantServer, few: Rows) -> None:
    with loaded(opened(fragile), few) as (collection, search):
        (before,) = search.search(few.queries(1), 20, 256, (), 30)
        fragile.kill()
        with pytest.raises(EngineUnavailable, match=fragile.url):
            search.search(few.queries(1), 20, 256, (), 5)
        fragile.start()
        (after,) = search.search(few.queries(1), 20, 256, (), 30)
        assert (after.rows == before.rows).all()
        assert opened(fragile).is_complete(collection)


def test_load_goes_on_after_the_server_was_killed(fragile: QdrantServer) -> None:
    rows = Rows(9_000)
    collection = rows.collection(f"{NAME_PREFIX}killed")

    def kill_in_between(done: int, total: int) -> None:
        if done == 4_000:
            fragile.kill()

    with pytest.raises(EngineUnavailable):
        opened(fragile).build(collection, rows.batches, kill_in_between)
    fragile.start()
    engine = opened(fragile)
    engine.build(collection, rows.batches, no_progress)
    assert engine.count(collection) == 9_000
    check_sample(engine, collection, np.arange(0, 9_000, 50), rows.vectors[::50].astype(np.float32), rows.columns)
    engine.drop(collection.name)


def test_wrong_credential_is_named_and_never_repeated(running: QdrantServer, few: Rows) -> None:
    engine = opened(running, "wr0ng")
    with pytest.raises(EngineError, match="engine_key") as raised:
        engine.build(few.collection(f"{NAME_PREFIX}x"), few.batches, no_progress)
    assert not isinstance(raised.value, EngineUnavailable)
    assert "wr0ng" not in str(raised.value) + repr(engine) + repr(engine.address)
    with pytest.raises(EngineError, match="engine_key") as raised:
        opened(running, "wr0ng\n")
    assert "wr0ng" not in str(raised.value)


def test_credential_is_in_no_log(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_request_logged_without_key(engine, "/collections", KEY, caplog, monkeypatch)


def test_searches_of_several_threads_have_their_own_results_and_deadlines(engine: Engine, few: Rows) -> None:
    queries = few.queries(8)
    with loaded(engine, few) as (_, search):

        def ask(number: int) -> np.ndarray | None:
            try:
                return search.search(queries[number][None], 10, 512, (), 30 if number % 2 else 0.0)[0].rows
            except EngineUnavailable:
                return None

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(ask, range(8)))
    for number, rows in enumerate(found):
        if number % 2:
            assert rows is not None
            assert (rows == few.best(queries[number], 10)).all()
        else:
            assert rows is None


@pytest.mark.parametrize("url", ["127.0.0.1:6333", "ftp://127.0.0.1", "http://", "http://me:pw0rd@127.0.0.1:1", ""])
def test_address_that_is_not_one_is_refused(url: str) -> None:
    with pytest.raises(EngineError, match="engine_url") as raised:
        open_engine("qdrant", EngineAddress(url))
    assert "pw0rd" not in str(raised.value)


def test_nothing_is_connected_before_it_is_used() -> None:
    threads = threading.active_count()
    engine = open_engine("qdrant", EngineAddress("http://127.0.0.1:9"))
    assert threading.active_count() == threads
    with pytest.raises(EngineUnavailable, match=r"http://127\.0\.0\.1:9"):
        engine.ping(2)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_overloaded_server_is_unavailable(status: int) -> None:
    with answering(status, '{"status": {"error": "too busy"}}') as url, pytest.raises(EngineUnavailable, match="busy"):
        open_engine("qdrant", EngineAddress(url)).names()


def test_answer_of_another_server_is_an_error() -> None:
    with answering(200, '{"hello": 1}') as url, pytest.raises(EngineError, match="right address"):
        open_engine("qdrant", EngineAddress(url)).names()


class answering:
    """A server that gives one answer to everything."""

    def __init__(self, status: int, text: str) -> None:
        app = flask.Flask("answering")
        app.add_url_rule("/<path:_>", view_func=lambda _: (text, status, {"Content-Type": "application/json"}))
        self._server = make_server("127.0.0.1", 0, app)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


# ── in process ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the client's lock file
@pytest.mark.filterwarnings("ignore:Local mode:UserWarning")
def test_collections_in_a_folder_are_there_again(tmp_path: Path) -> None:
    few = Rows(60)
    address, collection = EngineAddress(f"path:{tmp_path / 'local'}"), few.collection(f"{NAME_PREFIX}folder")
    engine = open_engine("qdrant", address)
    engine.build(collection, few.batches, no_progress)
    with pytest.raises(EngineError, match="already accessed"):
        open_engine("qdrant", address)
    engine.close()
    engine = open_engine("qdrant", address)
    assert engine.is_complete(collection)
    (found,) = engine.open(collection).search(few.queries(1), 5, 64, (), 30)
    assert (found.rows == few.best(few.queries(1)[0], 5)).all()
    engine.close()
