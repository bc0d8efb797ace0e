"""The load generator: a closed loop of clients, or an open loop of requests at a fixed rate."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import numpy as np

from jobs.bench.load.connections import ConnectionPool

#: Maps the number of a request to its method, path and JSON body.
Request = Callable[[int], tuple[str, str, bytes | None]]

#: Seconds after which a request without a response counts as failed.
_TIMEOUT_SECONDS = 60
#: A system has about 28,000 ports for connections, and reserves each for a minute after its connection is closed.
_MAX_CONNECTIONS = 1000


def vector_searches(vectors: np.ndarray, *, ranked: bool = False) -> Request:
    """Return searches by the vectors float32[n, dim], in rotation.

    Args:
        ranked: rerank as the server does by default; otherwise results come by similarity alone.
    """
    options = {} if ranked else {"rerank": False}
    bodies = [json.dumps({"vector": vector.tolist(), **options}).encode() for vector in vectors]
    return lambda number: ("POST", "/v1/search", bodies[number % len(bodies)])


def text_searches() -> Request:
    """Return searches by text, each with a different text."""
    return lambda number: ("GET", f"/v1/search/text?rerank=false&q=a+red+summer+dress+of+style+{number}", None)


@dataclass(frozen=True)
class Sample:
    """The outcome of one request."""

    sent_at: float  # by time.perf_counter
    milliseconds: float
    status: int  # 0: no response
    wrong: bool = False  # status 200 with another product in the first position than expected
    late_ms: float = 0.0  # wait for one of the generator's connections, before the request was sent


@dataclass
class LoadGenerator:
    """Sends requests to a server and records their outcomes in `samples`.

    Args:
        address: of the server, http://host:port.
        request: makes the requests.
        expected: the product that must come first, by request number modulo the size of this mapping.
        max_connections: a request that has to wait for a connection is not the server's yet, so this wait is recorded
            separately, as `Sample.late_ms`.
    """

    address: str
    request: Request
    expected: Mapping[int, str] = field(default_factory=dict)
    max_connections: int = _MAX_CONNECTIONS
    samples: list[Sample] = field(default_factory=list)
    sent: int = 0  # requests so far, including those of warm-ups, which are not in `samples`
    _connections: asyncio.Semaphore = field(init=False, repr=False)  # belongs to one event loop

    async def run_closed_loop(self, clients: int, seconds: float) -> float:
        """Run clients that each send a request when they have the response to the last one.

        Returns:
            The seconds it took.
        """
        numbers = itertools.count()
        self._connections = asyncio.Semaphore(self.max_connections)
        async with _open_pool(self.address) as pool:
            # Warm up connections, pages and kernels.
            await asyncio.gather(*(self._send(pool, number, []) for number in range(clients)))
            began = time.perf_counter()

            async def client() -> None:
                while time.perf_counter() < began + seconds:
                    await self._send(pool, next(numbers), self.samples)

            await asyncio.gather(*(client() for _ in range(clients)))
            return time.perf_counter() - began

    async def run_open_loop(
        self, per_second: float, seconds: float, stop: asyncio.Future[float] | None = None
    ) -> float:
        """Send requests at a fixed rate, however late the responses are.

        Args:
            per_second: requests that are due a second.
            seconds: for how long requests are due.
            stop: resolves to a time, by time.perf_counter, after which no request is due. Requests that were due before
                that time and are late are still sent.

        Returns:
            The seconds it took, until the last response.
        """
        self._connections = asyncio.Semaphore(self.max_connections)
        async with _open_pool(self.address) as pool:
            began = time.perf_counter()
            end = began + seconds
            tasks: list[asyncio.Task[None]] = []
            for number in itertools.count():
                due = began + number / per_second
                if stop is not None and stop.done():
                    end = min(end, stop.result())
                if due >= end:
                    break
                await asyncio.sleep(due - time.perf_counter())
                tasks.append(asyncio.create_task(self._send(pool, number, self.samples)))
            await asyncio.gather(*tasks)
            return time.perf_counter() - began

    async def _send(self, pool: ConnectionPool, number: int, samples: list[Sample]) -> None:
        self.sent += 1
        due, status, wrong = time.perf_counter(), 0, False
        async with self._connections:
            sent_at = ended = time.perf_counter()
            with suppress(OSError):  # includes TimeoutError
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    response = await pool.request(*self.request(number))
                status, ended = response.status, response.received_at
                if status == 200 and self.expected:
                    product_id = self.expected.get(number % len(self.expected))
                    wrong = product_id is not None and first_product(response.body) != product_id
        if not status:
            ended = time.perf_counter()
        samples.append(Sample(sent_at, (ended - sent_at) * 1000, status, wrong, (sent_at - due) * 1000))


def first_product(body: bytes) -> str:
    """Return the id of the first result in a search's response."""
    return json.loads(body)["results"][0]["product_id"]


@asynccontextmanager
async def _open_pool(address: str) -> AsyncIterator[ConnectionPool]:
    """Open a connection pool, and keep Python's garbage collector off while it is open.

    A collection would go through all samples taken so far, which holds up the requests in flight for longer than a
    response takes.
    """
    pool = ConnectionPool(address)
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield pool
    finally:
        await pool.close()
        if enabled:
            gc.enable()


def percentiles(samples: Sequence[Sample]) -> tuple[float, float, float]:
    """Return p50, p95 and p99 of the latency in milliseconds; zeros without samples."""
    if not samples:
        return 0.0, 0.0, 0.0
    p50, p95, p99 = np.percentile([sample.milliseconds for sample in samples], (50, 95, 99))
    return round(float(p50), 3), round(float(p95), 3), round(float(p99), 3)
