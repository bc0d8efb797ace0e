"""Fetches any number of pictures in bounded memory and yields one result for each URL. It knows nothing of Spark.

Network I/O runs on one event loop; decoding, resizing and hashing run in a few threads beside it (Pillow releases the
GIL), so neither waits for the other. Everything that can be wrong with a picture is a result with a Reason; an
exception that leaves this module is a bug.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import TypeVar

from aiohttp.abc import AbstractResolver

from artifacts.config import DownloadLimits
from artifacts.errors import PictureError
from artifacts.pictures import encode_jpeg, read_picture
from artifacts.schema import OK
from jobs.download.http import Downloaded, HttpClient
from jobs.download.local import CatalogFolder
from jobs.download.validators import NO_VALIDATORS, Validators

Key = TypeVar("Key")

#: Pictures in progress, as a multiple of `download_concurrency`: the more, the less one slow host delays the others.
WINDOW = 8
#: A decoded picture takes up to 4 bytes x `max_pixels`: a few threads, whatever the machine.
DECODE_THREADS = 4


#: Status of a picture that is the one that its validators were given for; it has no JPEG.
NOT_MODIFIED = "not_modified"


@dataclass(frozen=True, slots=True)
class Fetched:
    """The outcome of one URL: the columns of IMAGES that the download determines."""

    status: str  # OK, a Reason, or NOT_MODIFIED
    detail: str | None = None
    sha256: str | None = None
    jpeg: bytes | None = None
    width: int | None = None
    height: int | None = None
    source_sha256: str | None = None
    source_bytes: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    fetched_at: datetime | None = None  # UTC


async def fetch_all(
    requests: Iterable[tuple[Key, str]],
    limits: DownloadLimits,
    folder: CatalogFolder,
    *,
    validators: Mapping[Key, Validators] = MappingProxyType({}),
    resolver: AbstractResolver | None = None,
) -> AsyncIterator[tuple[Key, Fetched]]:
    """Fetch all pictures and yield each result as soon as it is ready, in any order.

    Memory holds at most `download_concurrency` bodies and WINDOW times as many results; `requests` is consumed only as
    far as the window allows.

    Args:
        requests: (key, URL or path) pairs; the key only labels the result.
        limits: concurrency, timeouts, sizes.
        folder: the folder that relative paths start from.
        validators: of requests that may end as NOT_MODIFIED, by their keys.
        resolver: replaces DNS (for tests).

    Yields:
        (key, result), once for each request.
    """
    loop = asyncio.get_running_loop()
    # asyncio's own pool has cpu + 4 threads; DNS look-ups and file reads only wait, so many more can run at once.
    loop.set_default_executor(ThreadPoolExecutor(min(limits.download_concurrency, 32), "fetch-wait"))
    body_slots = asyncio.Semaphore(limits.download_concurrency)
    done: asyncio.Queue[asyncio.Task[tuple[Key, Fetched]]] = asyncio.Queue()
    running: set[asyncio.Task[tuple[Key, Fetched]]] = set()
    pending: Iterator[tuple[Key, str]] = iter(requests)
    with ThreadPoolExecutor(min(DECODE_THREADS, os.cpu_count() or 1), "fetch-decode") as decode_pool:
        async with HttpClient(limits, body_slots, resolver) as client:
            fetcher = _Fetcher(limits, folder, client, body_slots, decode_pool)
            try:
                while True:
                    for key, url in islice(pending, WINDOW * limits.download_concurrency - len(running)):
                        task = asyncio.create_task(fetcher.fetch(key, url, validators.get(key, NO_VALIDATORS)))
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
    """Fetches one picture at a time, over HTTP or from the catalog's folder."""

    def __init__(
        self,
        limits: DownloadLimits,
        folder: CatalogFolder,
        client: HttpClient,
        body_slots: asyncio.Semaphore,
        decode_pool: ThreadPoolExecutor,
    ) -> None:
        self._limits = limits
        self._folder = folder
        self._client = client
        self._body_slots = body_slots
        self._decode_pool = decode_pool

    async def fetch(self, key: Key, url: str, validators: Validators) -> tuple[Key, Fetched]:
        try:
            web_url = self._folder.web_url(url)
            if web_url is not None:
                async with self._client.get(web_url, validators) as downloaded:
                    return key, await self._fetched(downloaded)
            async with self._body_slots:
                content = await asyncio.to_thread(self._folder.read, url, self._limits.max_picture_bytes)
                return key, await self._normalize(content)
        except PictureError as error:
            return key, Fetched(status=error.reason.value, detail=error.detail[:200])

    async def _fetched(self, downloaded: Downloaded) -> Fetched:
        content = downloaded.content
        fetched = Fetched(NOT_MODIFIED) if content is None else await self._normalize(content)
        validators = downloaded.validators
        return replace(
            fetched,
            etag=validators.etag,
            last_modified=validators.last_modified,
            fetched_at=downloaded.fetched_at,
        )

    async def _normalize(self, content: bytes) -> Fetched:
        side, max_pixels = self._limits.picture_side, self._limits.max_pixels
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decode_pool, normalize_picture, content, side, max_pixels)


def normalize_picture(content: bytes, side: int, max_pixels: int) -> Fetched:
    """Convert a picture to the form in which it is kept: upright RGB, at most `side` px on its longest side, JPEG.

    Raises:
        PictureError: the bytes are not a picture that can be used.
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
