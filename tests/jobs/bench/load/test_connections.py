"""The connection pool: connections are reused while the server keeps them, and responses match their requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from jobs.bench.load.connections import ConnectionPool, Response

pytestmark = pytest.mark.server


KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nkept"
LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlast"
CHUNKED = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nin\r\n7\r\n chunks\r\n0\r\n\r\n"


class ScriptedServer:
    """A server that sends prepared bytes, one item for each request, and records the requests.

    Args:
        script: the bytes.
        hangs_up: closes the first connection after the first response.
        in_one_piece: sends an item at once, not byte by byte.
    """

    def __init__(self, script: Sequence[bytes], *, hangs_up: bool = False, in_one_piece: bool = False) -> None:
        self.script, self.hangs_up, self.in_one_piece = list(script), hangs_up, in_one_piece
        self.requests: list[tuple[int, bytes]] = []  # number of the connection, request
        self.connections = self.closed = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        try:
            while request := await reader.read(65536):
                self.requests.append((number, request))
                content = self.script.pop(0)
                for piece in [content] if self.in_one_piece else [bytes([byte]) for byte in content]:
                    writer.write(piece)
                    await writer.drain()
                if self.hangs_up and len(self.requests) == 1:
                    break
        finally:
            self.closed += 1
            writer.close()


def with_server(server: ScriptedServer, client: Callable[[ConnectionPool], Awaitable[None]]) -> None:
    """Run a client with a pool of connections to the server."""

    async def main() -> None:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        async with listening:
            pool = ConnectionPool(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
            try:
                async with asyncio.timeout(60):
                    await client(pool)
            finally:
                await pool.close()
            while server.closed < server.connections:  # otherwise the event loop would end before the handlers
                await asyncio.sleep(0)

    asyncio.run(main())


def test_connection_is_reused_until_the_server_closes_it() -> None:
    responses: list[Response] = []

    async def client(pool: ConnectionPool) -> None:
        responses.extend([await pool.request("GET", path, None) for path in ("/a", "/b", "/c", "/d")])

    server = ScriptedServer([KEPT, CHUNKED, LAST, KEPT])
    with_server(server, client)
    assert [(response.status, response.body) for response in responses] == [
        (200, b"kept"),
        (503, b"in chunks"),
        (200, b"last"),
        (200, b"kept"),
    ]
    assert [number for number, _ in server.requests] == [0, 0, 0, 1]
    times = [response.received_at for response in responses]
    assert times == sorted(times)


def test_concurrent_requests_use_different_connections() -> None:
    async def client(pool: ConnectionPool) -> None:
        await asyncio.gather(*(pool.request("GET", f"/{number}", None) for number in range(2)))
        await pool.request("GET", "/2", None)

    server = ScriptedServer([KEPT] * 3)
    with_server(server, client)
    assert server.connections == 2


def test_body_is_sent_as_json() -> None:
    async def client(pool: ConnectionPool) -> None:
        await pool.request("POST", "/v1/search", b'{"a": 1}')

    server = ScriptedServer([KEPT])
    with_server(server, client)
    head = "POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n"
    assert server.requests == [(0, head.encode() + b'{"a": 1}')]


@pytest.mark.parametrize("content", [b"", KEPT[:20], b"nothing like HTTP"])
def test_incomplete_or_invalid_response_raises(content: bytes) -> None:
    async def client(pool: ConnectionPool) -> None:
        with pytest.raises(OSError, match=r"ended before the response|not valid HTTP"):
            await pool.request("GET", "/", None)
        assert (await pool.request("GET", "/", None)).body == b"kept"

    server = ScriptedServer([content, KEPT], hangs_up=True)
    with_server(server, client)
    assert server.connections == 2


def test_unsolicited_response_is_not_taken_for_the_next_one() -> None:
    async def client(pool: ConnectionPool) -> None:
        assert (await pool.request("GET", "/", None)).body == b"kept"
        with pytest.raises(ConnectionError, match="without a request"):
            await pool.request("GET", "/", None)
        assert (await pool.request("GET", "/", None)).body == b"kept"

    server = ScriptedServer([KEPT + KEPT, KEPT], in_one_piece=True)
    with_server(server, client)
    assert server.connections == 2


def test_informational_response_is_skipped() -> None:
    async def client(pool: ConnectionPool) -> None:
        response = await pool.request("GET", "/", None)
        assert (response.status, response.body) == (200, b"kept")

    with_server(ScriptedServer([b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" + KEPT]), client)


def test_cancelled_request_leaves_no_response_to_the_next() -> None:
    async def client(pool: ConnectionPool) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.request("GET", "/slow", None)
        assert (await pool.request("GET", "/", None)).body == b"kept"

    server = ScriptedServer([KEPT[:-1], KEPT])
    with_server(server, client)
    assert server.connections == 2


def test_refused_connection_raises() -> None:
    async def main() -> None:
        await ConnectionPool("http://127.0.0.1:9").request("GET", "/", None)  # the discard port: closed

    with pytest.raises(OSError, match="9"):
        asyncio.run(main())


@pytest.mark.parametrize("address", ["127.0.0.1:80", "https://127.0.0.1:80", "http://127.0.0.1", "http://:80"])
def test_address_must_be_scheme_host_and_port(address: str) -> None:
    with pytest.raises(ValueError, match="http://host:port"):
        ConnectionPool(address)
