"""Connections to PostgreSQL: made and given up in time, kept for a while, and in UTF-8."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Iterator

import psycopg
import pytest

from artifacts.postgres import pool as pools
from artifacts.postgres.pool import AllInUse, NotConnected, Pool
from tests.pgvector_server import PgvectorServer
from tests.waiting import running, wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[PgvectorServer]:
    with running(PgvectorServer()) as server:
        yield server


@pytest.fixture
def pool(server: PgvectorServer) -> Iterator[Pool]:
    pool = Pool(server.url, "shop", "s3cret")
    yield pool
    pool.close()


def connections(server: PgvectorServer) -> int:
    with server.connect() as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lookalike'"
        ).fetchone() or (0,)
    return count


def use_three(pool: Pool) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(pool.use(30)).execute("SELECT 1")


def test_hosts_that_do_not_answer_take_no_longer_than_the_call_has() -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        hosts = ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in silent)
        pool = Pool(f"postgresql://{hosts}/shop", "shop", "")
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError), pool.use(0.2):
            pass
        assert time.monotonic() - began < 5  # psycopg takes 2 s for each host
        pool.close()


@pytest.mark.pgvector
def test_second_host_is_used_where_the_first_refuses(server: PgvectorServer) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        refusing = f"127.0.0.1:{bound.getsockname()[1]}"
        pool = Pool(f"postgresql://{refusing},127.0.0.1:{server.port}/postgres", "shop", "")
        with pool.use(30) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        pool.close()


@pytest.mark.pgvector
def test_calls_of_a_frozen_server_end_in_time_and_leave_no_connection(server: PgvectorServer, pool: Pool) -> None:
    with pool.use(30) as connection:
        connection.execute("SELECT 1")
    server.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        for _ in range(2):  # with the connection that there is, and with a new one
            with pytest.raises(psycopg.OperationalError), pool.use(0.3) as connection:
                connection.execute("SELECT 1")
        assert time.monotonic() - began < 20
    finally:
        server.signal(signal.SIGCONT)
    wait_until(lambda: connections(server) == 0)
    with pool.use(30) as connection:
        connection.execute("SELECT 1")


@pytest.mark.pgvector
def test_connections_are_kept_for_the_next_calls(server: PgvectorServer, pool: Pool) -> None:
    use_three(pool)
    assert connections(server) == 3
    use_three(pool)
    assert connections(server) == 3


@pytest.mark.pgvector
def test_connections_that_were_idle_for_long_are_closed(
    server: PgvectorServer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_three(pool)
    monkeypatch.setattr(pools, "_IDLE_SECONDS", 0.0)
    with pool.use(30) as connection:
        connection.execute("SELECT 1")
    wait_until(lambda: connections(server) == 1)


@pytest.mark.pgvector
def test_no_more_connections_than_the_limit_are_made(
    server: PgvectorServer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(pools.MAX_CONNECTIONS):
            stack.enter_context(pool.use(30))
        with pytest.raises(AllInUse, match="all 16 connections are used since"), pool.use(0.1):
            pass
    with pool.use(30) as connection:
        connection.execute("SELECT 1")


@pytest.mark.pgvector
def test_closed_pool_is_an_error(pool: Pool) -> None:
    pool.close()
    with pytest.raises(NotConnected, match="closed"), pool.use(30):
        pass


@pytest.mark.pgvector
@pytest.mark.parametrize(("encoding", "text"), [("SQL_ASCII", "サイズ"), ("LATIN1", "Größe")])
def test_texts_are_utf_8_whatever_the_encoding_of_the_database(
    server: PgvectorServer, encoding: str, text: str
) -> None:
    database = f"of_{encoding.lower()}"
    with server.connect() as connection:
        connection.execute(
            f"CREATE DATABASE {database} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'".encode()
        )
    pool = Pool(server.url.replace("/postgres", f"/{database}", 1), "shop", "")
    with pool.use(30) as connection:
        connection.execute("CREATE TABLE texts (text text)")
        connection.execute("INSERT INTO texts VALUES (%s)", [text])
        assert connection.execute("SELECT text FROM texts WHERE text = %s", [text]).fetchone() == (text,)
    pool.close()
