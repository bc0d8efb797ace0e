"""`lookalike bench serve`: what a server answers in a second, beside what its index alone could, on the same cores.

One run measures, over the same drawn vectors with the same calibrated parameters:

    faiss     the index alone: candidates of one query at a time, from as many threads as the server has workers
    search    the same with exact scores from the stored vectors: what recall is promised for
    vector    `POST /v1/search` with the vector given, closed loop
    text      `GET /v1/search/text` with another text each time, closed loop: the encoder's share
    offered   text queries at fixed rates, whoever is late notwithstanding: latency against load

Caches are off. The load comes from this process, and takes its share of the same cores.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import faiss
import numpy as np

from artifacts.encoder import Encoder, load_encoder
from artifacts.errors import LookalikeError
from artifacts.index import SearchParams
from artifacts.manifest import Counts, Manifest, version_name
from artifacts.segment import Segment
from artifacts.segment_info import INFO_FILE
from artifacts.settings import Settings
from artifacts.store import Store
from jobs.bench.catalog import drawn_catalog
from jobs.bench.load import Load, Sample, by_text, by_vector, percentiles
from jobs.bench.server import Memory, ServerProcess
from jobs.calibration import DEPTH, calibrate, recall
from jobs.workspace import fingerprint

_ENCODER = "python:jobs.bench.encoder:ClipShaped"
#: Shares of the measured text rate that are offered.
_OFFERED = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 2.0)


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

    @property
    def ratio(self) -> float:
        """Searches by vector through HTTP, of those that the index and the exact scores alone give."""
        return self.of("vector").per_second / self.of("search").per_second


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
        rates = [_alone(segment, vectors, params, way, workers, seconds) for way in ("faiss", "search")]
        releases, _ = released(segment, params, folder, encoder, settings)
    finally:
        segment.close()
    environment = {
        "LOOKALIKE_RELEASES": releases, "LOOKALIKE_WORKERS": str(workers), "LOOKALIKE_RESULT_CACHE_SECONDS": "0",
        "LOOKALIKE_EMBEDDING_CACHE_SECONDS": "0", "LOOKALIKE_ENCODER_THREADS": "1",
    }  # fmt: skip
    with ServerProcess(environment) as server:
        for way, request in (("vector", by_vector(vectors)), ("text", by_text())):
            load = Load(server.address, request)
            rates.append(_of(load, way, clients, asyncio.run(load.closed(clients, seconds))))
        for share in _OFFERED:
            load, rate = Load(server.address, by_text()), share * rates[3].per_second
            rates.append(_of(load, "offered", 0, asyncio.run(load.offered(rate, seconds)), rate))
        memory = server.memory()
    return ServeBench(catalog.name, params, round(reached, 4), workers, rates, memory)


def _alone(segment: Segment, vectors: np.ndarray, params: SearchParams, way: str, threads: int, seconds: float) -> Rate:
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
    return Rate(way, threads, round(len(samples) / seconds, 1), *percentiles(samples))


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
    manifest = draft.model_copy(update={"version": version_name(draft.created_at, draft.content_id)})
    store.publish(manifest, {}, expected=store.current())
    return str(releases), manifest.version


def _copy_as(segment: Segment, folder: Path, segment_id: str, encoder_id: str) -> None:
    """The same files under another name and encoder; they never change, so they need not be copied."""
    for name in segment.info.files:
        os.link(segment.folder / name, folder / name)
    info = segment.info.model_copy(update={"id": segment_id, "encoder_id": encoder_id})
    (folder / INFO_FILE).write_text(info.model_dump_json(indent=1) + "\n")


def _of(load: Load, way: str, clients: int, seconds: float, offered: float = 0.0) -> Rate:
    """What became of a load.

    Raises:
        LookalikeError: nothing was answered.
    """
    answered = [each for each in load.samples if each.status == 200]
    refused = sum(each.status == 503 for each in load.samples)
    if not answered:
        raise LookalikeError(f"bench serve: no {way} request was answered in {seconds:.0f} s")
    failed = len(load.samples) - len(answered) - refused
    return Rate(
        way, clients, round(len(answered) / seconds, 1), *percentiles(answered), failed, refused, round(offered, 1)
    )
