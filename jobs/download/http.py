"""Downloads the bytes of one picture over HTTP, within one deadline and within the limits of its host.

Each picture has one deadline. Its time starts with its first request and covers all attempts, backoff, redirects and
the body. Only transient failures are retried: timeouts, broken connections, 408, 425, 429 and 5xx.

Each host has limits: a number of concurrent requests, a request rate, a pause after 429 with Retry-After, and no more
requests after many consecutive failures, because a dead host must not delay a shard for hours.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractResolver
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_base, wait_random_exponential
from yarl import URL

from artifacts.config import DownloadLimits
from artifacts.errors import PictureError
from artifacts.schema import TRANSIENT_REASONS, Reason
from jobs.download.addresses import BlockedAddress, parse_url, public_socket
from jobs.download.validators import NO_VALIDATORS, Validators

MAX_REDIRECTS = 5
#: Consecutive pictures of a host that fail for transient reasons before its other pictures fail without a request.
MAX_HOST_FAILURES = 32
#: Seconds between two attempts, unless the server asks for more.
BACKOFF: wait_base = wait_random_exponential(multiplier=0.25, max=10)

_TRANSIENT_STATUSES = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A server's answer to a request for a picture."""

    content: bytes | None  # None: the picture is the one that the validators were given for
    validators: Validators
    fetched_at: datetime  # UTC


class _TransientError(PictureError):
    """A failure that a retry may resolve.

    Attributes:
        retry_after: seconds that the server asks to wait, if it does.
    """

    def __init__(self, reason: Reason, detail: str, retry_after: float | None = None) -> None:
        super().__init__(reason, detail)
        self.retry_after = retry_after


class _Host:
    """The limits and the recent failures of one host while a shard is downloaded."""

    def __init__(self, concurrency: int, rate: float) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self._limiter = AsyncLimiter(max(rate, 1), max(rate, 1) / rate) if rate else None
        self._paused_until = 0.0  # by the loop's clock
        self._failures = 0  # consecutive
        self._last_error: PictureError | None = None

    @asynccontextmanager
    async def request_slot(self) -> AsyncIterator[None]:
        """Wait until the host's limits allow one request, which is made in the block.

        Raises:
            PictureError: the host has failed too often.
        """
        async with self._slots:
            if self._last_error is not None and self._failures >= MAX_HOST_FAILURES:
                detail = f"{self._last_error.detail} (host given up after {self._failures} consecutive failures)"
                raise PictureError(self._last_error.reason, detail)
            if self._limiter:
                await self._limiter.acquire()
            if (pause := self._paused_until - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(pause)
            yield

    def pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)

    def record_success(self) -> None:
        self._failures = 0

    def record_failure(self, error: PictureError) -> None:
        self._failures += 1
        # Later errors are those of request_slot, whose message would grow each time.
        self._last_error = error if self._failures <= MAX_HOST_FAILURES else self._last_error


class HttpClient:
    """Downloads pictures for one worker process; `async with` opens and closes its connections.

    Args:
        limits: concurrency, rate, retries, timeout, size.
        body_slots: one slot for each body that is being read or decoded; bounds the memory of all bodies.
        resolver: replaces DNS (for tests); its addresses are checked like any others.
    """

    def __init__(
        self, limits: DownloadLimits, body_slots: asyncio.Semaphore, resolver: AbstractResolver | None = None
    ) -> None:
        self._limits = limits
        self._body_slots = body_slots
        self._resolver = resolver
        self._hosts: dict[str, _Host] = {}

    async def __aenter__(self) -> HttpClient:
        limits = self._limits
        # _Host limits the requests; the connector's limits would only queue them a second time.
        connector = aiohttp.TCPConnector(
            limit=0,
            ttl_dns_cache=300,
            resolver=self._resolver,
            socket_factory=None if limits.allow_private_addresses else public_socket,
        )
        seconds = limits.download_timeout
        self._session = aiohttp.ClientSession(
            connector=connector,
            # An attempt that hangs ends early enough for another one; `get` keeps the deadline.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=seconds / 3, sock_read=seconds / 2),
            # Pictures are compressed already; a server that sends gzip nevertheless is decompressed in bounded chunks.
            headers={"User-Agent": limits.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # a proxy would open the connections, and the address check would not see them
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    @asynccontextmanager
    async def get(self, url: URL, validators: Validators = NO_VALIDATORS) -> AsyncIterator[Downloaded]:
        """Download a body of at most `max_picture_bytes`; its slot is released at the end of the block.

        Args:
            validators: of an earlier download of this URL: the server need not send the same picture again.

        Raises:
            PictureError: with the Reason.
        """
        deadline = asyncio.timeout(None)
        host = self._host(url)
        try:
            async with deadline:
                downloaded = await self._get_with_retries(url, validators, deadline)
        except TimeoutError:
            error = PictureError(Reason.TIMEOUT, f"not complete within {self._limits.download_timeout:g} s")
            host.record_failure(error)
            raise error from None
        except PictureError as error:
            if error.reason in TRANSIENT_REASONS:
                host.record_failure(error)
            else:
                host.record_success()
            raise
        host.record_success()
        try:
            yield downloaded
        finally:
            self._body_slots.release()

    def _host(self, url: URL) -> _Host:
        name = (url.raw_host or "").lower().rstrip(".")
        if name not in self._hosts:
            self._hosts[name] = _Host(self._limits.download_per_host, self._limits.download_rate_per_host)
        return self._hosts[name]

    async def _get_with_retries(self, url: URL, validators: Validators, deadline: asyncio.Timeout) -> Downloaded:
        def stop(state: RetryCallState) -> bool:
            next_attempt = asyncio.get_running_loop().time() + state.upcoming_sleep
            too_late = next_attempt >= (deadline.when() or float("inf"))
            return too_late or state.attempt_number > self._limits.download_retries

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_TransientError), wait=_wait_seconds, stop=stop, reraise=True
        )
        return await retrying(self._get_once, url, validators, deadline)

    async def _get_once(self, url: URL, validators: Validators, deadline: asyncio.Timeout) -> Downloaded:
        """Make one attempt: the request and its redirects. What is returned holds a slot, which the caller releases."""
        for hop in range(MAX_REDIRECTS + 1):
            headers = validators.headers(redirected=hop > 0)
            # The body slot is taken last: a picture that waits for its own host must not block pictures of others.
            async with self._host(url).request_slot(), AsyncExitStack() as held_slot:
                await held_slot.enter_async_context(self._body_slots)
                if deadline.when() is None:  # waiting for the host's limits does not count against the deadline
                    deadline.reschedule(asyncio.get_running_loop().time() + self._limits.download_timeout)
                try:
                    # Redirects are followed here: each is a URL from outside, to be validated like the first.
                    async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                        not_modified = response.status == 304 and bool(headers)
                        if 300 <= response.status < 400 and "Location" in response.headers and not not_modified:
                            url = parse_url(response.headers["Location"], url)
                            continue
                        body = None if not_modified else await self._read_body(response)
                        received = Validators.of(response.headers, redirected=hop > 0)
                except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
                    raise _to_picture_error(error) from error
                held_slot.pop_all()  # keeps the slot
                return Downloaded(body, received, datetime.now(UTC))
        raise PictureError(Reason.HTTP_CLIENT_ERROR, f"more than {MAX_REDIRECTS} redirects")

    async def _read_body(self, response: aiohttp.ClientResponse) -> bytes:
        status = response.status
        if status >= 500 or status in _TRANSIENT_STATUSES:
            retry_after = _parse_retry_after(response.headers.get("Retry-After"))
            if status == 429 and retry_after:
                self._host(response.url).pause(min(retry_after, self._limits.download_timeout))
            raise _TransientError(Reason.HTTP_SERVER_ERROR, f"HTTP {status}", retry_after)
        if status != 200:
            raise PictureError(Reason.HTTP_CLIENT_ERROR, f"HTTP {status}")
        limit = self._limits.max_picture_bytes
        too_many_bytes = PictureError(Reason.TOO_MANY_BYTES, f"more than {limit} bytes")
        if (response.content_length or 0) > limit:
            raise too_many_bytes
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > limit:  # the Content-Length may be absent or wrong
                raise too_many_bytes
            chunks.append(chunk)
        return b"".join(chunks)


def _wait_seconds(state: RetryCallState) -> float:
    """Return the seconds before the next attempt: the backoff, or what the server asks for if that is longer."""
    error = state.outcome.exception() if state.outcome else None
    retry_after = error.retry_after if isinstance(error, _TransientError) else None
    return max(retry_after or 0.0, BACKOFF(state))


def _parse_retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header (a number or a date) asks for; None if it is absent or malformed."""
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


def _to_picture_error(error: aiohttp.ClientError | OSError) -> PictureError:
    """Return a failed request's error with its Reason; a _TransientError if a retry may succeed."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(cause)
    detail = text.split("\n")[0][:200] or type(error).__name__
    if isinstance(cause, BlockedAddress):
        return PictureError(Reason.BLOCKED_ADDRESS, detail)
    if isinstance(error, aiohttp.InvalidURL):
        return PictureError(Reason.BAD_URL, f"not a URL: {detail}")
    if isinstance(error, aiohttp.ClientSSLError):
        return PictureError(Reason.CONNECTION_FAILED, f"TLS: {error}"[:200])  # a retry would get the same certificate
    if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
        return PictureError(Reason.CONNECTION_FAILED, "no such host")
    if isinstance(error, TimeoutError):
        return _TransientError(Reason.TIMEOUT, detail)
    return _TransientError(Reason.CONNECTION_FAILED, detail)
