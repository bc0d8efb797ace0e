"""A shop's picture server with every fault we know of, on 127.0.0.1, in a thread."""

from __future__ import annotations

import asyncio
import gzip
import io
import struct
import threading
import zlib
from collections import Counter

from aiohttp import web
from PIL import Image


def jpeg(width: int = 120, height: int = 90, color: tuple[int, int, int] = (200, 30, 60)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), color).save(buffer, "JPEG")
    return buffer.getvalue()


def huge_png(width: int = 30_000, height: int = 30_000) -> bytes:
    """A PNG whose header promises more pixels than anybody should decode, in about a hundred bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


class PictureServer:
    """Routes are in `_routes`; `requests` counts every request by path."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.agents: set[str] = set()
        self.down = False  # everything answers 503
        self.most_at_once = 0
        self._now = 0
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), daemon=True)

    def __enter__(self) -> PictureServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def reset(self) -> None:
        self.requests.clear()
        self.down = False
        self.most_at_once = 0

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self._count])
        app.add_routes(self._routes())
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    @web.middleware
    async def _count(self, request: web.Request, handler) -> web.StreamResponse:
        self.requests[request.path] += 1
        self.agents.add(request.headers.get("User-Agent", ""))
        if self.down:
            return web.Response(status=503)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            return await handler(request)
        finally:
            self._now -= 1

    def _routes(self) -> list[web.RouteDef]:
        picture = jpeg()

        def body(content: bytes, kind: str = "image/jpeg"):
            async def answer(_: web.Request) -> web.Response:
                return web.Response(body=content, content_type=kind)

            return answer

        async def numbered(request: web.Request) -> web.Response:
            number = int(request.match_info["number"])
            return web.Response(body=jpeg(color=(number % 251, number // 251, 7)), content_type="image/jpeg")

        async def status(request: web.Request) -> web.Response:
            return web.Response(status=int(request.match_info["status"]))

        async def second_try(request: web.Request) -> web.Response:
            again = self.requests[request.path] > 1
            return web.Response(body=picture) if again else web.Response(status=500)

        async def later(request: web.Request) -> web.Response:
            again = self.requests[request.path] > 1
            after = request.match_info["seconds"]
            return web.Response(body=picture) if again else web.Response(status=429, headers={"Retry-After": after})

        async def drip(request: web.Request) -> web.StreamResponse:
            return await stream(request, b"x", 0.1)

        async def endless(request: web.Request) -> web.StreamResponse:
            return await stream(request, b"x" * 65536, 0)

        async def stream(request: web.Request, piece: bytes, pause: float) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(piece)
                await asyncio.sleep(pause)

        async def hop(request: web.Request) -> web.Response:
            left = int(request.match_info["left"])
            raise web.HTTPFound(f"/hop/{left - 1}" if left else "/ok.jpg")

        async def loop(request: web.Request) -> web.Response:
            raise web.HTTPFound(request.path)

        async def away(request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": request.query["to"]})

        packed = gzip.compress(b"\0" * 50_000_000)

        async def bomb(_: web.Request) -> web.Response:
            return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

        async def last(request: web.Request) -> web.Response:
            """Answers only when so many other pictures have been asked for."""
            while sum(self.requests.values()) <= int(request.match_info["others"]):
                await asyncio.sleep(0.01)
            return web.Response(body=picture)

        async def raw(request: web.Request) -> web.StreamResponse:
            """Bytes that no HTTP library would send."""
            assert request.transport is not None
            promised, sent = request.match_info["promised"], int(request.match_info["sent"])
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {promised}\r\nConnection: close\r\n\r\n"
            request.transport.write(head.encode() + picture[:sent])
            request.transport.close()
            raise web.HTTPOk

        return [
            web.get("/ok.jpg", body(picture)),
            web.get("/n/{number}.jpg", numbered),
            web.get("/status/{status}", status),
            web.get("/second-try.jpg", second_try),
            web.get("/later/{seconds}", later),
            web.get("/drip", drip),
            web.get("/endless", endless),
            web.get("/hop/{left}", hop),
            web.get("/loop", loop),
            web.get("/away", away),
            web.get("/page.jpg", body(b"<html><body>Please log in</body></html>", "text/html")),
            web.get("/truncated.jpg", body(jpeg(400, 400)[:-400])),
            web.get("/huge.png", body(huge_png(), "image/png")),
            web.get("/tiny.png", body(jpeg(20, 20))),
            web.get("/empty.jpg", body(b"")),
            web.get("/bomb.jpg", bomb),
            web.get("/last/{others}", last),
            web.get("/raw/{promised}/{sent}", raw),
            web.get("/größe/rot & grün.jpg", body(picture)),
        ]
