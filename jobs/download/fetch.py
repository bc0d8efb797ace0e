"""Fetch pictures: any number of URLs in, one result for each out, in bounded memory. No Spark here.

The network is waited for on one event loop; decoding, shrinking and hashing run in a few threads beside it (Pillow
releases the GIL), so neither waits for the other. Everything that can be wrong with a picture is a result with a
Reason; an exception that leaves this module is a bug.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from aiohttp.abc import AbstractResolver

from artifacts.config import DownloadLimits
from artifacts.errors import PictureError
from artifacts.pictures import encode_jpeg, read_picture
from artifacts.schema import OK
from jobs.download.http import HttpClient
from jobs.download.local import CatalogFolder

Key = TypeVar("Key")

#: Pictures begun at once, as a multiple of `download_concurrency`: the more, the less one slow host holds up others.
WINDOW = 8
#: A decoded picture may take 4 bytes x `max_pixels`: few threads, whatever the machine.
DECODE_THREADS = 4


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of one URL: the columns of IMAGES that the download decides."""

    status: str  # OK or a Reason
    detail: str | None = None
    sha256: str | None = None
    jpeg: bytes | None = None
    width: int | None = None
    height: int | None = None
    source_sha256: str | None = None
    source_bytes: int | None = None


async def fetch_all(
    jobs: Iterable[tuple[Key, str]],
    settings: DownloadLimits,
    folder: CatalogFolder,
    *,
    resolver: AbstractResolver | None = None,
) -> AsyncIterator[tuple[Key, Fetched]]:
    """Fetch every URL; results come as they are ready, in no order, each key exactly once.

    At most `download_concurrency` bodies and as many results as fit the window are in memory; `jobs` is read as
    places become free.

    Args:
        jobs: (key, URL or path) pairs; the key only labels the result.
        folder: where relative paths start.
        resolver: replaces DNS (tests).
    """
    loop = asyncio.get_running_loop()
    # asyncio's own pool has cpu + 4 threads; DNS look-ups and file reads only wait, so they may be many more.
    loop.set_default_executor(ThreadPoolExecutor(min(settings.download_concurrency, 32), "fetch-wait"))
    room = asyncio.Semaphore(settings.download_concurrency)
    done: asyncio.Queue[asyncio.Task[tuple[Key, Fetched]]] = asyncio.Queue()
    running: set[asyncio.Task[tuple[Key, Fetched]]] = set()
    waiting: Iterator[tuple[Key, str]] = iter(jobs)
    with ThreadPoolExecutor(min(DECODE_THREADS, os.cpu_count() or 1), "fetch-decode") as pool:
        async with HttpClient(settings, room, resolver) as client:
            fetcher = _Fetcher(settings, folder, client, room, pool)
            try:
                while True:
                    for key, url in islice(waiting, WINDOW * settings.download_concurrency - len(running)):
                        task = asyncio.create_task(fetcher.one(key, url))
                        running.add(task)
                        task.add_done_callback(done.put_nowait)
                    if not running:
                        return
                    task = await done.get()
                    running.discard(task)
                    yield task.result()
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)


class _Fetcher:
    def __init__(
        self,
        settings: DownloadLimits,
        folder: CatalogFolder,
        client: HttpClient,
        room: asyncio.Semaphore,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._client = client
        self._room = room
        self._pool = pool

    async def one(self, key: Key, url: str) -> tuple[Key, Fetched]:
        try:
            web = self._folder.web_url(url)
            if web is not None:
                async with self._client.get(web) as content:
                    return key, await self._stored(content)
            async with self._room:
                content = await asyncio.to_thread(self._folder.read, url, self._settings.max_picture_bytes)
                return key, await self._stored(content)
        except PictureError as error:
            return key, Fetched(status=error.reason.value, detail=error.detail[:200])

    async def _stored(self, content: bytes) -> Fetched:
        side, pixels = self._settings.picture_side, self._settings.max_pixels
        return await asyncio.get_running_loop().run_in_executor(self._pool, stored_picture, content, side, pixels)


def stored_picture(content: bytes, side: int, max_pixels: int) -> Fetched:
    """The picture as it is kept: upright RGB, at most `side` px, JPEG.

    Raises:
        PictureError: the bytes are no picture.
    """
    picture = read_picture(content, side=side, max_pixels=max_pixels)
    jpeg = encode_jpeg(picture)
    return Fetched(
        status=OK,
        sha256=hashlib.sha256(jpeg).hexdigest(),
        jpeg=jpeg,
        width=picture.width,
        height=picture.height,
        source_sha256=hashlib.sha256(content).hexdigest(),
        source_bytes=len(content),
    )
