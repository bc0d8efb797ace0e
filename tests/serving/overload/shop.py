"""A worker with real sockets in front of a small application, and callers of it."""

from __future__ import annotations

import http.client
import io
import os
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from serving.overload.admission import AdmissionController
from serving.overload.shedding import LoadShedder
from serving.overload.worker import Worker
from tests.waiting import wait_until

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: Deadline of a search in seconds: long enough for any busy machine.
DEADLINE = 3600.0


class PlainApplication(BaseApplication):
    def load_config(self) -> None:
        assert self.cfg is not None
        self.cfg.set("threads", 40)
        self.cfg.set("keepalive", 75)


class Shop:
    """A server with one worker and one slot for searches. It echoes the path and body of each request.

    Args:
        queue_limit: searches that may wait.
        listeners: number of listening sockets, each with its own address.
    """

    def __init__(self, queue_limit: int = 0, listeners: int = 1) -> None:
        self.requests: list[bytes] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.admission = AdmissionController(1, queue_limit, DEADLINE)
        self.load_shedder = LoadShedder(self._answer, self.admission)
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(listeners)]
        self.addresses = [listener.getsockname() for listener in sockets]
        app = PlainApplication()
        self.worker = Worker(0, os.getppid(), sockets, app, 30, app.cfg, Logger(app.cfg))
        self.worker.tpool, self.worker.poller = self.worker.get_thread_pool(), selectors.DefaultSelector()
        self.worker.method_queue.init()
        self.worker.wsgi = self.worker.load_shedder = self.load_shedder
        self._thread = threading.Thread(target=self.worker.run)
        self._thread.start()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        content = environ["PATH_INFO"].encode() + b" " + environ["wsgi.input"].read()
        self.requests.append(content)
        self.may_answer.wait(60)
        start_response("200 OK", [("Content-Length", str(len(content)))])
        return [content]

    @contextmanager
    def full(self) -> Iterator[None]:
        """Take the only slot for the block."""
        with self.admission.admitted(perf_counter()):
            yield

    def caller(self, listener: int = 0) -> Caller:
        return Caller(self.addresses[listener])

    @contextmanager
    def callers(self, count: int) -> Iterator[list[Caller]]:
        """Open connections to the listeners in turn; wait at the end until the worker has closed all of them."""
        callers = [self.caller(number % len(self.addresses)) for number in range(count)]
        yield callers
        for caller in callers:
            caller.close()
        wait_until(lambda: self.worker.nr_conns == 0)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the main thread from polling for the block."""
        paused, may_continue = threading.Event(), threading.Event()
        self.worker.method_queue.defer(lambda: paused.set() or may_continue.wait(60))
        paused.wait(60)
        try:
            yield
        finally:
            may_continue.set()

    def close(self) -> None:
        self.worker.handle_exit(None, None)
        self._thread.join()
        self.worker.tmp.close()


class Stream(io.BufferedReader):
    """The responses on a connection. `HTTPResponse` must not close it: it may have buffered part of the next one."""

    def close(self) -> None:
        pass


class Caller:
    """A client with one connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=60)
        self.responses = Stream(self.socket.makefile("rb", buffering=0))

    def makefile(self, _mode: str) -> Stream:
        return self.responses

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def receive(self) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Status, body and headers of the next response."""
        response = http.client.HTTPResponse(self)  # type: ignore[arg-type]
        response.begin()
        return response.status, response.read(), response.headers

    def ask(self, content: bytes) -> tuple[int, bytes, http.client.HTTPMessage]:
        self.send(content)
        return self.receive()

    def close(self) -> None:
        self.responses.raw.close()
        self.socket.close()
