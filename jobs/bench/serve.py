"""`lookalike bench serve`: how many searches a server answers a second, beside its index alone on the same cores.

One run measures these workloads over the same drawn vectors with the same calibrated parameters:

    faiss     the index alone: candidates of one query at a time, from as many threads as the server has workers
    search    the same with exact scores from the stored vectors, for which recall is guaranteed
    vector    `POST /v1/search` by vector, by similarity alone, in a closed loop
    ranked    the same with the default ranking: 200 candidates ranked by the shop's signals and categories
    text      `GET /v1/search/text` with a different text each time, in a closed loop: includes the encoder
    offered   text queries at fixed rates, however late the responses are: latency against load

The first four take turns of a few seconds each. They are compared within a turn, because a core's speed varies over
time.

Caches are off. This process generates the load and takes its share of the same cores.
"""

from __future__ import annotations

import asyncio
import functools
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from artifacts.config import EncoderConfig, GateConfig, IndexConfig
from artifacts.encoders.registry import load_encoder
from artifacts.errors import LookalikeError
from artifacts.index.params import SearchParams
from artifacts.segments.search.searcher import Searcher
from jobs.bench.catalog import drawn_catalog
from jobs.bench.load.generator import LoadGenerator, Sample, percentiles, text_searches, vector_searches
from jobs.bench.load.proc import Memory, StealTime
from jobs.bench.load.server import ServerProcess
from jobs.bench.release import publish_segment, releases_folder
from jobs.bench.search import calibrate_searcher, exact_scores, ivf_of, row_scores
from jobs.evaluate.calibration import DEPTH, recall
from jobs.steps import Progress, no_progress

_QUERIES = 1000
_CALIBRATION_QUERIES = 200
#: Offered rates, as shares of the measured rate of texts.
_OFFERED = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 2.0)
#: Turns of the workloads that are compared with each other.
_TURNS = 5


@dataclass(frozen=True)
class Rate:
    """Throughput and latency of one workload."""

    workload: str
    clients: int
    per_second: float  # requests answered
    p50_ms: float
    p95_ms: float
    p99_ms: float
    failed: int  # no response, or a status other than 200 and 503
    refused: int  # status 503
    offered: float  # requests a second; 0 in a closed loop
    turns: tuple[float, ...]  # requests answered a second in each turn
    core_ms: float  # CPU time for each request: of this process where it searches itself, else of the workers
    stolen: float  # share of stolen CPU time; see `StealTime`


@dataclass(frozen=True)
class ServeReport:
    """All that was measured."""

    name: str
    params: SearchParams
    recall_at_100: float
    workers: int
    rates: list[Rate]
    memory: list[Memory]

    def rate_of(self, workload: str) -> Rate:
        """Return the first rate of a workload."""
        return next(rate for rate in self.rates if rate.workload == workload)

    def ratio(self, workload: str) -> float:
        """Return the throughput of `vector` relative to another workload's: the median over the turns."""
        pairs = zip(self.rate_of("vector").turns, self.rate_of(workload).turns, strict=True)
        return statistics.median(vector / other for vector, other in pairs)


#: Samples, the seconds they took, and the number of requests, warm-ups included.
_Answers = tuple[list[Sample], float, int]


@dataclass(frozen=True)
class _Turn:
    """One measurement of a workload."""

    samples: list[Sample]
    seconds: float
    requests: int  # warm-ups included
    cpu_seconds: float  # of the process or the workers that answered
    stolen: float


def measure_serving(
    rows: int,
    encoder_config: EncoderConfig,
    index: IndexConfig,
    gate: GateConfig,
    folder: Path,
    *,
    workers: int,
    clients: int,
    seconds: float,
    progress: Progress = no_progress,
) -> ServeReport:
    """Measure all workloads.

    Args:
        rows: vectors to draw and search.
        encoder_config: of the server, which encodes the texts.
        index: how the drawn vectors are indexed.
        gate: the recall target, which the searches are calibrated for.
        folder: keeps the drawn index for the next run.
        workers: processes of the server, and threads of the workloads without one.
        clients: of the closed loops.
        seconds: that each workload is measured for.
        progress: called with the number of rows indexed and of all rows.

    Raises:
        LookalikeError: the server did not become ready or answered no request of a workload, or the index is flat.
    """
    encoder = load_encoder(encoder_config.encoder, encoder_config.device)
    catalog = drawn_catalog(rows, encoder.dim, _QUERIES, index, folder, progress=progress)
    segment, vectors = catalog.segment, catalog.queries[0].vectors
    searcher = Searcher(segment)
    try:
        sample = vectors[:_CALIBRATION_QUERIES]
        truth = exact_scores(searcher, sample)
        params = calibrate_searcher(searcher, sample, truth, gate.recall_target)
        reached = recall(row_scores(searcher, sample, params), truth, DEPTH)
        publish_segment(segment, params, folder, encoder)
        environment = {
            "LOOKALIKE_RELEASES": releases_folder(folder),
            "LOOKALIKE_WORKERS": str(workers),
            "LOOKALIKE_RESULT_CACHE_SECONDS": "0",
            "LOOKALIKE_EMBEDDING_CACHE_SECONDS": "0",
            "LOOKALIKE_ENCODER_THREADS": "1",
        }
        with ServerProcess(environment) as server:
            rates = _measure_vectors(server, searcher, vectors, params, workers, clients, seconds)
            rates += _measure_texts(server, clients, seconds)
            memory = server.memory()
    finally:
        segment.close()
    return ServeReport(catalog.name, params, round(reached, 4), workers, rates, memory)


def _measure_vectors(
    server: ServerProcess,
    searcher: Searcher,
    vectors: np.ndarray,
    params: SearchParams,
    workers: int,
    clients: int,
    seconds: float,
) -> list[Rate]:
    """Measure the index alone and searches by vector through HTTP, in turns."""
    ivf = ivf_of(searcher)
    calls: dict[str, Callable[[np.ndarray], object]] = {
        "faiss": lambda query: ivf.candidates(query, DEPTH * params.rescore, params.nprobe),
        "search": lambda query: searcher.search(query, DEPTH, params),
    }
    loads = {
        "vector": LoadGenerator(server.address, vector_searches(vectors)),
        "ranked": LoadGenerator(server.address, vector_searches(vectors, ranked=True)),
    }
    turn_seconds = seconds / _TURNS
    turns: dict[str, list[_Turn]] = defaultdict(list)
    for _ in range(_TURNS):
        for workload, call in calls.items():
            answer = functools.partial(_call_in_threads, call, vectors, workers, turn_seconds)
            turns[workload].append(_measure_turn(answer, time.process_time))
        for workload, load in loads.items():
            answer = functools.partial(_run_load, load, lambda load: load.run_closed_loop(clients, turn_seconds))
            turns[workload].append(_measure_turn(answer, server.cpu_seconds))
    return [
        _to_rate(workload, measured, clients=clients if workload in loads else workers)
        for workload, measured in turns.items()
    ]


def _measure_texts(server: ServerProcess, clients: int, seconds: float) -> list[Rate]:
    """Measure texts in a closed loop, then at shares of the rate measured there."""
    load = LoadGenerator(server.address, text_searches())
    closed = functools.partial(_run_load, load, lambda load: load.run_closed_loop(clients, seconds))
    rates = [_to_rate("text", [_measure_turn(closed, server.cpu_seconds)], clients=clients)]
    for offered in [share * rates[0].per_second for share in _OFFERED]:
        opened = functools.partial(_run_load, load, lambda load, rate=offered: load.run_open_loop(rate, seconds))
        rates.append(_to_rate("offered", [_measure_turn(opened, server.cpu_seconds)], offered=offered))
    return rates


def _measure_turn(answer: Callable[[], _Answers], cpu_seconds: Callable[[], float]) -> _Turn:
    steal_time, before = StealTime(), cpu_seconds()
    samples, seconds, requests = answer()
    return _Turn(samples, seconds, requests, cpu_seconds() - before, steal_time.share())


def _run_load(load: LoadGenerator, run: Callable[[LoadGenerator], Coroutine[Any, Any, float]]) -> _Answers:
    """Run a load generator and return the outcome of this run alone."""
    load.samples, load.sent = [], 0
    seconds = asyncio.run(run(load))
    return load.samples, seconds, load.sent


def _call_in_threads(
    call: Callable[[np.ndarray], object], vectors: np.ndarray, threads: int, seconds: float
) -> _Answers:
    """Call the index without a server, with one query at a time in each thread."""
    times: list[list[float]] = [[] for _ in range(threads)]
    end = time.perf_counter() + seconds

    def work(thread: int) -> None:
        faiss.omp_set_num_threads(1)  # of this thread
        number = thread
        while time.perf_counter() < end:
            began = time.perf_counter()
            call(vectors[number % len(vectors)][None, :])
            times[thread].append((time.perf_counter() - began) * 1000)
            number += threads

    running = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    samples = [Sample(0.0, milliseconds, 200) for thread_times in times for milliseconds in thread_times]
    return samples, seconds, len(samples)


def _to_rate(workload: str, turns: Sequence[_Turn], *, clients: int = 0, offered: float = 0.0) -> Rate:
    """Combine all turns of a workload.

    Raises:
        LookalikeError: no request was answered.
    """
    samples = [sample for turn in turns for sample in turn.samples]
    seconds = sum(turn.seconds for turn in turns)
    answered = [sample for sample in samples if sample.status == 200]
    refused = sum(sample.status == 503 for sample in samples)
    if not answered:
        raise LookalikeError(f"bench serve: no {workload} request was answered in {seconds:.0f} s")
    p50, p95, p99 = percentiles(answered)
    return Rate(
        workload=workload,
        clients=clients,
        per_second=round(len(answered) / seconds, 1),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        failed=len(samples) - len(answered) - refused,
        refused=refused,
        offered=round(offered, 1),
        turns=tuple(sum(sample.status == 200 for sample in turn.samples) / turn.seconds for turn in turns),
        core_ms=round(1000 * sum(turn.cpu_seconds for turn in turns) / sum(turn.requests for turn in turns), 2),
        stolen=round(sum(turn.stolen * turn.seconds for turn in turns) / seconds, 3),
    )
