"""The worker waits for the next request of a connection, closes old connections, and measures queue times."""

from __future__ import annotations

import io
import socket
import sys
import threading
from collections.abc import Iterator
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers.gthread import ThreadWorker

from serving.overload import worker as worker_module
from serving.overload.queue_time import queue_time
from serving.overload.worker import Worker
from tests.waiting import wait_until

NOT_YET = object()  # gunicorn's own result where a caller has not sent anything so far


class ScriptedWorker(ThreadWorker):
    """gunicorn's worker without a process: requests end with the results that their connection lists."""

    def __init__(self) -> None:
        self.alive = True

    def run(self) -> None:
        """Do not poll."""

    def handle_request(self, req: Any, conn: Any) -> bool:
        return not req.closes

    def handle(self, conn: Any) -> Any:
        conn.queue_times.append(conn.queued_at)
        return conn.results.pop(0)


class TestedWorker(Worker, ScriptedWorker):
    __test__ = False


class Request:
    """A request, and whether its response closes the connection."""

    headers = ()
    closes = False

    def force_close(self) -> None:
        self.closes = True


class Caller:
    """Both ends of a connection.

    Args:
        results: of gunicorn's `handle`, one for each request.
    """

    def __init__(self, *results: Any) -> None:
        self.socket, worker_end = socket.socketpair()
        self.connection = SimpleNamespace(
            sock=worker_end,
            queued_at=None,
            parser=SimpleNamespace(unreader=SimpleNamespace(buf=io.BytesIO())),
            results=list(results),
            queue_times=[],
        )

    def will_get(self, *results: Any) -> None:
        self.connection.results = list(results)

    @property
    def remaining(self) -> list[Any]:
        """Results of requests that were not handled."""
        return self.connection.results

    def close(self) -> None:
        self.socket.close()
        self.connection.sock.close()


@pytest.fixture
def caller() -> Iterator[Caller]:
    caller = Caller()
    yield caller
    caller.close()


@pytest.fixture
def patient_worker() -> TestedWorker:
    """A worker whose threads wait for the next request for an hour."""
    worker = TestedWorker()
    worker.keepalive_wait_seconds = 3600
    return worker


# ── waiting for the next request ─────────────────────────────────────────────────────────────────────────────────────


def test_thread_stays_with_a_caller_that_asks_again(caller: Caller) -> None:
    caller.socket.send(b"again")
    caller.will_get(True, True, False)
    assert TestedWorker().handle(caller.connection) is False
    assert caller.remaining == []
    first, *others = caller.connection.queue_times
    assert first is None
    assert others == sorted(others)  # each request has a queue time of its own


def test_thread_returns_an_idle_connection_to_the_main_thread(caller: Caller) -> None:
    worker = TestedWorker()
    worker.keepalive_wait_seconds = 0.01
    caller.will_get(True)
    assert worker.handle(caller.connection) is True
    # the end of a closed connection is read like a request
    caller.socket.close()
    caller.will_get(True, False)
    assert worker.handle(caller.connection) is False
    assert caller.remaining == []


@pytest.mark.parametrize("result", [False, NOT_YET])
def test_thread_does_not_wait_on_a_connection_that_is_not_kept(
    patient_worker: TestedWorker, caller: Caller, result: Any
) -> None:
    caller.will_get(result)
    assert patient_worker.handle(caller.connection) is result


def test_thread_does_not_wait_when_the_worker_stops(patient_worker: TestedWorker, caller: Caller) -> None:
    caller.will_get(True)
    patient_worker.alive = False
    assert patient_worker.handle(caller.connection) is True


def test_thread_does_not_wait_for_data_that_was_read_ahead(patient_worker: TestedWorker, caller: Caller) -> None:
    caller.will_get(True)
    caller.connection.parser.unreader.buf = io.BytesIO(b"GET /next HTTP/1.1")
    assert patient_worker.handle(caller.connection) is True


def test_number_of_waiting_threads_is_limited(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "keepalive_threads", 1)
    worker = TestedWorker()
    worker.keepalive_wait_seconds = 3600
    waits = threading.Event()
    end = caller.connection.sock
    caller.connection.sock = SimpleNamespace(fileno=lambda: waits.set() or end.fileno(), close=end.close)
    caller.will_get(True, False)
    waiting = threading.Thread(target=worker.handle, args=(caller.connection,))
    waiting.start()
    waits.wait(60)
    other = Caller()
    other.socket.send(b"again")

    def waits_for_other() -> bool:
        other.will_get(True, False)
        return worker.handle(other.connection) is False

    assert not waits_for_other()
    caller.socket.send(b"again")
    waiting.join()
    assert waits_for_other()
    assert waits_for_other()  # the slot was returned
    other.close()


# ── the age of connections ───────────────────────────────────────────────────────────────────────────────────────────


def test_connection_closes_after_its_time(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of requests does not matter: otherwise a worker that replaces another would get no connections."""
    now = 100.0
    monkeypatch.setattr(worker_module, "perf_counter", lambda: now)
    worker = TestedWorker()
    assert all(worker.handle_request(Request(), caller.connection) for _ in range(1000))
    now += 4.9
    assert worker.handle_request(Request(), caller.connection)
    now += 5.1
    assert not worker.handle_request(Request(), caller.connection)


def test_connections_opened_together_close_at_different_times(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(worker_module, "perf_counter", lambda: now)
    end, other_end = socket.socketpair()
    worker = TestedWorker()
    connections = [SimpleNamespace(queued_at=None, sock=end) for _ in range(100)]
    assert all(worker.handle_request(Request(), connection) for connection in connections)
    now += 7.5
    assert 10 < sum(worker.handle_request(Request(), connection) for connection in connections) < 90
    end.close()
    other_end.close()


# ── queue times ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not report it in this form")
def test_queue_time_includes_the_wait_in_the_kernel() -> None:
    """A worker may be too busy to accept a connection whose request has arrived."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as caller:
        sent = perf_counter()
        caller.send(b"GET / HTTP/1.1")
        wait_until(lambda: perf_counter() > sent + 0.2)
        accepted, _ = listener.accept()
        with accepted:
            worker, connection = TestedWorker(), SimpleNamespace(queued_at=None, sock=accepted)
            assert worker.handle_request(Request(), connection)
            assert 0.15 < queue_time() < perf_counter() - sent + 0.05
            worker.run()  # a request from before the worker's start has waited since then only
            assert worker.handle_request(Request(), connection)
            assert queue_time() < 0.15
            connection.queued_at = sent - 60  # the wait for a thread counts too
            assert worker.handle_request(Request(), connection)
            assert queue_time() > 60
