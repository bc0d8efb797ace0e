"""One picture's bytes over HTTP, within one deadline, politely.

Rules of a picture: the clock starts when its host has a free turn and then covers everything (tries, backoff,
redirects, body). Only what may pass is tried again: timeouts, broken connections, 408, 425, 429 and 5xx.
Rules of a host: so many requests at once, so many a second, a pause when it says 429 with Retry-After, and nothing more
when it has failed many pictures in a row: a dead host must not hold a shard for hours.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractResolver
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential
from yarl import URL

from artifacts.config import DownloadLimits
from artifacts.errors import PictureError
from artifacts.schema import TRANSIENT_REASONS, Reason
from jobs.download.addresses import BlockedAddress, parse_url, public_socket

MAX_REDIRECTS = 5
#: Pictures of a host that fail one after the other, for reasons that may pass, before the rest are not tried.
GIVE_UP_AFTER = 32

_PASSING_STATUS = frozenset({408, 425, 429})
_backoff = wait_random_exponential(multiplier=0.25, max=10)


class _Passing(PictureError):
    """A failure that another try may mend, after `wait` seconds if the server said so."""

    def __init__(self, reason: Reason, detail: str, wait: float | None = None) -> None:
        super().__init__(reason, detail)
        self.wait = wait


class _Host:
    """What is known of one host while a shard is downloaded."""

    def __init__(self, at_once: int, rate: float) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._limiter = AsyncLimiter(max(rate, 1), max(rate, 1) / rate) if rate else None
        self._resume_at = 0.0  # by the loop's clock
        self._failures = 0
        self._last: PictureError | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The right to make one request now.

        Raises:
            PictureError: the host has been given up.
        """
        async with self._slots:
            if self._last is not None and self._failures >= GIVE_UP_AFTER:
                detail = f"{self._last.detail} (so did {self._failures} pictures before: host given up)"
                raise PictureError(self._last.reason, detail)
            if self._limiter:
                await self._limiter.acquire()
            if (pause := self._resume_at - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(pause)
            yield

    def pause(self, seconds: float) -> None:
        self._resume_at = max(self._resume_at, asyncio.get_running_loop().time() + seconds)

    def answered(self) -> None:
        self._failures = 0

    def failed(self, error: PictureError) -> None:
        self._failures += 1
        self._last = error if self._failures <= GIVE_UP_AFTER else self._last


class HttpClient:
    """Downloads of one worker process; `async with` opens and closes its connections.

    Args:
        room: one place for each body that is being read or worked on; it bounds the memory they take.
        resolver: replaces DNS (tests); the addresses it gives are checked like any other.
    """

    def __init__(
        self, settings: DownloadLimits, room: asyncio.Semaphore, resolver: AbstractResolver | None = None
    ) -> None:
        self._settings = settings
        self._room = room
        self._resolver = resolver
        self._hosts: dict[str, _Host] = {}

    async def __aenter__(self) -> HttpClient:
        settings = self._settings
        # Our own slots limit the requests; the connector's limits would only queue a second time.
        connector = aiohttp.TCPConnector(
            limit=0,
            ttl_dns_cache=300,
            resolver=self._resolver,
            socket_factory=None if settings.allow_private_addresses else public_socket,
        )
        seconds = settings.download_timeout
        self._session = aiohttp.ClientSession(
            connector=connector,
            # A try that hangs ends early enough for another one; the whole is timed by `get`.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=seconds / 3, sock_read=seconds / 2),
            # Pictures are compressed already; a server that sends gzip all the same is unpacked in bounded pieces.
            headers={"User-Agent": settings.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # a proxy would make the connections, out of reach of the address check
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    @asynccontextmanager
    async def get(self, url: URL) -> AsyncIterator[bytes]:
        """The body behind a URL, at most `max_picture_bytes` long; its place in `room` is kept until the block ends.

        Raises:
            PictureError: with the Reason.
        """
        clock = asyncio.timeout(None)
        host = self._host(url)
        try:
            async with clock:
                body = await self._tries(url, clock)
        except TimeoutError:
            error = PictureError(Reason.TIMEOUT, f"not there within {self._settings.download_timeout:g} s")
            host.failed(error)
            raise error from None
        except PictureError as error:
            if error.reason in TRANSIENT_REASONS:
                host.failed(error)
            else:
                host.answered()
            raise
        host.answered()
        try:
            yield body
        finally:
            self._room.release()

    def _host(self, url: URL) -> _Host:
        name = (url.raw_host or "").lower().rstrip(".")
        if name not in self._hosts:
            self._hosts[name] = _Host(self._settings.download_per_host, self._settings.download_rate_per_host)
        return self._hosts[name]

    async def _tries(self, url: URL, clock: asyncio.Timeout) -> bytes:
        def enough(state: RetryCallState) -> bool:
            late = asyncio.get_running_loop().time() + state.upcoming_sleep >= (clock.when() or float("inf"))
            return late or state.attempt_number > self._settings.download_retries

        retrying = AsyncRetrying(retry=retry_if_exception_type(_Passing), wait=_wait, stop=enough, reraise=True)
        return await retrying(self._follow, url, clock)

    async def _follow(self, url: URL, clock: asyncio.Timeout) -> bytes:
        """One try: the request and the redirects it leads to. A body comes with a place in `room`."""
        for _ in range(MAX_REDIRECTS + 1):
            # A place is asked for last: a picture that waits for its own host must not take the place of others.
            async with self._host(url).turn(), AsyncExitStack() as place:
                await place.enter_async_context(self._room)
                if clock.when() is None:  # waiting for the first turn is our politeness, not the picture's fault
                    clock.reschedule(asyncio.get_running_loop().time() + self._settings.download_timeout)
                try:
                    # Redirects are followed by hand: each one is a URL from outside, to be checked like the first.
                    async with self._session.get(url, allow_redirects=False) as response:
                        if 300 <= response.status < 400 and "Location" in response.headers:
                            url = parse_url(response.headers["Location"], url)
                            continue
                        body = await self._body(response)
                except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
                    raise _failure(error) from error
                place.pop_all()  # the caller gives it back
                return body
        raise PictureError(Reason.HTTP_CLIENT_ERROR, f"more than {MAX_REDIRECTS} redirects")

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        status = response.status
        if status >= 500 or status in _PASSING_STATUS:
            wait = _retry_after(response.headers.get("Retry-After"))
            if status == 429 and wait:
                self._host(response.url).pause(min(wait, self._settings.download_timeout))
            raise _Passing(Reason.HTTP_SERVER_ERROR, f"HTTP {status}", wait)
        if status != 200:
            raise PictureError(Reason.HTTP_CLIENT_ERROR, f"HTTP {status}")
        limit = self._settings.max_picture_bytes
        too_many = PictureError(Reason.TOO_MANY_BYTES, f"more than {limit} bytes")
        if (response.content_length or 0) > limit:
            raise too_many
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > limit:  # whatever the headers promised
                raise too_many
            chunks.append(chunk)
        return b"".join(chunks)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, _Passing) else None
    return max(asked or 0.0, _backoff(state))


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date. None if it makes no sense."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value[:9])
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)


def _failure(error: aiohttp.ClientError | OSError) -> PictureError:
    """What went wrong with a request, as a Reason."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(cause)
    detail = text.split("\n")[0][:200] or type(error).__name__
    if isinstance(cause, BlockedAddress):
        return PictureError(Reason.BLOCKED_ADDRESS, detail)
    if isinstance(error, aiohttp.InvalidURL):
        return PictureError(Reason.BAD_URL, f"not a URL: {detail}")
    if isinstance(error, aiohttp.ClientSSLError):
        return PictureError(Reason.CONNECTION_FAILED, f"TLS: {error}"[:200])  # another try meets the same certificate
    if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
        return PictureError(Reason.CONNECTION_FAILED, "no such host")
    if isinstance(error, TimeoutError):
        return _Passing(Reason.TIMEOUT, detail)
    return _Passing(Reason.CONNECTION_FAILED, detail)
