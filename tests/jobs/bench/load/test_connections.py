"""Connections of a load: kept while the server keeps them, and no answer is taken for another's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from jobs.bench.load.connections import Answer, Connections

KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nkept"
LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlast"
IN_CHUNKS = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nin\r\n7\r\n chunks\r\n0\r\n\r\n"


class Scripted:
    """A server that says what it is told to, one thing for each request, and takes down what it heard.

    Args:
        hangs_up: ends the first connection after the first answer.
        at_once: says it in one piece.
    """

    def __init__(self, says: Sequence[bytes], *, hangs_up: bool = False, at_once: bool = False) -> None:
        self.says, self.hangs_up, self.at_once = list(says), hangs_up, at_once
        self.heard: list[tuple[int, bytes]] = []  # the number of the connection, the request
        self.connections = self.ended = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        try:
            while request := await reader.read(65536):
                self.heard.append((number, request))
                said = self.says.pop(0)
                for piece in [said] if self.at_once else [bytes([byte]) for byte in said]:
                    writer.write(piece)
                    await writer.drain()
                if self.hangs_up and len(self.heard) == 1:
                    break
        finally:
            self.ended += 1
            writer.close()


def with_server(server: Scripted, ask: Callable[[Connections], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        async with listening:
            connections = Connections(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
            try:
                async with asyncio.timeout(60):
                    await ask(connections)
            finally:
                await connections.close()
            while server.ended < server.connections:  # else the loop would end before they do
                await asyncio.sleep(0)

    asyncio.run(all_of_it())


def test_a_connection_is_kept_while_the_server_keeps_it() -> None:
    answers: list[Answer] = []

    async def ask(connections: Connections) -> None:
        answers.extend([await connections.ask("GET", path, None) for path in ("/a", "/b", "/c", "/d")])

    server = Scripted([KEPT, IN_CHUNKS, LAST, KEPT])
    with_server(server, ask)
    assert [(each.status, each.body) for each in answers] == [
        (200, b"kept"), (503, b"in chunks"), (200, b"last"), (200, b"kept"),
    ]  # fmt: skip
    assert [number for number, _ in server.heard] == [0, 0, 0, 1]
    assert [each.at for each in answers] == sorted(each.at for each in answers)


def test_two_at_once_have_a_connection_each() -> None:
    async def ask(connections: Connections) -> None:
        await asyncio.gather(*(connections.ask("GET", f"/{number}", None) for number in range(2)))
        await connections.ask("GET", "/2", None)

    server = Scripted([KEPT] * 3)
    with_server(server, ask)
    assert server.connections == 2


def test_a_body_is_json() -> None:
    async def ask(connections: Connections) -> None:
        await connections.ask("POST", "/v1/search", b'{"a": 1}')

    server = Scripted([KEPT])
    with_server(server, ask)
    assert server.heard == [(0, b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                                b'Content-Length: 8\r\n\r\n{"a": 1}')]  # fmt: skip


@pytest.mark.parametrize("said", [b"", KEPT[:20], b"nothing like HTTP"])
def test_no_whole_answer_is_an_error(said: bytes) -> None:
    async def ask(connections: Connections) -> None:
        with pytest.raises(OSError, match=r"ended before the answer|cannot be read"):
            await connections.ask("GET", "/", None)
        assert (await connections.ask("GET", "/", None)).body == b"kept"

    server = Scripted([said, KEPT], hangs_up=True)
    with_server(server, ask)
    assert server.connections == 2


def test_what_nobody_asked_for_is_no_answer() -> None:
    async def ask(connections: Connections) -> None:
        assert (await connections.ask("GET", "/", None)).body == b"kept"
        with pytest.raises(ConnectionError, match="more than it was asked for"):
            await connections.ask("GET", "/", None)
        assert (await connections.ask("GET", "/", None)).body == b"kept"

    server = Scripted([KEPT + KEPT, KEPT], at_once=True)
    with_server(server, ask)
    assert server.connections == 2


def test_a_hint_before_the_answer_is_not_the_answer() -> None:
    async def ask(connections: Connections) -> None:
        answer = await connections.ask("GET", "/", None)
        assert (answer.status, answer.body) == (200, b"kept")

    with_server(Scripted([b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" + KEPT]), ask)


def test_who_gives_up_leaves_no_answer_to_the_next() -> None:
    async def ask(connections: Connections) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connections.ask("GET", "/slow", None)
        assert (await connections.ask("GET", "/", None)).body == b"kept"

    server = Scripted([KEPT[:-1], KEPT])
    with_server(server, ask)
    assert server.connections == 2


def test_nobody_there_is_an_error() -> None:
    async def ask() -> None:
        await Connections("http://127.0.0.1:9").ask("GET", "/", None)  # the discard port: nobody listens

    with pytest.raises(OSError, match="9"):
        asyncio.run(ask())


@pytest.mark.parametrize("address", ["127.0.0.1:80", "https://127.0.0.1:80", "http://127.0.0.1", "http://:80"])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(ValueError, match="http://host:port"):
        Connections(address)
