"""A worker's connections as callers see them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from prometheus_client import REGISTRY
from werkzeug.test import create_environ, run_wsgi_app

from artifacts.errors import Busy
from serving.overload.shedding import Decision
from tests.serving.overload.raw_http import health_check, request
from tests.serving.overload.shop import Shop
from tests.waiting import wait_until


@pytest.fixture
def shop() -> Iterator[Shop]:
    with closing(Shop()) as shop:
        yield shop


def refused() -> float:
    return REGISTRY.get_sample_value("image_search_requests_total", {"search_type": "mixed", "status": "busy"}) or 0.0


# ── searches that are refused ────────────────────────────────────────────────────────────────────────────────────────


def test_refused_search_takes_no_thread(shop: Shop) -> None:
    with closing(shop.caller()) as caller:
        assert caller.ask(request())[:2] == (200, b"/v1/search {}")
        before, threads = refused(), set(threading.enumerate())
        with shop.full():
            for _ in range(10):
                status, body, headers = caller.ask(request(body=b'{"text":"red"}'))
                assert status == 503
                assert str(Busy(1)).encode() in body
                assert int(headers["Retry-After"]) >= 1
                assert headers["Connection"] == "keep-alive"
        assert shop.requests == [b"/v1/search {}"]
        assert refused() == before + 10
        assert set(threading.enumerate()) <= threads
        # the connection works as before
        assert caller.ask(request())[0] == 200
    wait_until(lambda: shop.worker.nr_conns == 0)
    assert shop.worker.pending == 0


def test_search_on_a_new_connection_is_refused_too(shop: Shop) -> None:
    with shop.full(), closing(shop.caller()) as caller:
        assert caller.ask(request())[0] == 503
        assert caller.ask(request())[0] == 503
    assert shop.requests == []


def test_other_requests_are_answered_while_searches_are_refused(shop: Shop) -> None:
    with shop.full(), closing(shop.caller()) as caller:
        assert caller.ask(health_check())[:2] == (200, b"/healthz ")
        assert caller.ask(request("/v1/events/click"))[:2] == (200, b"/v1/events/click {}")


def test_refusal_is_the_same_from_worker_and_middleware(shop: Shop) -> None:
    with shop.full(), closing(shop.caller()) as caller:
        caller.ask(request())  # the first request may reach the middleware: the connection is polled before it arrives
        worker_status, worker_body, worker_headers = caller.ask(request())
        body, status, headers = run_wsgi_app(shop.load_shedder, create_environ("/v1/search", method="POST", data=b"{}"))
    assert f"{worker_status}" == status.split()[0]
    assert worker_body == b"".join(body)
    assert dict(worker_headers) == {**dict(headers), "Connection": "keep-alive"}


def test_pending_searches_count_as_waiting() -> None:
    with closing(Shop(queue_limit=3)) as shop, shop.full(), shop.callers(5) as callers:
        for caller in callers:  # so that none of the connections is new
            assert caller.ask(health_check())[0] == 200
        wait_until(lambda: len(shop.worker.keepalived_conns) == 5)
        may_continue = threading.Event()
        occupied = [shop.worker.tpool.submit(may_continue.wait, 60) for _ in range(shop.worker.cfg.threads)]
        for number, caller in enumerate(callers[:3], start=1):
            caller.send(request())
            wait_until(lambda number=number: shop.worker.pending == number)
        assert [caller.ask(request())[0] for caller in callers[3:]] == [503, 503]
        may_continue.set()
        assert [caller.receive()[0] for caller in callers[:3]] == [200] * 3
        assert shop.worker.pending == 0
        assert all(future.result() for future in occupied)


def test_incomplete_requests_do_not_count_as_waiting() -> None:
    with closing(Shop(queue_limit=3)) as shop, shop.full(), shop.callers(6) as stalled:
        for number, caller in enumerate(stalled):
            caller.send(request(body=b"a search")[: -3 * (number % 2 + 1)])
        with closing(shop.caller()) as caller:
            assert [caller.ask(request())[0] for _ in range(3)] == [200] * 3


# ── requests in pieces, and several in one piece ─────────────────────────────────────────────────────────────────────


def test_request_in_pieces_is_reassembled(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    examined: list[bytes] = []
    decide = shop.load_shedder.decide

    def record(content: bytes, *args: Any, **options: Any) -> Decision:
        examined.append(content)
        return decide(content, *args, **options)

    monkeypatch.setattr(shop.load_shedder, "decide", record)
    click = request("/v1/events/click", b'{"position": 3}')
    with shop.full(), closing(shop.caller()) as caller:
        assert caller.ask(request())[0] == 503  # the worker examines this connection from now on
        for cut in (1, 20, click.index(b"\r\n\r\n") + 2, len(click) - 5):
            caller.send(click[:cut])
            wait_until(lambda cut=cut: examined[-1:] == [click[:cut]])  # a thread now waits for the rest
            assert caller.ask(click[cut:])[:2] == (200, b'/v1/events/click {"position": 3}')
        search = request(body=b'{"text": "a search, in two pieces"}')
        caller.send(search[:-9])
        wait_until(lambda: examined[-1:] == [search[:-9]])
        assert caller.ask(search[-9:])[0] == 503
        assert caller.ask(click)[0] == 200
    assert len(shop.requests) == 5


def test_pipelined_requests_are_all_answered_in_order(shop: Shop) -> None:
    click = request("/v1/events/click", b"1")
    with shop.full(), closing(shop.caller()) as caller:
        caller.send(request() + request() + click + request() + request())
        assert [caller.receive()[0] for _ in range(5)] == [503, 503, 200, 503, 503]
    assert shop.requests == [b"/v1/events/click 1"]


def test_data_read_ahead_is_handled_before_later_data(shop: Shop) -> None:
    """gunicorn may read part of the next request together with the end of a body."""
    click, search = request("/v1/events/click", b"1"), request(body=b"2" * 100)
    with shop.full(), closing(shop.caller()) as caller:
        assert caller.ask(request())[0] == 503
        shop.may_answer.clear()
        caller.send(click + search[:50])
        wait_until(lambda: shop.requests)
        caller.send(search[50:])
        shop.may_answer.set()
        assert caller.receive()[0] == 200
        assert caller.receive()[0] == 503
        assert caller.ask(click)[0] == 200


def test_body_is_never_taken_for_a_request(shop: Shop) -> None:
    inner = request("/v1/events/click", b"inner")
    with shop.full():
        for outer in (
            request(body=b"").replace(b"\r\n\r\n", b"\r\nContent-Length : %d\r\n\r\n" % len(inner)),
            request(body=b"").replace(b"\r\n\r\n", b"\r\nContent-Length: +%d\r\n\r\n" % len(inner)),
            request(body=b"").replace(b"\r\n\r\n", b"\r\nX: y\nContent-Length: %d\r\n\r\n" % len(inner)),
            request(body=b"").replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(inner)),
        ):
            with closing(shop.caller()) as caller:
                caller.send(outer)
                caller.send(inner)
                assert caller.receive()[0] in (400, 503)
                caller.socket.shutdown(socket.SHUT_WR)
                assert b"inner" not in caller.responses.read()
    assert shop.requests == []


# ── accepting and closing connections ────────────────────────────────────────────────────────────────────────────────


def test_waiting_connections_are_accepted_together(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a burst the main loop runs only a few times a second."""
    counts: list[int] = []  # connections after each poll
    poll = shop.worker.wait_for_and_dispatch_events

    def poll_and_count(timeout: float) -> None:
        poll(timeout)
        counts.append(shop.worker.nr_conns)

    monkeypatch.setattr(shop.worker, "wait_for_and_dispatch_events", poll_and_count)
    with contextlib.ExitStack() as stack:
        with shop.paused():
            stack.enter_context(shop.callers(10))
        wait_until(lambda: 10 in counts)
        assert set(counts) <= {0, 10}


def test_worker_accepts_no_more_connections_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Shop(listeners=2)) as shop, contextlib.ExitStack() as stack:
        monkeypatch.setattr(shop.worker, "worker_connections", 3)
        with shop.paused():
            callers = stack.enter_context(shop.callers(8))
        wait_until(lambda: shop.worker.nr_conns == 3)
        with shop.paused():  # the loop has run once more
            assert shop.worker.nr_conns == 3
        for caller in callers:
            caller.send(health_check("Connection: close"))
            caller.socket.shutdown(socket.SHUT_WR)  # an answered caller makes room for another
        assert [caller.receive()[0] for caller in callers] == [200] * 8


def test_refusal_closes_an_expired_connection(shop: Shop) -> None:
    shop.worker.connection_seconds = 0.0
    with shop.full(), closing(shop.caller()) as caller:
        status, _, headers = caller.ask(request())
        assert (status, headers["Connection"]) == (503, "close")
        assert caller.responses.read() == b""
    wait_until(lambda: shop.worker.nr_conns == 0)


def test_refusal_of_a_long_unread_body_closes_the_connection(shop: Shop) -> None:
    picture = request("/v1/search/image", b"x" * 80_000)
    for content in (picture, picture.replace(b"Content-Length: 80000", b"Transfer-Encoding: chunked")):
        with shop.full(), closing(shop.caller()) as caller:
            status, _, headers = caller.ask(content)
            assert (status, headers["Connection"]) == (503, "close")
    with closing(shop.caller()) as caller:  # an answered one is kept
        assert caller.ask(picture)[2]["Connection"] == "keep-alive"


def test_connection_is_closed_when_its_caller_leaves(shop: Shop) -> None:
    with shop.full():
        with closing(shop.caller()) as caller:
            assert caller.ask(request())[0] == 503
        wait_until(lambda: shop.worker.nr_conns == 0)


def test_lingering_connection_delays_no_other_caller(shop: Shop) -> None:
    shop.worker.linger_seconds = 3600
    with closing(shop.caller()) as lingering, closing(shop.caller()) as other:
        assert lingering.ask(health_check("Connection: close"))[0] == 200
        wait_until(lambda: shop.worker.lingering == 1)
        assert other.ask(health_check())[0] == 200
        assert shop.worker.lingering == 1
        # what it sends from now on is ignored
        lingering.send(request())
        assert lingering.responses.read() == b""
        lingering.close()
        wait_until(lambda: not shop.worker.lingering)
    assert shop.requests == [b"/healthz ", b"/healthz "]
    wait_until(lambda: shop.worker.nr_conns == 0)


def test_lingering_ends_after_its_time(shop: Shop) -> None:
    shop.worker.linger_seconds = 0.1
    with closing(shop.caller()) as lingering:
        assert lingering.ask(health_check("Connection: close"))[0] == 200
        wait_until(lambda: shop.worker.nr_conns == 0)
        assert shop.worker.lingering == 0


def test_worker_survives_an_application_error(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn answers 500, and later requests are answered as usual."""

    def fail(*_: Any) -> list[bytes]:
        raise RuntimeError("a bug of the application")

    with closing(shop.caller()) as caller, monkeypatch.context() as patched:
        patched.setattr(shop.worker, "wsgi", fail)
        assert caller.ask(health_check())[0] == 500
    with closing(shop.caller()) as caller:
        assert caller.ask(health_check())[0] == 200
    wait_until(lambda: shop.worker.nr_conns == 0)
    assert shop.worker.pending == 0
