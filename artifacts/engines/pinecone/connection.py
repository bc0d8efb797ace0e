"""The client of one Pinecone index: its timeouts, and its errors as ours."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import CancelledError
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
from pinecone import AsyncIndex
from pinecone.errors import (
    ApiError,
    ForbiddenError,
    PineconeConnectionError,
    PineconeError,
    PineconeTimeoutError,
    RateLimitError,
    ServiceError,
    UnauthorizedError,
)

from artifacts.engines.base import EngineAddress
from artifacts.errors import EngineError, EngineUnavailable

#: Seconds after which a call that has no deadline is given up.
CALL_SECONDS = 60
#: Seconds that the event loop has for ending a call whose time is over.
_GRACE = 2.0
#: Ids that are fetched by one request, which has them in its URL, and requests of one call at the same time.
_FETCHED, _TOGETHER = 100, 16

_Result = TypeVar("_Result")


class IndexCalls:
    """Calls of one index, in an event loop of a thread: they end in time, whatever the client tries again."""

    def __init__(self, address: EngineAddress) -> None:
        parts = urlsplit(address.url)
        is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if not parts.hostname or parts.scheme not in ("https", *["http"] * is_local):
            raise EngineError("engine_url of pinecone has to be the index's host, https://…")
        if not address.key or not (address.key.isascii() and address.key.isprintable()):
            raise EngineError("engine_key of pinecone has to be an API key of its project")
        self._address = address
        self._lock = threading.Lock()
        self._running: tuple[threading.Thread, asyncio.AbstractEventLoop, AsyncIndex] | None = None

    def __str__(self) -> str:
        return f"pinecone at {self._address.url}"

    def call(self, seconds: float, work: Callable[[AsyncIndex], Awaitable[_Result]]) -> _Result:
        """Return the result of work that takes `seconds` at most.

        Raises:
            EngineUnavailable, EngineError: see the base module.
        """
        if seconds <= 0:
            raise EngineUnavailable(f"{self} is not asked, since no time is left")

        async def limited(index: AsyncIndex) -> _Result:
            return await asyncio.wait_for(work(index), seconds)

        with self._lock:  # so that `close` knows of the call
            loop, index = self._start()
            call = asyncio.run_coroutine_threadsafe(limited(index), loop)
        try:
            return call.result(seconds + _GRACE)
        except CancelledError as error:
            raise EngineUnavailable(f"{self} was closed before it answered") from error
        except (TimeoutError, PineconeTimeoutError) as error:
            call.cancel()
            raise EngineUnavailable(f"{self} does not answer in time") from error
        except (PineconeConnectionError, RateLimitError, ServiceError) as error:
            raise EngineUnavailable(f"{self} cannot answer now: {error}") from error
        except (UnauthorizedError, ForbiddenError) as error:
            raise EngineError(f"{self} refuses the credential; check engine_key") from error
        except ApiError as error:
            raise EngineError(f"{self} refuses: {error}") from error
        except PineconeError as error:
            raise EngineError(f"{self}: {error}") from error

    def _start(self) -> tuple[asyncio.AbstractEventLoop, AsyncIndex]:
        if self._running is None or not self._running[0].is_alive():  # a fork has no threads
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="pinecone", daemon=True)
            thread.start()
            self._running = thread, loop, AsyncIndex(host=self._address.url, api_key=self._address.key)
        return self._running[1:]

    def stats(self) -> Any:
        """Return the dimension of the index, and the rows of its namespaces."""
        return self.call(CALL_SECONDS, lambda index: index.describe_index_stats(timeout=CALL_SECONDS))

    def fetch(self, name: str, rows: np.ndarray, seconds: float) -> dict[int, list[float]]:
        """Return the vectors of those rows that there are."""
        ids = [str(row) for row in rows.tolist()]

        async def work(index: AsyncIndex) -> list[Any]:
            return await together(
                index.fetch(ids=ids[first : first + _FETCHED], namespace=name, timeout=seconds)
                for first in range(0, len(ids), _FETCHED)
            )

        responses = self.call(seconds, work)
        return {int(key): vector.values for response in responses for key, vector in response.vectors.items()}

    def close(self) -> None:
        """Close connections, and give up the calls in progress."""
        with self._lock:
            running, self._running = self._running, None
        if running is None or not running[0].is_alive():
            return
        thread, loop, index = running
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_end(index), loop).result(_GRACE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(index: AsyncIndex) -> None:
    """Cancel the other tasks of the loop, and close the client."""
    calls = asyncio.all_tasks() - {asyncio.current_task()}
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await index.close()


async def together(calls: Iterable[Awaitable[_Result]]) -> list[_Result]:
    gate = asyncio.Semaphore(_TOGETHER)

    async def gated(call: Awaitable[_Result]) -> _Result:
        async with gate:
            return await call

    return await asyncio.gather(*map(gated, calls))
