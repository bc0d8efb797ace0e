"""`lookalike bench serve`: what a server answers in a second, beside what its index alone could, on the same cores.

One run measures, over the same drawn vectors with the same calibrated parameters:

    faiss     the index alone: candidates of one query at a time, from as many threads as the server has workers
    search    the same with exact scores from the stored vectors: what recall is promised for
    vector    `POST /v1/search` with the vector given, by similarity alone, closed loop
    ranked    the same as it is unless told otherwise: 200 candidates ranked by the shop's signals and categories
    text      `GET /v1/search/text` with another text each time, closed loop: the encoder's share
    offered   text queries at fixed rates, whoever is late notwithstanding: latency against load

The first four take turns, a few seconds each: they are compared within a turn, since no core is equally quick all the
time.

Caches are off. The load comes from this process, and takes its share of the same cores.
"""

from __future__ import annotations

import asyncio
import functools
import os
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from artifacts.encoders.base import Encoder
from artifacts.encoders.registry import load_encoder
from artifacts.errors import LookalikeError
from artifacts.index.params import SearchParams
from artifacts.segments.info import INFO_FILE
from artifacts.segments.segment import Segment
from artifacts.settings import Settings
from artifacts.store.manifest import Counts, Manifest
from artifacts.store.store import Store
from jobs.bench.catalog import drawn_catalog
from jobs.bench.load.load import Load, Sample, by_text, by_vector, percentiles
from jobs.bench.load.server import Cores, Memory, ServerProcess
from jobs.evaluate.calibration import DEPTH, calibrate, recall
from jobs.workspace.fingerprints import fingerprint

_ENCODER = "python:jobs.bench.encoder:ClipShaped"
#: Shares of the measured text rate that are offered.
_OFFERED = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 2.0)
#: Turns of the ways that are compared with each other.
_TURNS = 5


@dataclass(frozen=True)
class Rate:
    """What one way of asking gave."""

    way: str
    clients: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    failed: int = 0  # answers that were none
    refused: int = 0  # 503
    offered: float = 0.0  # requests a second; 0: each client asks when it has its answer
    turns: tuple[float, ...] = ()  # answered a second in each turn
    core_ms: float = 0.0  # of a core, for each request: of this process where it asks itself, else of the workers
    stolen: float = 0.0  # share of the processors' time that the machine's host gave to others; see `Cores`


@dataclass(frozen=True)
class ServeBench:
    """All that was measured."""

    name: str
    params: SearchParams
    recall_at_100: float
    workers: int
    rates: list[Rate]
    memory: list[Memory]

    def of(self, way: str) -> Rate:
        return next(each for each in self.rates if each.way == way)

    def ratio(self, way: str) -> float:
        """Searches by vector through HTTP, of those that another way gave in the same turn: the median."""
        pairs = zip(self.of("vector").turns, self.of(way).turns, strict=True)
        return statistics.median(vector / other for vector, other in pairs)


def measure_serving(
    rows: int,
    settings: Settings,
    folder: Path,
    *,
    workers: int,
    clients: int,
    seconds: float,
    spec: str = _ENCODER,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> ServeBench:
    """Measure all of it, each way for so many seconds.

    Raises:
        LookalikeError: the server did not come up, or answered wrongly.
    """
    encoder = load_encoder(spec, settings.device)
    catalog = drawn_catalog(rows, encoder.dim, 1000, settings, folder, progress=progress)
    segment, vectors = catalog.segment, catalog.queries[0].vectors
    try:
        few = vectors[:200]
        truth = [found.scores for found in segment.search(few, DEPTH, SearchParams(), path="exact")[0]]
        lists = segment.ivf.lists if segment.ivf else 0
        params, _ = calibrate(
            lambda tried: [found.scores for found in segment.search(few, DEPTH, tried)[0]],
            truth, lists, settings.recall_target,
        )  # fmt: skip
        reached = recall([found.scores for found in segment.search(few, DEPTH, params)[0]], truth, DEPTH)
        releases, _ = released(segment, params, folder, encoder, settings)
        environment = {
            "LOOKALIKE_RELEASES": releases, "LOOKALIKE_WORKERS": str(workers), "LOOKALIKE_RESULT_CACHE_SECONDS": "0",
            "LOOKALIKE_EMBEDDING_CACHE_SECONDS": "0", "LOOKALIKE_ENCODER_THREADS": "1",
        }  # fmt: skip
        with ServerProcess(environment) as server:
            rates = _compared(server, segment, vectors, params, workers, clients, seconds)
            rates += _texts(server, clients, seconds)
            memory = server.memory()
    finally:
        segment.close()
    return ServeBench(catalog.name, params, round(reached, 4), workers, rates, memory)


def _compared(
    server: ServerProcess, segment: Segment, vectors: np.ndarray, params: SearchParams, workers: int, clients: int,
    seconds: float,
) -> list[Rate]:  # fmt: skip
    """The index alone, and searches by vector through HTTP, in turns."""
    loads = {
        "vector": Load(server.address, by_vector(vectors)),
        "ranked": Load(server.address, by_vector(vectors, ranked=True)),
    }
    short = seconds / _TURNS
    turns: dict[str, list[_Turn]] = defaultdict(list)
    for _ in range(_TURNS):
        for way in ("faiss", "search"):
            alone = functools.partial(_alone, segment, vectors, params, way, workers, short)
            turns[way].append(_turn(alone, time.process_time))
        for way, load in loads.items():
            turns[way].append(_turn(lambda load=load: _asked(load, load.closed(clients, short)), server.busy))
    return [_rate(way, clients if way in loads else workers, each) for way, each in turns.items()]


def _texts(server: ServerProcess, clients: int, seconds: float) -> list[Rate]:
    """Texts in a closed loop, and at shares of the rate that this gave."""
    load = Load(server.address, by_text())
    rates = [_rate("text", clients, [_turn(lambda: _asked(load, load.closed(clients, seconds)), server.busy)])]
    for rate in [share * rates[0].per_second for share in _OFFERED]:
        offered = _turn(lambda rate=rate: _asked(load, load.offered(rate, seconds)), server.busy)
        rates.append(_rate("offered", 0, [offered], rate))
    return rates


#: What became of some requests, the seconds they took, and how many there were, with those that only warmed up.
_Answers = tuple[list[Sample], float, int]


@dataclass(frozen=True)
class _Turn:
    samples: list[Sample]
    seconds: float
    asked: int
    busy: float  # seconds of cores that it took whoever answered
    stolen: float


def _turn(ask: Callable[[], _Answers], busy: Callable[[], float]) -> _Turn:
    cores, before = Cores(), busy()
    return _Turn(*ask(), busy() - before, cores.stolen())


def _asked(load: Load, asking: Coroutine[Any, Any, float]) -> _Answers:
    """What a load's asking gave by itself, apart from what it was asked for before."""
    load.samples, load.asked = [], 0
    seconds = asyncio.run(asking)
    return load.samples, seconds, load.asked


def _alone(
    segment: Segment, vectors: np.ndarray, params: SearchParams, way: str, threads: int, seconds: float
) -> _Answers:
    """The index without a server, one query at a time in each thread."""
    ivf = segment.ivf
    if ivf is None:
        raise LookalikeError("the index is flat; measure more rows than flat_max_rows")

    def ask(vector: np.ndarray) -> None:
        if way == "faiss":
            ivf.candidates(vector[None, :], DEPTH * params.rescore, params.nprobe)
        else:
            segment.search(vector[None, :], DEPTH, params)

    times: list[list[float]] = [[] for _ in range(threads)]
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        faiss.omp_set_num_threads(1)
        turn = number
        while time.perf_counter() < end:
            began = time.perf_counter()
            ask(vectors[turn % len(vectors)])
            times[number].append((time.perf_counter() - began) * 1000)
            turn += threads

    _side_by_side([lambda number=number: work(number) for number in range(threads)])
    samples = [Sample(0.0, each, 200) for some in times for each in some]
    return samples, seconds, len(samples)


def _side_by_side(calls: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def released(
    segment: Segment, params: SearchParams, folder: Path, encoder: Encoder, settings: Settings, *, turn: int = 0
) -> tuple[str, str]:
    """Publish the segment under an encoder, so that a server can be started on it.

    Args:
        turn: another number makes another version, of a segment of another name: servers take it for a new one.

    Returns:
        The releases and the version.
    """
    releases = folder / "releases"
    store = Store(str(releases), settings.cache)
    segment_id = f"bench-{fingerprint(segment.info.inputs, encoder.id)}-{turn}"
    if not (releases / "segments" / segment_id / INFO_FILE).exists():
        with store.new_segment(segment_id) as made:
            _copy_as(segment, made, segment_id, encoder.id)
    reference = store.reference(segment_id)
    counts = Counts(input_rows=reference.rows, indexed=reference.products, pictures=reference.rows)
    draft = Manifest(
        version="", created_at=datetime.now(UTC), encoder=encoder.describe(), segments=[reference],
        search={"image": params, "text": params}, counts=counts,
    )  # fmt: skip
    return str(releases), store.publish(draft.named(), {}, expected=store.current())


def _copy_as(segment: Segment, folder: Path, segment_id: str, encoder_id: str) -> None:
    """The same files under another name and encoder; they never change, so they need not be copied."""
    for name in segment.info.files:
        os.link(segment.folder / name, folder / name)
    info = segment.info.model_copy(update={"id": segment_id, "encoder_id": encoder_id})
    (folder / INFO_FILE).write_text(info.model_dump_json(indent=1) + "\n")


def _rate(way: str, clients: int, turns: Sequence[_Turn], offered: float = 0.0) -> Rate:
    """All turns of a way together.

    Raises:
        LookalikeError: nothing was answered.
    """
    samples = [sample for turn in turns for sample in turn.samples]
    seconds = sum(turn.seconds for turn in turns)
    answered = [each for each in samples if each.status == 200]
    refused = sum(each.status == 503 for each in samples)
    if not answered:
        raise LookalikeError(f"bench serve: no {way} request was answered in {seconds:.0f} s")
    each_turn = tuple(sum(each.status == 200 for each in turn.samples) / turn.seconds for turn in turns)
    core_ms = 1000 * sum(turn.busy for turn in turns) / sum(turn.asked for turn in turns)
    stolen = sum(turn.stolen * turn.seconds for turn in turns) / seconds
    return Rate(
        way, clients, round(len(answered) / seconds, 1), *percentiles(answered),
        len(samples) - len(answered) - refused, refused, round(offered, 1), each_turn,
        round(core_ms, 2), round(stolen, 3),
    )  # fmt: skip
