"""The server's worker stays with a connection for a moment, and never where that would hold up others."""

from __future__ import annotations

import io
import socket
import sys
from collections.abc import Iterator
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers.gthread import ThreadWorker

from serving.overload import worker as module
from serving.overload.queue_time import queue_time
from serving.overload.worker import STAYING, Worker
from tests.waiting import wait_until

NOT_YET = object()  # gunicorn's own answer where a caller has not said anything so far


class Scripted(ThreadWorker):
    """gunicorn's worker without a process: each request of a connection ends as it is told."""

    def __init__(self, ends: list[Any]) -> None:
        self.alive, self.ends, self.came = True, ends, []

    def handle_request(self, req: Any, conn: Any) -> bool:
        return not req.closes

    def handle(self, conn: Any) -> Any:
        self.came.append(conn.came)
        return self.ends.pop(0)


class Kept(Worker, Scripted):
    pass


class Asked:
    """A request, and whether its answer says that it is the connection's last."""

    closes = False

    def force_close(self) -> None:
        self.closes = True


class Caller:
    """Somebody with a connection."""

    def __init__(self) -> None:
        self.end, here = socket.socketpair()
        unreader = SimpleNamespace(buf=io.BytesIO())
        self.connection = SimpleNamespace(sock=here, came=None, parser=SimpleNamespace(unreader=unreader))

    def close(self) -> None:
        self.end.close()
        self.connection.sock.close()


@pytest.fixture
def asks() -> Iterator[Caller]:
    caller = Caller()
    yield caller
    caller.close()


def test_who_asks_again_has_the_same_thread(asks: Caller) -> None:
    asks.end.send(b"again")
    worker = Kept([True, True, False])
    assert worker.handle(asks.connection) is False
    assert worker.ends == []
    first, *others = worker.came
    assert first is None
    assert others == sorted(others)  # each request's time runs from its own coming


def test_who_does_not_is_left_to_the_main_thread(asks: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STAYS_SECONDS", 0.01)
    worker = Kept([True])
    assert worker.handle(asks.connection) is True
    # and so is who has gone, once that is seen
    asks.end.close()
    worker.ends = [True, False]
    assert worker.handle(asks.connection) is False
    assert worker.ends == []


@pytest.mark.parametrize("end", [False, NOT_YET])
def test_what_is_not_kept_is_not_waited_for(asks: Caller, end: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STAYS_SECONDS", 3600)
    assert Kept([end]).handle(asks.connection) is end


def test_a_worker_that_ends_stays_with_nobody(asks: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STAYS_SECONDS", 3600)
    worker = Kept([True])
    worker.alive = False
    assert worker.handle(asks.connection) is True


def test_what_was_read_already_is_not_waited_for(asks: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STAYS_SECONDS", 3600)
    asks.connection.parser.unreader.buf = io.BytesIO(b"GET /next HTTP/1.1")
    assert Kept([True]).handle(asks.connection) is True


def test_only_so_many_threads_stay(asks: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Kept([True])
    for _ in range(STAYING):
        assert worker._may_stay.acquire(blocking=False)
    monkeypatch.setattr(module, "_STAYS_SECONDS", 3600)
    assert worker.handle(asks.connection) is True
    # a place that is free again is taken, and given back
    worker._may_stay.release()
    asks.end.send(b"again")
    worker.ends = [True, False]
    assert worker.handle(asks.connection) is False
    assert worker._may_stay.acquire(blocking=False)
    assert not worker._may_stay.acquire(blocking=False)


def test_a_connection_ends_in_time(asks: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few or many requests it had: else a worker that takes another's place would get none."""
    now = 100.0
    monkeypatch.setattr(module, "perf_counter", lambda: now)
    worker = Kept([])
    assert all(worker.handle_request(Asked(), asks.connection) for _ in range(1000))
    now += 4.9
    assert worker.handle_request(Asked(), asks.connection)
    now += 5.1
    assert not worker.handle_request(Asked(), asks.connection)


def test_connections_made_together_do_not_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module, "perf_counter", lambda: now)
    here, there = socket.socketpair()
    worker, connections = Kept([]), [SimpleNamespace(came=None, sock=here) for _ in range(100)]
    assert all(worker.handle_request(Asked(), each) for each in connections)
    now += 7.5
    assert 10 < sum(worker.handle_request(Asked(), each) for each in connections) < 90
    here.close()
    there.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels tell it otherwise, or not at all")
def test_time_in_the_kernel_counts() -> None:
    """However late a request is looked at: the worker may have been too busy to take the connection at all."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as caller:
        began = perf_counter()
        caller.send(b"GET / HTTP/1.1")
        wait_until(lambda: perf_counter() > began + 0.2)
        taken, _ = listener.accept()
        with taken:
            worker, connection = Kept([]), SimpleNamespace(came=None, sock=taken)
            assert worker.handle_request(Asked(), connection)
            assert 0.15 < queue_time() < perf_counter() - began + 0.05
            worker._began = perf_counter()  # who came before the worker did is not late by that
            assert worker.handle_request(Asked(), connection)
            assert queue_time() < 0.15
            connection.came = began - 60  # what it waited for a thread counts as well
            assert worker.handle_request(Asked(), connection)
            assert queue_time() > 60
