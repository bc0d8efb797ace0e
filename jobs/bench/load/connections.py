"""A pool of HTTP/1.1 connections that costs as little CPU time for each request as possible.

The load comes from the cores on which the server is measured. A general-purpose client takes as long for a request as
the server takes to refuse it; this one takes a third of that.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools


@dataclass(frozen=True)
class Response:
    """A complete response."""

    status: int
    body: bytes
    received_at: float  # when its last byte came, by time.perf_counter


class ConnectionPool:
    """Connections to one server, reused for as long as the server keeps them open.

    Args:
        address: http://host:port.
    """

    def __init__(self, address: str) -> None:
        self._host, self._port = _host_and_port(address)
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()

    async def request(self, method: str, path: str, body: bytes | None) -> Response:
        """Send a request on an idle connection or a new one, and wait for the response.

        Args:
            body: JSON, or None.

        Raises:
            OSError: the connection could not be made, or ended before the response did.
        """
        connection = await self._acquire()
        try:
            response = await connection.request(_encode(method, path, self._host, body))
        except BaseException:  # also when the caller is cancelled: the response may still arrive
            connection.close()
            raise
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.close()
        return response

    async def _acquire(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()  # the last one used: the server is about to close the others
            if connection.reusable:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(self._open), self._host, self._port)
        return connection

    async def close(self) -> None:
        """Close all connections, and wait until they are closed."""
        closed = [connection.closed for connection in self._open]
        for connection in list(self._open):
            connection.close()
        await asyncio.gather(*closed)


class _Connection(asyncio.Protocol):
    """A connection with one request at a time.

    Args:
        pool: the open connections; contains this one while it is open.
    """

    def __init__(self, pool: set[_Connection]) -> None:
        self._pool = pool
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reusable = True
        self._pending: asyncio.Future[Response] | None = None
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)
        self._unsolicited = False  # a response came without a request

    def request(self, request: bytes) -> asyncio.Future[Response]:
        self._pending = pending = asyncio.get_running_loop().create_future()
        self._body.clear()
        if self._unsolicited:
            self._fail(ConnectionError("the server sent a response without a request"))
        else:
            self._transport.write(request)
        return pending

    def close(self) -> None:
        self.reusable = False
        self._transport.close()

    def _fail(self, error: OSError) -> None:
        self.reusable = False
        if self._pending is not None and not self._pending.done():
            self._pending.set_exception(error)

    # ── called by asyncio ────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (for the type checker)
        self._transport = transport
        self._pool.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"the response is not valid HTTP: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionResetError("the connection ended before the response"))
        self._pool.discard(self)
        self.closed.set_result(None)

    # ── called by the parser ─────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        self._unsolicited |= self._pending is None or self._pending.done()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._unsolicited or self._parser.get_status_code() < 200:  # 1xx: the final response is still to come
            return
        self.reusable = self._parser.should_keep_alive()
        if self._pending is not None and not self._pending.done():
            response = Response(self._parser.get_status_code(), b"".join(self._body), time.perf_counter())
            self._pending.set_result(response)


def _host_and_port(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    if parts.scheme != "http" or not parts.hostname or parts.port is None:
        raise ValueError(f"{address} is not http://host:port")
    return parts.hostname, parts.port


def _encode(method: str, path: str, host: str, body: bytes | None) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
