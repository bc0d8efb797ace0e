"""`lookalike bench stress`: a server under load while things go wrong, one after the other.

    calm       a constant load, for comparison
    reloads    the same load, while releases are published and taken over one after the other, with pauses between
    killed     the same load, while a worker is killed
    events     the same load, while events cannot be written
    overload   a multiple of the server's capacity
    after      the calm load again

The load consists of searches by vectors whose nearest product is known, so wrong answers are detected. Memory, maps and
open files of the workers are counted before and after the reloads.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from artifacts.config import EncoderConfig, IndexConfig
from artifacts.encoders.registry import load_encoder
from artifacts.index.params import SearchParams
from jobs.bench.catalog import drawn_catalog
from jobs.bench.load.generator import LoadGenerator, Sample, percentiles, vector_searches
from jobs.bench.load.proc import Resources, StealTime
from jobs.bench.load.server import ServerProcess
from jobs.bench.release import publish_segment, releases_folder
from jobs.bench.rollout import Interval, Rollout, wait_for
from jobs.bench.search import nearest_products
from jobs.steps import Progress, no_progress

_QUERIES = 200
_PARAMS = SearchParams(nprobe=32, rescore=8)
#: Load of the calm phases, as a share of the capacity.
_CALM_SHARE = 0.4
#: Clients of the closed loop that measures the capacity.
_CLIENTS = 16
#: Reloads before resources are counted: the first ones fill caches and pools.
_WARM_UP_RELOADS = 3
#: How often workers look for a new release, and how long they keep the one before.
_RELOAD_SECONDS, _CURSOR_SECONDS = 0.5, 1
#: After a reload: time until the release before is closed, then at least as long a pause to compare the reload with.
_CLOSE_SECONDS = _CURSOR_SECONDS + 2 * _RELOAD_SECONDS
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Phase:
    """The outcome of one phase; times in milliseconds."""

    name: str
    seconds: float
    offered: float  # requests a second
    answered: int  # status 200
    refused: int  # status 503
    failed: int  # no response, or another status
    wrong: int  # answered with another product in the first position
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    refused_p99_ms: float
    late_p99_ms: float  # wait for one of the load generator's connections, before the server received the request
    stolen: float  # share of stolen CPU time; see `StealTime`


@dataclass(frozen=True)
class StressReport:
    """All that was measured."""

    name: str
    workers: int
    capacity: float  # searches a second
    deadline_seconds: float
    phases: list[Phase]
    swap_p99_ms: float  # of requests sent between a publication and the time when all workers had taken it over
    pause_p99_ms: float  # of requests sent in the pauses after that
    reloads: int
    before: list[Resources] = field(default_factory=list)
    after: list[Resources] = field(default_factory=list)
    samples: list[tuple[str, list[Sample]]] = field(default_factory=list, repr=False)  # by phase


def measure_stress(
    rows: int,
    encoder_config: EncoderConfig,
    index: IndexConfig,
    folder: Path,
    *,
    workers: int,
    seconds: float,
    reloads: int,
    overload: float,
    deadline_seconds: float,
    progress: Progress = no_progress,
) -> StressReport:
    """Run all phases.

    Args:
        rows: vectors to draw and search.
        encoder_config: of the server.
        index: how the drawn vectors are indexed.
        folder: keeps the drawn index for the next run.
        workers: processes of the server.
        seconds: of each phase; the reloads take as long as they need.
        reloads: releases taken over in the phase of that name.
        overload: load of the phase of that name, as a multiple of the server's capacity.
        deadline_seconds: of the server's searches, for the plot.
        progress: called with the number of rows indexed and of all rows.

    Raises:
        LookalikeError: the server did not become ready, or a release was not taken over.
    """
    encoder = load_encoder(encoder_config.encoder, encoder_config.device)
    catalog = drawn_catalog(rows, encoder.dim, _QUERIES, index, folder, progress=progress)
    events = folder / "events"
    shutil.rmtree(events, ignore_errors=True)
    events.unlink(missing_ok=True)
    segment, vectors = catalog.segment, catalog.queries[0].vectors
    try:
        expected = dict(enumerate(nearest_products(segment, vectors)))
        copies = itertools.count()

        def publish() -> str:
            return publish_segment(segment, _PARAMS, folder, encoder, copy=next(copies))

        publish()
        environment = {
            "LOOKALIKE_RELEASES": releases_folder(folder),
            "LOOKALIKE_WORKERS": str(workers),
            "LOOKALIKE_RELOAD_SECONDS": str(_RELOAD_SECONDS),
            "LOOKALIKE_CURSOR_SECONDS": str(_CURSOR_SECONDS),
            "LOOKALIKE_RESULT_CACHE_SECONDS": "0",
            "LOOKALIKE_EVENTS": str(events),
            "LOOKALIKE_EVENTS_SECONDS": "1",
        }
        with ServerProcess(environment) as server:
            run = _Run(server, vectors, expected, Rollout(server, workers, publish), events)
            asyncio.run(run.all_phases(seconds, reloads, overload))
        return StressReport(
            name=catalog.name,
            workers=workers,
            capacity=run.capacity,
            deadline_seconds=deadline_seconds,
            phases=run.phases,
            swap_p99_ms=run.swap_p99_ms,
            pause_p99_ms=run.pause_p99_ms,
            reloads=reloads,
            before=run.before,
            after=run.after,
            samples=run.samples,
        )
    finally:
        segment.close()


class _Run:
    """One run through all phases; its attributes hold what was measured so far."""

    def __init__(
        self,
        server: ServerProcess,
        vectors: np.ndarray,
        expected: Mapping[int, str],
        rollout: Rollout,
        events: Path,
    ) -> None:
        self._server, self._rollout, self._events = server, rollout, events
        self._request, self._expected = vector_searches(vectors), expected
        self.capacity = self.swap_p99_ms = self.pause_p99_ms = 0.0
        self.phases: list[Phase] = []
        self.samples: list[tuple[str, list[Sample]]] = []
        self.before: list[Resources] = []
        self.after: list[Resources] = []

    async def all_phases(self, seconds: float, reloads: int, overload: float) -> None:
        await self._measure_capacity(seconds)
        calm = _CALM_SHARE * self.capacity
        await self._run_phase("calm", calm, seconds)
        await self._run_reloads(calm, seconds, reloads)
        await self._run_phase("killed", calm, seconds, disturbance=self._kill_worker)
        await self._run_phase("events", calm, seconds, disturbance=lambda: self._block_events(seconds / 2))
        await self._run_phase("overload", overload * self.capacity, seconds)
        await self._run_phase("after", calm, seconds)

    def _new_load(self) -> LoadGenerator:
        return LoadGenerator(self._server.address, self._request, self._expected)

    async def _measure_capacity(self, seconds: float) -> None:
        load = self._new_load()
        took = await load.run_closed_loop(_CLIENTS, seconds)
        self.capacity = round(sum(sample.status == 200 for sample in load.samples) / took, 1)

    async def _run_phase(
        self,
        name: str,
        per_second: float,
        seconds: float,
        *,
        disturbance: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Run a constant load for some seconds, or for as long as the disturbance takes if that is longer."""
        load, steal_time = self._new_load(), StealTime()
        stop: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        duration = seconds if disturbance is None else np.inf
        loading = asyncio.create_task(load.run_open_loop(per_second, duration, stop))
        if disturbance is not None:
            began = time.perf_counter()
            await disturbance()
            await asyncio.sleep(max(0.0, began + seconds - time.perf_counter()))
            stop.set_result(time.perf_counter())
        took = await loading
        self.samples.append((name, load.samples))
        self.phases.append(_to_phase(name, per_second, took, load.samples, steal_time.share()))

    async def _run_reloads(self, per_second: float, seconds: float, reloads: int) -> None:
        """Run the phase `reloads`: latency during reloads and between them, resources before and after."""
        for _ in range(_WARM_UP_RELOADS):
            await self._rollout.run()
        self.before = self._server.resources()
        swaps: list[Interval] = []
        pauses: list[Interval] = []

        async def reload() -> None:
            for _ in range(reloads):
                began, ended = await self._rollout.run()
                swaps.append((began, ended))
                await asyncio.sleep(_CLOSE_SECONDS)
                pause_began = time.perf_counter()
                await asyncio.sleep(max(_PAUSE_SECONDS, ended - began))
                pauses.append((pause_began, time.perf_counter()))

        await self._run_phase("reloads", per_second, seconds, disturbance=reload)
        self.after = self._server.resources()
        _, samples = self.samples[-1]
        self.swap_p99_ms, self.pause_p99_ms = _p99_within(samples, swaps), _p99_within(samples, pauses)

    async def _kill_worker(self) -> None:
        """Kill a worker, and wait until a new one serves in its stead."""
        killed = self._server.workers()[0]
        os.kill(killed, signal.SIGKILL)

        async def replaced() -> bool:
            return killed not in self._server.workers() and await self._rollout.is_complete()

        await wait_for(replaced, "no worker replaced the killed one")

    async def _block_events(self, seconds: float) -> None:
        """Put a file in place of the folder of events for some seconds, so that they cannot be written."""
        while not self._events.is_file():
            shutil.rmtree(self._events, ignore_errors=True)
            with contextlib.suppress(IsADirectoryError):  # a worker has just created the folder again
                self._events.write_text("not a folder")
        await asyncio.sleep(seconds)
        self._events.unlink()


def _p99_within(samples: Sequence[Sample], intervals: Sequence[Interval]) -> float:
    """Return p99 in milliseconds of the answered requests that were sent within one of the intervals."""
    chosen = [
        sample
        for sample in samples
        if sample.status == 200 and any(began <= sample.sent_at <= ended for began, ended in intervals)
    ]
    return percentiles(chosen)[2]


def _to_phase(name: str, offered: float, seconds: float, samples: Sequence[Sample], stolen: float) -> Phase:
    answered = [sample for sample in samples if sample.status == 200]
    refused = [sample for sample in samples if sample.status == 503]
    waits = [sample.late_ms for sample in samples]
    p50, _, p99 = percentiles(answered)
    return Phase(
        name=name,
        seconds=round(seconds, 1),
        offered=round(offered, 1),
        answered=len(answered),
        refused=len(refused),
        failed=len(samples) - len(answered) - len(refused),
        wrong=sum(sample.wrong for sample in answered),
        p50_ms=p50,
        p99_ms=p99,
        slowest_ms=round(max((sample.milliseconds for sample in answered), default=0.0), 1),
        refused_p99_ms=percentiles(refused)[2],
        late_p99_ms=round(float(np.percentile(waits, 99)), 1) if waits else 0.0,
        stolen=stolen,
    )
