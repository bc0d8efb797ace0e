"""pgvector, with a real server."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from signal import SIGCONT, SIGSTOP
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from artifacts.engines.base import CollectionSearch, Engine, EngineAddress
from artifacts.engines.checking import check_sample
from artifacts.engines.collection import Collection, RowBatch
from artifacts.engines.reference import NAME_PREFIX
from artifacts.engines.registry import open_engine
from artifacts.errors import EngineError, EngineUnavailable
from artifacts.products.filters import Condition
from tests.artifacts.engines.conftest import Rows
from tests.artifacts.engines.contract import EngineContract, loaded, no_progress
from tests.pgvector_server import PgvectorServer
from tests.waiting import running, wait_until

pytestmark = pytest.mark.pgvector


@pytest.fixture(scope="module")
def server() -> Iterator[PgvectorServer]:
    with running(PgvectorServer()) as server:
        yield server


@pytest.fixture(scope="module")
def engine(server: PgvectorServer) -> Iterator[Engine]:
    engine = open_engine("pgvector", EngineAddress(server.url, "shop:s3cret"))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def opened(engine: Engine) -> Iterator[tuple[Collection, CollectionSearch]]:
    with loaded(engine, Rows(500)) as opened:
        yield opened


@pytest.fixture
def search(opened: tuple[Collection, CollectionSearch]) -> CollectionSearch:
    return opened[1]


def new_name() -> str:
    return f"{NAME_PREFIX}{uuid.uuid4().hex[:16]}"


def one(search: CollectionSearch, seconds: float = 30) -> np.ndarray:
    """Rows of one search."""
    return search.search(Rows(500).queries(1), 10, 100, (), seconds)[0].rows


class TestPgvector(EngineContract):
    other_options: ClassVar = {"m": 8, "ef_construction": 100}


# ── searches ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def many() -> Rows:
    """Enough rows for the index to be used under filters."""
    return Rows(20_000)


@pytest.fixture(scope="module")
def many_opened(engine: Engine, many: Rows) -> Iterator[tuple[Collection, CollectionSearch]]:
    with loaded(engine, many) as opened:
        yield opened


#: Filters that many and few rows pass.
WIDE, NARROW = (Condition("category", none_of=("shoes",)),), (Condition("added_at", missing=True),)


@pytest.mark.parametrize("conditions", [WIDE, NARROW], ids=["wide", "narrow"])
def test_filter_finds_its_best_rows_in_a_table_of_many(
    many: Rows, many_opened: tuple[Collection, CollectionSearch], conditions: tuple[Condition, ...]
) -> None:
    shares = []
    for query in many.queries(10):
        (found,) = many_opened[1].search(query[None], 50, 400, conditions, 30)
        assert np.isin(found.rows, many.passing(conditions)).all()
        assert (np.diff(found.scores) <= 0).all()
        shares.append(np.isin(many.best(query, 50, conditions), found.rows).mean())
    assert np.mean(shares) >= 0.95


def test_search_for_more_rows_than_hnsw_compares_at_once_finds_them(
    many: Rows, many_opened: tuple[Collection, CollectionSearch]
) -> None:
    (query,) = many.queries(1)
    (found,) = many_opened[1].search(query[None], 3_000, 100, (), 30)
    assert len(np.unique(found.rows)) == 3_000
    assert np.isin(many.best(query, 3_000), found.rows).mean() >= 0.9


def test_ivfflat_finds_the_nearest_rows_with_and_without_a_filter(engine: Engine) -> None:
    rows = Rows(3_000)
    collection = replace(rows.collection(new_name()), options={"index": "ivfflat", "lists": 20})
    engine.build(collection, rows.batches, no_progress)
    for options in (collection.options, {}):  # the table itself says how its index was built
        search = engine.open(replace(collection, options=options))
        for conditions in ((), WIDE):
            (query,) = rows.queries(1)
            (found,) = search.search(query[None], 50, 800, conditions, 30)
            assert np.isin(rows.best(query, 50, conditions), found.rows).mean() >= 0.95
    engine.drop(collection.name)


def test_more_threads_than_connections_are_all_answered(search: CollectionSearch) -> None:
    expected = one(search).tolist()
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: one(search).tolist(), range(200)))
    assert answers == [expected] * 200


def test_vectors_of_no_rows_are_none(search: CollectionSearch) -> None:
    assert search.vectors(np.empty(0, np.int64), 30).shape == (0, 16)


# ── outages ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_search_of_a_locked_table_ends_in_time_and_the_next_one_works(
    server: PgvectorServer, opened: tuple[Collection, CollectionSearch]
) -> None:
    collection, search = opened
    with server.connect() as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {collection.name} IN ACCESS EXCLUSIVE MODE".encode())
        with pytest.raises(EngineUnavailable, match=r"no answer within 0\.5 s"):
            one(search, seconds=0.5)
    assert len(one(search)) == 10


def test_search_of_a_frozen_server_ends_in_time_and_the_next_one_works(
    server: PgvectorServer, engine: Engine, search: CollectionSearch
) -> None:
    one(search)  # there is a connection
    server.signal(SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(EngineUnavailable, match="no answer within 1 s"):
            one(search, seconds=1)
        for _ in range(2):  # other connections that are idle, or none
            with pytest.raises(EngineUnavailable):
                engine.ping(1)
        assert time.monotonic() - start < 30
    finally:
        server.signal(SIGCONT)
    assert len(one(search)) == 10


def test_killed_server_is_unavailable_and_found_again_by_the_same_search(
    server: PgvectorServer, engine: Engine, search: CollectionSearch
) -> None:
    expected = one(search).tolist()
    server.kill()
    for _ in range(2):
        with pytest.raises(EngineUnavailable, match=r"127\.0\.0\.1"):
            one(search)
    with pytest.raises(EngineUnavailable):
        engine.ping(5)
    server.start()
    assert one(search).tolist() == expected


def test_restart_between_two_searches_is_not_noticed(server: PgvectorServer, search: CollectionSearch) -> None:
    with ThreadPoolExecutor(8) as pool:  # several idle connections
        list(pool.map(lambda _: one(search), range(32)))
    server.kill()
    server.start()
    assert len(one(search)) == 10


# ── loading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_build_that_is_ended_while_it_indexes_is_not_complete_and_can_be_repeated(
    server: PgvectorServer, engine: Engine
) -> None:
    rows = Rows(300)
    collection = rows.collection(new_name())
    engine.create(collection)
    failed: list[EngineError] = []

    def build() -> None:
        try:
            engine.build(collection, rows.batches, no_progress)
        except EngineError as error:
            failed.append(error)

    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'"
    with server.connect() as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {collection.name} IN ROW EXCLUSIVE MODE".encode())  # holds the build back
        thread = threading.Thread(target=build)
        thread.start()
        with server.connect() as other:
            wait_until(lambda: other.execute(waiting).fetchone())
            other.execute("SELECT pg_terminate_backend(%s)", other.execute(waiting).fetchone())
        thread.join(30)
    assert isinstance(failed[0], EngineUnavailable)
    assert not engine.is_complete(collection)
    engine.build(collection, rows.batches, no_progress)
    assert engine.is_complete(collection)
    assert engine.count(collection) == 300
    engine.drop(collection.name)


def test_first_builds_in_a_database_at_once_make_one_extension(server: PgvectorServer) -> None:
    with server.connect() as connection:
        connection.execute("CREATE DATABASE fresh")
    url = server.url.replace("/postgres", "/fresh", 1)
    engines = [open_engine("pgvector", EngineAddress(url, "shop:s3cret")) for _ in range(4)]
    for engine in engines:
        engine.ping(30)
    few = Rows(20)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda engine: engine.build(few.collection(new_name()), few.batches, no_progress), engines))
    assert len(engines[0].names()) == 4
    for engine in engines:
        engine.close()


def test_build_with_too_little_memory_is_logged(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    vectors = np.random.default_rng(1).standard_normal((1_500, 512)).astype(np.float16)
    collection = Collection(new_name(), 1_500, 512, {}, {"maintenance_work_mem": "1MB", "parallel_workers": 0})
    columns = pa.table({"none": [None] * 1_500}).select([])
    engine.build(collection, lambda first: iter([RowBatch(0, vectors, columns)]), no_progress)
    assert "no longer fits into maintenance_work_mem" in caplog.text
    engine.drop(collection.name)


def test_texts_that_no_index_takes_are_loaded_and_filtered(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    random = np.random.default_rng(1)
    long = "".join(map(chr, random.integers(0x4E00, 0x9FFF, 20_000)))
    rows = Rows(4)
    rows.table = pa.table({"note": [long, "a\x00b", "", None]})
    collection = Collection(new_name(), 4, 16, {"note": pa.string()})
    engine.build(collection, lambda first: iter([RowBatch(0, rows.vectors, rows.table)]), no_progress)
    assert "column c0 has too long texts" in caplog.text
    search = engine.open(collection)

    def passing(condition: Condition) -> set[int]:
        return set(search.search(rows.queries(1), 4, 100, (condition,), 30)[0].rows.tolist())

    assert passing(Condition("note", any_of=(long,))) == {0}
    assert passing(Condition("note", minimum="a", below="ab")) == {1}
    assert passing(Condition("note", any_of=("",))) == {2}
    assert passing(Condition("note", none_of=("", long))) == {1, 3}
    engine.drop(collection.name)


def test_database_without_pgvector_is_named_as_such(server: PgvectorServer) -> None:
    with server.connect() as connection:
        connection.execute("CREATE DATABASE bare")
        connection.execute("ALTER DATABASE bare SET extension_control_path = '/nowhere'")
    engine = open_engine("pgvector", EngineAddress(server.url.replace("/postgres", "/bare", 1), "shop"))
    with pytest.raises(EngineError, match=r"has no pgvector: install version 0\.8 or newer"):
        engine.create(Rows(1).collection(new_name()))
    engine.close()


def test_tables_are_in_a_schema_whose_name_needs_quotes(server: PgvectorServer) -> None:
    with server.connect() as connection:
        connection.execute('CREATE SCHEMA "Größe \'x"')
        connection.execute("CREATE USER quoted")
        connection.execute('GRANT ALL ON SCHEMA "Größe \'x" TO quoted')
        connection.execute('ALTER USER quoted SET search_path = "Größe \'x", public')
    engine = open_engine("pgvector", EngineAddress(server.url, "quoted"))
    with loaded(engine, Rows(20)) as (collection, search):
        assert engine.names() == [collection.name]
        assert len(one(search)) == 10
    assert engine.names() == []
    engine.close()


def test_user_who_may_not_create_the_extension_is_told_what_to_run(server: PgvectorServer) -> None:
    with server.connect() as connection:
        connection.execute("CREATE DATABASE plain")
        connection.execute("CREATE USER clerk")
    url = f"postgresql://127.0.0.1:{server.port}/plain"
    engine = open_engine("pgvector", EngineAddress(url, "clerk"))
    with pytest.raises(EngineError, match="CREATE EXTENSION vector"):
        engine.create(Rows(1).collection(new_name()))
    engine.close()


# ── addresses, credentials and options ───────────────────────────────────────────────────────────────────────────────


def test_wrong_credentials_are_refused_and_not_repeated(
    server: PgvectorServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with server.connect() as connection:
        connection.execute("CREATE USER guarded PASSWORD 'right'")
    server.require_password("guarded")
    engine = open_engine("pgvector", EngineAddress(server.url, "guarded:wr0ng-s3cret"))
    with pytest.raises(EngineError, match="authentication failed") as caught:
        engine.ping(5)
    assert not isinstance(caught.value, EngineUnavailable)
    assert "wr0ng-s3cret" not in f"{caught.value}{caught.value.__cause__}{engine!r}{engine.address!r}{caplog.text}"
    right = open_engine("pgvector", EngineAddress(server.url, "guarded:right"))
    right.ping(5)
    right.close()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://127.0.0.1/db", "is not of the form postgresql://host:port/database"),
        ("postgresql+psycopg://127.0.0.1/db", "is not of the form"),
        ("postgresql://shop:s3cret@127.0.0.1/db", "engine_key"),
        ("postgresql://127.0.0.1/db?password=s3cret", "engine_key"),
        ("postgresql://127.0.0.1/db?no_such=1", "cannot read it"),
    ],
)
def test_url_that_is_not_one_of_postgresql_is_refused(url: str, problem: str) -> None:
    with pytest.raises(EngineError, match=problem) as caught:
        open_engine("pgvector", EngineAddress(url))
    assert "s3cret" not in str(caught.value)


def test_database_that_is_not_there_is_no_passing_failure(server: PgvectorServer) -> None:
    engine = open_engine("pgvector", EngineAddress(server.url.replace("/postgres", "/missing", 1), "shop"))
    with pytest.raises(EngineError, match=r'"missing" does not exist') as caught:
        engine.ping(5)
    assert not isinstance(caught.value, EngineUnavailable)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"ef": 3}, "no option 'ef'; it has index, m,"),
        ({"index": "flat"}, "neither hnsw nor ivfflat"),
        ({"m": 1}, "m: 1 is not an integer from 2 to 100"),
        ({"m": "16"}, "m: '16' is not an integer"),
        ({"m": 64, "ef_construction": 100}, "less than 2 × m"),
        ({"maintenance_work_mem": "8 gigabytes"}, "is not a size"),
    ],
)
def test_options_that_pgvector_does_not_have_are_refused(
    engine: Engine, options: dict[str, int | str], problem: str
) -> None:
    with pytest.raises(EngineError, match=problem):
        engine.create(replace(Rows(1).collection(new_name()), options=options))


def test_vectors_that_are_too_long_are_refused(engine: Engine) -> None:
    with pytest.raises(EngineError, match="up to 4,000 numbers"):
        engine.create(Collection(new_name(), 1, 4_001, {}))


def test_long_vectors_are_loaded(engine: Engine) -> None:
    vectors = np.full((3, 4_000), 4_000**-0.5, np.float16)
    collection = Collection(new_name(), 3, 4_000, {})
    columns = pa.table({"none": [None] * 3}).select([])
    engine.build(collection, lambda first: iter([RowBatch(0, vectors, columns)]), no_progress)
    check_sample(engine, collection, np.arange(3), vectors.astype(np.float32), lambda rows: columns)
    engine.drop(collection.name)
