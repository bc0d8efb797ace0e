"""A worker and its connections as callers see them: gunicorn's loop over real sockets, before a small application."""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from prometheus_client import REGISTRY
from werkzeug.test import create_environ, run_wsgi_app

from artifacts.errors import Busy
from serving.overload import worker as module
from serving.overload.admission import AdmissionController
from serving.overload.shedding import Decision, LoadShedder
from serving.overload.worker import Worker
from tests.waiting import wait_until

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: What an answer to a search has to come within. Long: what takes less may be as late as a busy machine makes it.
DEADLINE = 3600.0


class Plain(BaseApplication):
    def load_config(self) -> None:
        assert self.cfg is not None
        self.cfg.set("threads", 40)
        self.cfg.set("keepalive", 75)


class Shop:
    """A server of one worker, with a slot for one search. It answers with what it was asked.

    Args:
        queue: searches that may wait.
        listeners: at an address each.
    """

    def __init__(self, queue: int = 0, listeners: int = 1) -> None:
        self.heard: list[bytes] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.gate = AdmissionController(1, queue, DEADLINE)
        self.load_shedder = LoadShedder(self._answer, self.gate)
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(listeners)]
        self.addresses = [each.getsockname() for each in sockets]
        app = Plain()
        self.worker = Worker(0, os.getppid(), sockets, app, 30, app.cfg, Logger(app.cfg))
        self.worker.tpool, self.worker.poller = self.worker.get_thread_pool(), selectors.DefaultSelector()
        self.worker.method_queue.init()
        self.worker.wsgi = self.worker.load_shedder = self.load_shedder
        self._thread = threading.Thread(target=self.worker.run)
        self._thread.start()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        told = environ["PATH_INFO"].encode() + b" " + environ["wsgi.input"].read()
        self.heard.append(told)
        self.may_answer.wait(60)
        start_response("200 OK", [("Content-Length", str(len(told)))])
        return [told]

    @contextmanager
    def full(self) -> Iterator[None]:
        """Its only slot is taken."""
        with self.gate.admitted(perf_counter()):
            yield

    def caller(self, listener: int = 0) -> Caller:
        return Caller(self.addresses[listener])

    @contextmanager
    def callers(self, count: int) -> Iterator[list[Caller]]:
        """So many, by its listeners in turn; none is left in the end."""
        there = [self.caller(number % len(self.addresses)) for number in range(count)]
        yield there
        for caller in there:
            caller.close()
        wait_until(lambda: self.worker.nr_conns == 0)

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Its main thread looks at nothing that comes."""
        held, may_go_on = threading.Event(), threading.Event()
        self.worker.method_queue.defer(lambda: held.set() or may_go_on.wait(60))
        held.wait(60)
        try:
            yield
        finally:
            may_go_on.set()

    def close(self) -> None:
        self.worker.handle_exit(None, None)
        self._thread.join()
        self.worker.tmp.close()


class Answers(io.BufferedReader):
    """What comes over a connection. Who has read one answer may not close it: it may hold some of the next."""

    def close(self) -> None:
        pass


class Caller:
    """Somebody with a connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=60)
        self.answers = Answers(self.socket.makefile("rb", buffering=0))

    def makefile(self, _mode: str) -> Answers:
        return self.answers

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def answer(self) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Status, body and headers of the next answer."""
        answer = http.client.HTTPResponse(self)  # type: ignore[arg-type]
        answer.begin()
        return answer.status, answer.read(), answer.headers

    def ask(self, content: bytes) -> tuple[int, bytes, http.client.HTTPMessage]:
        self.send(content)
        return self.answer()

    def close(self) -> None:
        self.answers.raw.close()
        self.socket.close()


@pytest.fixture
def shop() -> Iterator[Shop]:
    with closing(Shop()) as there:
        yield there


def request(path: str = "/v1/search", body: bytes = b"{}", *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: shop", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def refused() -> float:
    return REGISTRY.get_sample_value("image_search_requests_total", {"search_type": "mixed", "status": "busy"}) or 0.0


def test_a_search_that_there_is_no_time_for_takes_no_thread(shop: Shop) -> None:
    with closing(shop.caller()) as caller:
        assert caller.ask(request())[:2] == (200, b"/v1/search {}")
        before, threads = refused(), len(shop.worker.tpool._threads)
        with shop.full():
            for _ in range(10):
                status, body, headers = caller.ask(request(body=b'{"text":"red"}'))
                assert status == 503
                assert b"ask again" in body
                assert int(headers["Retry-After"]) >= 1
                assert headers["Connection"] == "keep-alive"
        assert shop.heard == [b"/v1/search {}"]
        assert refused() == before + 10
        assert len(shop.worker.tpool._threads) == threads
        # and the connection is as good as before
        assert caller.ask(request())[0] == 200
    wait_until(lambda: shop.worker.nr_conns == 0)
    assert shop.worker._pending == 0


def test_a_worker_knows_when_it_began(shop: Shop) -> None:
    """Who came before is not late by that; see tests/serving/test_worker.py."""
    wait_until(lambda: shop.worker._began)
    assert shop.worker._began < perf_counter()


def test_nor_does_one_on_a_new_connection(shop: Shop) -> None:
    with shop.full(), closing(shop.caller()) as caller:
        assert caller.ask(request())[0] == 503
        assert caller.ask(request())[0] == 503
    assert shop.heard == []


def test_what_is_no_search_is_answered_meanwhile(shop: Shop) -> None:
    with shop.full(), closing(shop.caller()) as caller:
        assert caller.ask(request("/healthz", b"", method="GET"))[:2] == (200, b"/healthz ")
        assert caller.ask(request("/v1/events/click"))[:2] == (200, b"/v1/events/click {}")


def test_a_request_that_comes_in_pieces_is_put_together(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[bytes] = []
    decide = shop.load_shedder.decide

    def noted(content: bytes, *args: Any, **options: Any) -> Decision:
        looked_at.append(content)
        return decide(content, *args, **options)

    monkeypatch.setattr(shop.load_shedder, "decide", noted)
    whole = request("/v1/events/click", b'{"position": 3}')
    with shop.full(), closing(shop.caller()) as caller:
        assert caller.ask(request())[0] == 503  # so that the connection is looked at from now on
        for cut in (1, 20, whole.index(b"\r\n\r\n") + 2, len(whole) - 5):
            caller.send(whole[:cut])
            wait_until(lambda cut=cut: looked_at[-1:] == [whole[:cut]])  # a thread gets it now, and waits for the rest
            assert caller.ask(whole[cut:])[:2] == (200, b'/v1/events/click {"position": 3}')
        search = request(body=b'{"text": "a search, in two pieces"}')
        caller.send(search[:-9])
        wait_until(lambda: looked_at[-1:] == [search[:-9]])
        assert caller.ask(search[-9:])[0] == 503
        assert caller.ask(whole)[0] == 200
    assert len(shop.heard) == 5


def test_requests_that_come_together_are_all_answered(shop: Shop) -> None:
    click = request("/v1/events/click", b"1")
    with shop.full(), closing(shop.caller()) as caller:
        caller.send(request() + request() + click + request() + request())
        assert [caller.answer()[0] for _ in range(5)] == [503, 503, 200, 503, 503]
    assert shop.heard == [b"/v1/events/click 1"]


def test_what_was_read_ahead_comes_before_what_comes_later(shop: Shop) -> None:
    """gunicorn reads on to the next request where it reads the end of a body."""
    click, search = request("/v1/events/click", b"1"), request(body=b"2" * 100)
    with shop.full(), closing(shop.caller()) as caller:
        assert caller.ask(request())[0] == 503
        shop.may_answer.clear()
        caller.send(click + search[:50])
        wait_until(lambda: shop.heard)
        caller.send(search[50:])
        shop.may_answer.set()
        assert caller.answer()[0] == 200
        assert caller.answer()[0] == 503
        assert caller.ask(click)[0] == 200


def test_a_body_is_never_taken_for_a_request(shop: Shop) -> None:
    inner = request("/v1/events/click", b"inner")
    with shop.full():
        for odd in (
            request(body=b"").replace(b"\r\n\r\n", b"\r\nContent-Length : %d\r\n\r\n" % len(inner)),
            request(body=b"").replace(b"\r\n\r\n", b"\r\nContent-Length: +%d\r\n\r\n" % len(inner)),
            request(body=b"").replace(b"\r\n\r\n", b"\r\nX: y\nContent-Length: %d\r\n\r\n" % len(inner)),
            request(body=b"").replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(inner)),
        ):
            with closing(shop.caller()) as caller:
                caller.send(odd)
                caller.send(inner)
                assert caller.answer()[0] in (400, 503)
                caller.socket.shutdown(socket.SHUT_WR)
                assert b"inner" not in caller.answers.read()
    assert shop.heard == []


def test_a_refusal_reads_the_same_wherever_it_is_said(shop: Shop) -> None:
    with shop.full(), closing(shop.caller()) as caller:
        caller.ask(request())  # of a new connection, which may be looked at before its request has come
        early, early_body, early_headers = caller.ask(request())
        said, status, headers = run_wsgi_app(shop.load_shedder, create_environ("/v1/search", method="POST", data=b"{}"))
    assert f"{early}" == status.split()[0]
    assert early_body == b"".join(said)
    assert dict(early_headers) == {**dict(headers), "Connection": "keep-alive"}


def test_a_connection_ends_with_a_refusal_when_its_time_is_over(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT_SECONDS", 0.0)
    with shop.full(), closing(shop.caller()) as caller:
        status, _, headers = caller.ask(request())
        assert (status, headers["Connection"]) == (503, "close")
        assert caller.answers.read() == b""
    wait_until(lambda: shop.worker.nr_conns == 0)


def test_connections_that_wait_are_taken_together(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a burst the loop comes round but a few times a second."""
    looks: list[int] = []  # connections that there were after each look at what has come
    look = shop.worker.wait_for_and_dispatch_events

    def counted(timeout: float) -> None:
        look(timeout)
        looks.append(shop.worker.nr_conns)

    monkeypatch.setattr(shop.worker, "wait_for_and_dispatch_events", counted)
    with contextlib.ExitStack() as stack:
        with shop.held_up():
            stack.enter_context(shop.callers(10))
        wait_until(lambda: 10 in looks)
        assert set(looks) <= {0, 10}


def test_no_more_are_taken_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Shop(listeners=2)) as shop, contextlib.ExitStack() as stack:
        monkeypatch.setattr(shop.worker, "worker_connections", 3)
        with shop.held_up():
            callers = stack.enter_context(shop.callers(8))
        wait_until(lambda: shop.worker.nr_conns == 3)
        with shop.held_up():  # it has been round once more
            assert shop.worker.nr_conns == 3
        for caller in callers:
            caller.send(request("/healthz", b"", "Connection: close", method="GET"))
            caller.socket.shutdown(socket.SHUT_WR)  # whoever is answered makes room for another
        assert [caller.answer()[0] for caller in callers] == [200] * 8


def test_requests_that_are_not_here_are_not_ahead_of_a_search() -> None:
    with closing(Shop(queue=3)) as shop, shop.full(), shop.callers(6) as stalled:
        for number, caller in enumerate(stalled):
            caller.send(request(body=b"a search")[: -3 * (number % 2 + 1)])
        with closing(shop.caller()) as caller:
            assert [caller.ask(request())[0] for _ in range(3)] == [200] * 3


def test_searches_that_wait_for_a_thread_are() -> None:
    with closing(Shop(queue=3)) as shop, shop.full(), shop.callers(5) as callers:
        for caller in callers:  # so that none of them is new
            assert caller.ask(request("/healthz", b"", method="GET"))[0] == 200
        wait_until(lambda: len(shop.worker.keepalived_conns) == 5)
        go_on = threading.Event()
        busy = [shop.worker.tpool.submit(go_on.wait, 60) for _ in range(shop.worker.cfg.threads)]
        for number, caller in enumerate(callers[:3], start=1):
            caller.send(request())
            wait_until(lambda number=number: shop.worker._pending == number)
        assert [caller.ask(request())[0] for caller in callers[3:]] == [503, 503]
        go_on.set()
        assert [caller.answer()[0] for caller in callers[:3]] == [200] * 3
        assert shop.worker._pending == 0
        assert all(each.result() for each in busy)


def test_who_is_refused_with_much_unread_is_told_that_the_connection_ends(shop: Shop) -> None:
    picture = request("/v1/search/image", b"x" * 80_000)
    for big in (picture, picture.replace(b"Content-Length: 80000", b"Transfer-Encoding: chunked")):
        with shop.full(), closing(shop.caller()) as caller:
            status, _, headers = caller.ask(big)
            assert (status, headers["Connection"]) == (503, "close")
    with closing(shop.caller()) as caller:  # and whoever is not, is not
        assert caller.ask(picture)[2]["Connection"] == "keep-alive"


def test_a_caller_that_leaves_is_let_go(shop: Shop) -> None:
    with shop.full():
        with closing(shop.caller()) as caller:
            assert caller.ask(request())[0] == 503
        wait_until(lambda: shop.worker.nr_conns == 0)


def test_whoever_does_not_close_holds_up_nobody(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LINGER_SECONDS", 3600)
    with closing(shop.caller()) as lingering, closing(shop.caller()) as other:
        assert lingering.ask(request("/healthz", b"", "Connection: close", method="GET"))[0] == 200
        wait_until(lambda: len(shop.worker._lingering) == 1)
        assert other.ask(request("/healthz", b"", method="GET"))[0] == 200
        assert len(shop.worker._lingering) == 1
        # nor is what it still says heard
        lingering.send(request())
        assert lingering.answers.read() == b""
        lingering.close()
        wait_until(lambda: not shop.worker._lingering)
    assert shop.heard == [b"/healthz ", b"/healthz "]
    wait_until(lambda: shop.worker.nr_conns == 0)


def test_and_is_let_go_in_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LINGER_SECONDS", 0.1)
    with closing(shop.caller()) as lingering:
        assert lingering.ask(request("/healthz", b"", "Connection: close", method="GET"))[0] == 200
        wait_until(lambda: shop.worker.nr_conns == 0)
        assert not shop.worker._lingering


WHOLE = request(body=b"12345")


@pytest.mark.parametrize(
    "doubtful",
    [
        WHOLE[:-1],
        WHOLE + b"6",
        WHOLE[: WHOLE.index(b"\r\n\r\n")],
        WHOLE + WHOLE,
        b"",
        WHOLE.replace(b"POST", b"PUT"),
        WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        WHOLE.replace(b"/v1/search", b"http://shop/v1/search"),
        WHOLE.replace(b"/v1/search", b"/v1/products"),
        WHOLE.replace(b"/v1/search", b"/v1/s%65arch"),
        WHOLE.replace(b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 5"),
        WHOLE.replace(b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: x"),
        WHOLE.replace(b"Content-Length: 5", b"Content-Length: 00000000005"),
        WHOLE.replace(b"Content-Length: 5", b"Content-Length: 5, 5"),
        WHOLE.replace(b"Content-Length: 5", b"Content-Length: \xb2"),
        WHOLE.replace(b"Host: shop", b"Host: shop\r\n folded: line"),
        WHOLE.replace(b"Host: shop", b"Host : shop"),
        WHOLE.replace(b"Host: shop", b"Host: shop\nX: y"),
        WHOLE.replace(b"Host: shop", b"Host: sh\0p"),
        WHOLE.replace(b"Host: shop", b"Host: sh\x07p"),
        WHOLE.replace(b"Host: shop", b"Host: shop\r\nExpect: 100-continue"),
        WHOLE.replace(b"Host: shop", b"Host: shop\r\nUPGRADE: h2c"),
        WHOLE.replace(b"Host: shop", b"Connection: close"),
        WHOLE.replace(b"Host: shop", b"Connection: keep-alive, upgrade"),
        WHOLE.replace(b"Host: shop", b"Transfer-Encoding: chunked"),
    ],
)
def test_what_is_in_doubt_is_for_a_parser(shop: Shop, doubtful: bytes) -> None:
    with shop.full():
        assert shop.load_shedder.decide(doubtful, 0.0, 0, last=False) == Decision(search=False)


@pytest.mark.parametrize(
    "whole",
    [
        WHOLE,
        WHOLE.replace(b"Content-Length: 5", b"content-length:\t5 "),
        WHOLE.replace(b"Host: shop", b"Connection: Keep-Alive\r\nHost: shop"),
        WHOLE.replace(b"Host: shop", b"User-Agent: \xc3\xa9\r\nX-Empty:"),
        request("/v1/search/text?q=a+red%20dress&limit=3", b"", method="GET"),
        request("/v1/products/p%2F1/similar", b"", method="GET"),
    ],
)
def test_what_is_not_is_answered(shop: Shop, whole: bytes) -> None:
    assert shop.load_shedder.decide(whole, 0.0, 0, last=False) == Decision(search=True)
    with shop.full():
        assert (shop.load_shedder.decide(whole, 0.0, 0, last=False).refusal or b"").startswith(b"HTTP/1.1 503 ")


def test_a_search_that_waited_too_long_or_behind_too_many_is_refused() -> None:
    gate = AdmissionController(1, 100, 100.0)
    load_shedder = LoadShedder(lambda environ, start_response: [], gate)

    def admitted(queue_time: float, pending: int) -> bool:
        return load_shedder.decide(WHOLE, queue_time, pending, last=False).refusal is None

    gate._mean = 1.0
    assert admitted(0.0, 1000)  # the slot is free
    with gate.admitted(perf_counter()):
        assert admitted(0.0, 1)
        assert not admitted(60.0, 1)
        assert not admitted(0.0, 60)
        with pytest.raises(Busy):
            gate.check(60.0)


def test_an_application_that_fails_says_so(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn answers 500, and the next caller is answered as ever."""

    def fails(*_: Any) -> list[bytes]:
        raise RuntimeError("the application's own")

    with closing(shop.caller()) as caller, monkeypatch.context() as patched:
        patched.setattr(shop.worker, "wsgi", fails)
        assert caller.ask(request("/healthz", b"", method="GET"))[0] == 500
    with closing(shop.caller()) as caller:
        assert caller.ask(request("/healthz", b"", method="GET"))[0] == 200
    wait_until(lambda: shop.worker.nr_conns == 0)
    assert shop.worker._pending == 0
