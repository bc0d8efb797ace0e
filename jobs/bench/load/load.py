"""Load on a server: clients that ask again when they have their answer, or requests at a fixed rate."""

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

from jobs.bench.load.connections import Connections

#: Method, path and JSON body of the request of a number.
Request = Callable[[int], tuple[str, str, bytes | None]]

#: A request that has had no answer for so long never will.
_GIVEN_UP_SECONDS = 60
#: Connections at most. A system has some 28,000 ports for them, and keeps one a minute after it is closed. A request
#: that has to wait for one is not the server's yet: that time is counted by itself.
_CONNECTIONS = 1000


def by_vector(vectors: np.ndarray, *, ranked: bool = False) -> Request:
    """Searches by vectors float32[n, dim], in turn: by similarity alone, or ranked as by default."""
    options = {} if ranked else {"rerank": False}
    bodies = [json.dumps({"vector": vector.tolist(), **options}).encode() for vector in vectors]
    return lambda number: ("POST", "/v1/search", bodies[number % len(bodies)])


def by_text() -> Request:
    """Searches by words, every time others."""
    return lambda number: ("GET", f"/v1/search/text?rerank=false&q=a+red+summer+dress+of+style+{number}", None)


@dataclass(frozen=True)
class Sample:
    """What became of one request."""

    at: float  # when it was sent, by time.perf_counter
    milliseconds: float
    status: int  # 0: there was no answer
    wrong: bool = False  # an answer, and not the one that was expected
    late_ms: float = 0.0  # that it waited for a connection of the load's before it was sent


@dataclass
class Load:
    """Asks a server, and takes down what becomes of it.

    Args:
        address: of the server.
        request: makes requests.
        expected: for some numbers the product that must come first.
    """

    address: str
    request: Request
    expected: Mapping[int, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    asked: int = 0  # requests so far, with those that are no samples
    _free: asyncio.Semaphore = field(init=False, repr=False)  # connections; of one event loop

    async def closed(self, clients: int, seconds: float) -> float:
        """So many clients, each asking again when it has its answer; returns the seconds it took."""
        numbers = itertools.count()
        self._free = asyncio.Semaphore(_CONNECTIONS)
        async with _connections(self.address) as connections:
            # Warm: connections, pages, kernels.
            await asyncio.gather(*(self._ask(connections, number, []) for number in range(clients)))
            began = time.perf_counter()

            async def client() -> None:
                while time.perf_counter() < began + seconds:
                    await self._ask(connections, next(numbers), self.samples)

            await asyncio.gather(*(client() for _ in range(clients)))
            return time.perf_counter() - began

    async def offered(self, per_second: float, seconds: float, until: asyncio.Future[float] | None = None) -> float:
        """Requests at a fixed rate, whoever is late notwithstanding; returns the seconds.

        Args:
            seconds: that requests are due for.
            until: where given, none is due after the time it tells, by time.perf_counter. Those that were due before
                and are late are still sent.
        """
        self._free = asyncio.Semaphore(_CONNECTIONS)
        async with _connections(self.address) as connections:
            began = time.perf_counter()
            end = began + seconds
            asked: list[asyncio.Task[None]] = []
            for number in itertools.count():
                due = began + number / per_second
                if until is not None and until.done():
                    end = min(end, until.result())
                if due >= end:
                    break
                await asyncio.sleep(due - time.perf_counter())
                asked.append(asyncio.create_task(self._ask(connections, number, self.samples)))
            await asyncio.gather(*asked)
            return time.perf_counter() - began

    async def _ask(self, connections: Connections, number: int, samples: list[Sample]) -> None:
        self.asked += 1
        due, status, wrong = time.perf_counter(), 0, False
        async with self._free:
            began = ended = time.perf_counter()
            with suppress(OSError):  # TimeoutError is one
                async with asyncio.timeout(_GIVEN_UP_SECONDS):
                    answer = await connections.ask(*self.request(number))
                status, ended = answer.status, answer.at
                if status == 200 and self.expected:
                    wanted = self.expected.get(number % len(self.expected))
                    wrong = wanted is not None and first_of(answer.body) != wanted
        if not status:
            ended = time.perf_counter()
        samples.append(Sample(began, (ended - began) * 1000, status, wrong, (began - due) * 1000))


def first_of(content: bytes) -> str:
    """The first product of an answer."""
    return json.loads(content)["results"][0]["product_id"]


@asynccontextmanager
async def _connections(address: str) -> AsyncIterator[Connections]:
    """Connections to ask on. Python looks for no garbage meanwhile: to go through all samples taken so far, now and
    then, would hold up what is under way for longer than an answer takes.
    """
    connections = Connections(address)
    collects = gc.isenabled()
    gc.disable()
    try:
        yield connections
    finally:
        await connections.close()
        if collects:
            gc.enable()


def percentiles(samples: Sequence[Sample]) -> tuple[float, float, float]:
    """p50, p95 and p99 in milliseconds; zeros of nothing."""
    if not samples:
        return 0.0, 0.0, 0.0
    p50, p95, p99 = np.percentile([each.milliseconds for each in samples], (50, 95, 99))
    return round(float(p50), 3), round(float(p95), 3), round(float(p99), 3)
