"""Connections to a server under load: HTTP/1.1 with as little work for each request as can be.

The load comes from the cores that the server is measured on. A client for all purposes takes as long for a request as
the server does for the one it refuses; this one takes a third of that.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    at: float  # when the last of it came, by time.perf_counter


class Connections:
    """Connections to one server, kept for the next request as long as the server keeps them.

    Args:
        address: http://host:port.
    """

    def __init__(self, address: str) -> None:
        self._host, self._port = _place(address)
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()

    async def ask(self, method: str, path: str, body: bytes | None) -> Answer:
        """Ask once, on a connection of its own for the time; a body is JSON.

        Raises:
            OSError: there is no connection, or it ended before the answer did.
        """
        connection = await self._free()
        try:
            answer = await connection.ask(_written(method, path, self._host, body))
        except BaseException:  # also if whoever asks gives up: the answer may still come
            connection.close()
            raise
        if connection.kept:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    async def _free(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()  # the last one: the others may come to their end
            if connection.kept:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(self._all), self._host, self._port)
        return connection

    async def close(self) -> None:
        """Close all, and wait until they are."""
        gone = [connection.gone for connection in self._all]
        for connection in list(self._all):
            connection.close()
        await asyncio.gather(*gone)


class _Connection(asyncio.Protocol):
    """One request at a time.

    Args:
        among: connections that it is one of while it lasts.
    """

    def __init__(self, among: set[_Connection]) -> None:
        self._among = among
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answer: asyncio.Future[Answer] | None = None  # that is waited for
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)
        self._unasked = False  # something came that nobody had asked for
        self.kept = True  # for another request

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        self._answer = answer = asyncio.get_running_loop().create_future()
        self._body.clear()
        if self._unasked:
            self._fail(ConnectionError("the server said more than it was asked for"))
        else:
            self._transport.write(request)
        return answer

    def close(self) -> None:
        self.kept = False
        self._transport.close()

    def _fail(self, error: OSError) -> None:
        self.kept = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # ── asyncio tells ────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (for the type checker)
        self._transport = transport
        self._among.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"the answer cannot be read: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionResetError("the connection ended before the answer"))
        self._among.discard(self)
        self.gone.set_result(None)

    # ── the parser tells ─────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        self._unasked |= self._answer is None or self._answer.done()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._unasked or self._parser.get_status_code() < 200:  # 1xx: the answer is still to come
            return
        self.kept = self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            answer = Answer(self._parser.get_status_code(), b"".join(self._body), time.perf_counter())
            self._answer.set_result(answer)


def _place(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    if parts.scheme != "http" or not parts.hostname or parts.port is None:
        raise ValueError(f"{address} is not http://host:port")
    return parts.hostname, parts.port


def _written(method: str, path: str, host: str, body: bytes | None) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
