"""Publishes releases under load and waits until every worker of a server has taken them over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from artifacts.errors import LookalikeError
from jobs.bench.load.connections import ConnectionPool
from jobs.bench.load.server import ServerProcess

_TIMEOUT_SECONDS = 120
_RESPONSE_SECONDS = 10

#: Begin and end, by time.perf_counter.
Interval = tuple[float, float]


class Rollout:
    """The releases of one server.

    Args:
        publish: publishes a new release and returns its version.
    """

    def __init__(self, server: ServerProcess, workers: int, publish: Callable[[], str]) -> None:
        self._server, self._workers, self._publish = server, workers, publish
        self._version = ""  # published last

    async def run(self) -> Interval:
        """Publish a release, and wait until every worker serves it; return when this began and ended.

        Raises:
            LookalikeError: some worker did not take it over in time.
        """
        began = time.perf_counter()
        self._version = await asyncio.to_thread(self._publish)
        await wait_for(self.is_complete, f"version {self._version} was not taken over")
        return began, time.perf_counter()

    async def is_complete(self) -> bool:
        """Return whether all workers serve the version that was published last."""
        pool = ConnectionPool(self._server.address)
        try:
            async with asyncio.timeout(_RESPONSE_SECONDS):
                response = await pool.request("GET", "/metrics", None)
        except OSError:  # includes TimeoutError: the worker was killed, or the server is overloaded
            return False
        finally:
            await pool.close()
        name = f'image_search_release_workers{{version="{self._version}"}}'
        lines = response.body.decode().splitlines()
        return any(line.startswith(name) and float(line.split()[-1]) == self._workers for line in lines)


async def wait_for(condition: Callable[[], Awaitable[bool]], failure: str) -> None:
    """Wait until the condition holds.

    Raises:
        LookalikeError: with `failure` in its message, if the condition does not hold within two minutes.
    """
    end = time.monotonic() + _TIMEOUT_SECONDS
    while not await condition():
        if time.monotonic() > end:
            raise LookalikeError(f"bench stress: {failure} in {_TIMEOUT_SECONDS} s")
        await asyncio.sleep(0.1)
