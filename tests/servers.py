"""A picture server on 127.0.0.1, in a thread, that produces every known fault of a shop's server."""

from __future__ import annotations

import asyncio
import gzip
import io
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime

from aiohttp import web
from PIL import Image

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def jpeg(width: int = 120, height: int = 90, color: tuple[int, int, int] = (200, 30, 60)) -> bytes:
    """Return a picture of one color."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), color).save(buffer, "JPEG")
    return buffer.getvalue()


def huge_png(width: int = 30_000, height: int = 30_000) -> bytes:
    """Return a PNG of about a hundred bytes whose header declares more pixels than may be decoded."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


class PictureServer:
    """Serves pictures and faults, each under a path of its own; see `_routes`.

    Attributes:
        requests: requests by path.
        conditional: of these, requests with a validator (If-None-Match or If-Modified-Since).
        agents: User-Agents of all requests.
        down: whether every request is answered with 503.
        max_concurrency: the largest number of requests that were handled at the same time.
        port: the server's port.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.conditional: Counter[str] = Counter()
        self._edits: Counter[str] = Counter()
        self.agents: set[str] = set()
        self.down = False
        self.max_concurrency = 0
        self._concurrency = 0
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
        """Reset the counters of requests, and end `down`."""
        self.requests.clear()
        self.conditional.clear()
        self.down = False
        self.max_concurrency = 0

    def edit(self, path: str) -> None:
        """Replace the picture behind a URL `/editable/…`, and so its validators."""
        self._edits[path] += 1

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
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests[request.path] += 1
        self.conditional[request.path] += not {"If-None-Match", "If-Modified-Since"}.isdisjoint(request.headers)
        self.agents.add(request.headers.get("User-Agent", ""))
        if self.down:
            return web.Response(status=503)
        self._concurrency += 1
        self.max_concurrency = max(self.max_concurrency, self._concurrency)
        try:
            return await handler(request)
        finally:
            self._concurrency -= 1

    def _routes(self) -> list[web.RouteDef]:
        picture = jpeg()
        gzip_bomb = gzip.compress(b"\0" * 50_000_000)

        def body(content: bytes, content_type: str = "image/jpeg") -> Handler:
            async def respond(_: web.Request) -> web.Response:
                return web.Response(body=content, content_type=content_type)

            return respond

        async def numbered_picture(request: web.Request) -> web.Response:
            number = int(request.match_info["number"])
            return web.Response(body=jpeg(color=(number % 251, number // 251, 7)), content_type="image/jpeg")

        async def editable(request: web.Request) -> web.Response:
            """Respond as a file server does: with validators, and with 304 to a request that has them.

            The query may name the validators that it gives (`?validators=etag`, `modified`, `none`), and the status
            of all responses after an edit (`?failing=404`).
            """
            edits = self._edits[request.path]
            if edits and "failing" in request.query:
                return web.Response(status=int(request.query["failing"]))
            etag = f'"v{edits}"'
            modified = format_datetime(datetime(2026, 1, 1 + edits, tzinfo=UTC), usegmt=True)
            chosen = request.query.get("validators", "etag modified")
            headers = {"ETag": etag} if "etag" in chosen else {}
            headers |= {"Last-Modified": modified} if "modified" in chosen else {}
            if "etag" in chosen and request.headers.get("If-None-Match"):
                fresh = request.headers["If-None-Match"] == etag
            else:
                fresh = "modified" in chosen and request.headers.get("If-Modified-Since") == modified
            if fresh:
                return web.Response(status=304, headers=headers)
            return web.Response(body=jpeg(color=(edits * 40, 90, 9)), content_type="image/jpeg", headers=headers)

        async def status(request: web.Request) -> web.Response:
            return web.Response(status=int(request.match_info["status"]))

        async def fail_once(request: web.Request) -> web.Response:
            is_retry = self.requests[request.path] > 1
            return web.Response(body=picture) if is_retry else web.Response(status=500)

        async def retry_after(request: web.Request) -> web.Response:
            """Respond to the first request with 429, and to a retry with a picture, however soon it comes."""
            is_retry = self.requests[request.path] > 1
            headers = {"Retry-After": request.match_info["seconds"]}
            return web.Response(body=picture) if is_retry else web.Response(status=429, headers=headers)

        async def drip(request: web.Request) -> web.StreamResponse:
            return await stream(request, b"x", 0.1)

        async def endless(request: web.Request) -> web.StreamResponse:
            return await stream(request, b"x" * 65536, 0)

        async def stream(request: web.Request, chunk: bytes, pause: float) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(chunk)
                await asyncio.sleep(pause)

        async def redirects(request: web.Request) -> web.Response:
            left = int(request.match_info["left"])
            raise web.HTTPFound(f"/redirects/{left - 1}" if left else "/ok.jpg")

        async def redirect_loop(request: web.Request) -> web.Response:
            raise web.HTTPFound(request.path)

        async def redirect(request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": request.query["to"]})

        async def bomb(_: web.Request) -> web.Response:
            return web.Response(body=gzip_bomb, headers={"Content-Encoding": "gzip"})

        async def after_others(request: web.Request) -> web.Response:
            """Respond only when this many other requests have been received."""
            while sum(self.requests.values()) <= int(request.match_info["others"]):
                await asyncio.sleep(0.01)
            return web.Response(body=picture)

        async def raw(request: web.Request) -> web.StreamResponse:
            """Declare one number of bytes and send another, which no HTTP library would do."""
            assert request.transport is not None
            declared, sent = request.match_info["declared"], int(request.match_info["sent"])
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {declared}\r\nConnection: close\r\n\r\n"
            request.transport.write(head.encode() + picture[:sent])
            request.transport.close()
            raise web.HTTPOk

        return [
            web.get("/ok.jpg", body(picture)),
            web.get("/n/{number}.jpg", numbered_picture),
            web.get("/editable/{name}", editable),
            web.get("/status/{status}", status),
            web.get("/fail-once.jpg", fail_once),
            web.get("/retry-after/{seconds}", retry_after),
            web.get("/drip", drip),
            web.get("/endless", endless),
            web.get("/redirects/{left}", redirects),
            web.get("/redirect-loop", redirect_loop),
            web.get("/redirect", redirect),
            web.get("/page.jpg", body(b"<html><body>Please log in</body></html>", "text/html")),
            web.get("/truncated.jpg", body(jpeg(400, 400)[:-400])),
            web.get("/huge.png", body(huge_png(), "image/png")),
            web.get("/tiny.png", body(jpeg(20, 20))),
            web.get("/empty.jpg", body(b"")),
            web.get("/bomb.jpg", bomb),
            web.get("/after-others/{others}", after_others),
            web.get("/raw/{declared}/{sent}", raw),
            web.get("/größe/rot & grün.jpg", body(picture)),
        ]
