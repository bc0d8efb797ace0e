"""`lookalike bench stress`: what goes wrong in a server's life, under load, one thing after the other.

    calm       a constant load, for comparison
    reloads    the same load, while one release after another is published and taken over, with a pause after each
    killed     the same load, while a worker is killed
    events     the same load, while events cannot be written
    overload   so many times what the server can do
    after      the calm load again

The load is searches by vectors whose best product is known, so an answer that is wrong is seen. Memory, maps and open
files of the workers are counted before and after the reloads.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from artifacts.encoders.registry import load_encoder
from artifacts.errors import LookalikeError
from artifacts.index.params import SearchParams
from artifacts.segments.segment import Segment
from artifacts.settings import Settings
from jobs.bench.catalog import drawn_catalog
from jobs.bench.load.connections import Connections
from jobs.bench.load.load import Load, Sample, by_vector, percentiles
from jobs.bench.load.server import Cores, Resources, ServerProcess
from jobs.bench.serve import released

_ENCODER = "python:jobs.bench.encoder:ClipShaped"
#: Share of what the server can do that is asked of it in the calm phases.
_CALM = 0.4
#: Clients that ask again when they have their answer: what they get is what the server can do.
_CLIENTS = 16
#: Reloads before anything is counted: the first ones fill caches and pools.
_SETTLING = 3
#: How often workers look for a new release, and how long they keep the one before.
_RELOAD_SECONDS, _CURSOR_SECONDS = 0.5, 1
#: After a reload: until the release before has been let go of, and then for as long as is compared with reloads.
_LET_GO_SECONDS = _CURSOR_SECONDS + 2 * _RELOAD_SECONDS
_PAUSE_SECONDS = 1.0
_PATIENCE_SECONDS = 120
_ANSWER_SECONDS = 10

#: When something began and ended, by time.perf_counter.
_Times = tuple[float, float]


@dataclass(frozen=True)
class Phase:
    """What became of the load of one phase; times in milliseconds."""

    name: str
    seconds: float
    offered: float  # requests a second
    answered: int
    refused: int  # 503
    failed: int  # no answer, or another status
    wrong: int  # answered, with another product in the first place
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    refused_p99_ms: float
    late_p99_ms: float  # that requests waited for one of the load's connections, before they were the server's
    stolen: float  # share of the processors' time that the machine's host gave to others; see `Cores`


@dataclass(frozen=True)
class StressBench:
    """All that was measured."""

    name: str
    workers: int
    capacity: float  # searches a second
    deadline_seconds: float
    phases: list[Phase]
    swap_p99_ms: float  # of requests sent between a publication and the time when all workers had taken it over
    pause_p99_ms: float  # of those sent in the pauses after that
    reloads: int
    before: list[Resources] = field(default_factory=list)
    after: list[Resources] = field(default_factory=list)
    samples: list[tuple[str, list[Sample]]] = field(default_factory=list, repr=False)

    def of(self, name: str) -> Phase:
        return next(each for each in self.phases if each.name == name)


def measure_stress(
    rows: int,
    settings: Settings,
    folder: Path,
    *,
    workers: int,
    seconds: float,
    reloads: int,
    times: float,
    spec: str = _ENCODER,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> StressBench:
    """Go through all phases.

    Args:
        seconds: of each phase but the reloads, which take as long as they take.
        times: what the overload is of the server's capacity.

    Raises:
        LookalikeError: the server did not come up, or a release was not taken over.
    """
    encoder = load_encoder(spec, settings.device)
    catalog = drawn_catalog(rows, encoder.dim, 200, settings, folder, progress=progress)
    events = folder / "events"
    shutil.rmtree(events, ignore_errors=True)
    events.unlink(missing_ok=True)
    segment, vectors = catalog.segment, catalog.queries[0].vectors
    try:
        expected, turns = _expected(segment, vectors), itertools.count()

        def publish() -> tuple[str, str]:
            params = SearchParams(nprobe=32, rescore=8)
            return released(segment, params, folder, encoder, settings, turn=next(turns))

        environment = {
            "LOOKALIKE_RELEASES": publish()[0], "LOOKALIKE_WORKERS": str(workers),
            "LOOKALIKE_RELOAD_SECONDS": str(_RELOAD_SECONDS), "LOOKALIKE_CURSOR_SECONDS": str(_CURSOR_SECONDS),
            "LOOKALIKE_RESULT_CACHE_SECONDS": "0", "LOOKALIKE_EVENTS": str(events), "LOOKALIKE_EVENTS_SECONDS": "1",
        }  # fmt: skip
        with ServerProcess(environment) as server:
            stress = _Stress(server, vectors, expected, workers, publish, events)
            asyncio.run(stress.all(seconds, reloads, times))
        return StressBench(
            catalog.name, workers, stress.capacity, settings.deadline_seconds, stress.phases, stress.swap_p99_ms,
            stress.pause_p99_ms, reloads, stress.before, stress.after, stress.samples,
        )  # fmt: skip
    finally:
        segment.close()


def _expected(segment: Segment, vectors: np.ndarray) -> dict[int, str]:
    """The product that is nearest to each query."""
    found, _ = segment.search(vectors, 1, SearchParams(), path="exact")
    rows = np.array([each.rows[0] for each in found])
    return dict(enumerate(segment.product_ids(rows)))


class _Stress:
    def __init__(
        self,
        server: ServerProcess,
        vectors: np.ndarray,
        expected: dict[int, str],
        workers: int,
        publish: Callable[[], tuple[str, str]],
        events: Path,
    ) -> None:
        self._server, self._expected, self._workers = server, expected, workers
        self._request, self._publish, self._events = by_vector(vectors), publish, events
        self._version = ""  # published last
        self.capacity = self.swap_p99_ms = self.pause_p99_ms = 0.0
        self.phases: list[Phase] = []
        self.samples: list[tuple[str, list[Sample]]] = []
        self.before: list[Resources] = []
        self.after: list[Resources] = []

    async def all(self, seconds: float, reloads: int, times: float) -> None:
        """All phases; what they showed is in the attributes."""
        load = self._load()
        took = await load.closed(_CLIENTS, seconds)
        self.capacity = round(sum(each.status == 200 for each in load.samples) / took, 1)
        calm = _CALM * self.capacity
        await self._phase("calm", calm, seconds)
        for _ in range(_SETTLING):
            await self._swap()
        self.before = self._server.resources()
        swaps: list[_Times] = []
        pauses: list[_Times] = []

        async def swap() -> None:
            for _ in range(reloads):
                swaps.append(await self._swap())
                await asyncio.sleep(_LET_GO_SECONDS)
                paused = time.perf_counter()
                await asyncio.sleep(max(_PAUSE_SECONDS, swaps[-1][1] - swaps[-1][0]))
                pauses.append((paused, time.perf_counter()))

        await self._phase("reloads", calm, seconds, beside=swap)
        self.after = self._server.resources()
        samples = dict(self.samples)["reloads"]
        self.swap_p99_ms, self.pause_p99_ms = _p99_within(samples, swaps), _p99_within(samples, pauses)
        await self._phase("killed", calm, seconds, beside=self._kill_a_worker)

        async def fill() -> None:
            while not self._events.is_file():
                shutil.rmtree(self._events, ignore_errors=True)
                with contextlib.suppress(IsADirectoryError):  # a worker that was about to write made it anew
                    self._events.write_text("no folder")
            await asyncio.sleep(seconds / 2)
            self._events.unlink()

        await self._phase("events", calm, seconds, beside=fill)
        await self._phase("overload", times * self.capacity, seconds)
        await self._phase("after", calm, seconds)

    def _load(self) -> Load:
        return Load(self._server.address, self._request, self._expected)

    async def _phase(
        self, name: str, per_second: float, seconds: float, *, beside: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """A constant load for so long; with something beside it, as long as that takes if that is longer."""
        load, cores = self._load(), Cores()
        done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        asking = asyncio.create_task(load.offered(per_second, seconds if beside is None else np.inf, done))
        if beside is not None:
            began = time.perf_counter()
            await beside()
            await asyncio.sleep(max(0.0, began + seconds - time.perf_counter()))
            done.set_result(time.perf_counter())
        took = await asking
        self.samples.append((name, load.samples))
        self.phases.append(_phase(name, per_second, took, load.samples, cores.stolen()))

    async def _swap(self) -> _Times:
        """Publish, and wait until every worker has taken it over; returns when that began and ended."""
        began = time.perf_counter()
        _, self._version = await asyncio.to_thread(self._publish)
        await self._until(lambda: self._serving(self._version), f"version {self._version} was not taken over")
        return began, time.perf_counter()

    async def _until(self, reached: Callable[[], Awaitable[bool]], otherwise: str) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        while not await reached():
            if time.monotonic() > end:
                raise LookalikeError(f"bench stress: {otherwise} in {_PATIENCE_SECONDS} s")
            await asyncio.sleep(0.1)

    async def _serving(self, version: str) -> bool:
        """Whether all workers serve a version."""
        connections = Connections(self._server.address)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await connections.ask("GET", "/metrics", None)
        except OSError:  # TimeoutError is one; it was the killed worker's to answer, or there is too much to do
            return False
        finally:
            await connections.close()
        name = f'image_search_release_workers{{version="{version}"}}'
        lines = answer.body.decode().splitlines()
        return any(line.startswith(name) and float(line.split()[-1]) == self._workers for line in lines)

    async def _kill_a_worker(self) -> None:
        """Kill one, and wait until another serves in its place."""
        killed = self._server.workers()[0]
        os.kill(killed, signal.SIGKILL)

        async def replaced() -> bool:
            return killed not in self._server.workers() and await self._serving(self._version)

        await self._until(replaced, "no worker took the place of the killed one")


def _p99_within(samples: Sequence[Sample], times: Sequence[_Times]) -> float:
    """Milliseconds, of what was asked within any of these times and answered."""
    chosen = [each for each in samples if each.status == 200 and any(a <= each.at <= b for a, b in times)]
    return percentiles(chosen)[2]


def _phase(name: str, offered: float, seconds: float, samples: Sequence[Sample], stolen: float) -> Phase:
    answered = [each for each in samples if each.status == 200]
    refused = [each for each in samples if each.status == 503]
    p50, _, p99 = percentiles(answered)
    return Phase(
        name, round(seconds, 1), round(offered, 1), len(answered), len(refused),
        len(samples) - len(answered) - len(refused), sum(each.wrong for each in answered), p50, p99,
        round(max((each.milliseconds for each in answered), default=0.0), 1), percentiles(refused)[2],
        round(float(np.percentile([each.late_ms for each in samples], 99)), 1) if samples else 0.0, stolen,
    )  # fmt: skip
