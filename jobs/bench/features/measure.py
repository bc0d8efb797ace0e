"""`lookalike bench features`: puts and gets of each embedding store, as the embed step and a server make them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from artifacts.config import EmbeddingStoreConfig
from artifacts.features.base import KEY_BYTES, EmbeddingStore
from jobs.bench.features.places import Place, open_place
from jobs.bench.features.servers import started_postgres, started_redis
from jobs.steps import Progress, no_progress

#: Vectors of one put, as of the embed step.
_PUT_ROWS = 5000
#: Gets of a single key, as of a server.
_SINGLE_GETS = 300
#: What the URLs of stores that take a key begin with.
_WITH_KEY = ("postgres", "redis", "unix")


@dataclass(frozen=True)
class StoreReport:
    """What was measured of one store; rates are rows a second of one client."""

    kind: str
    version: str
    put: float
    put_again: float  # of vectors that the store has
    get: float  # all found, in another order than they were put
    get_half: float  # half of them found
    rows_per_get: int  # keys in one call of these gets
    single_p50_ms: float  # of a get of one key
    single_p99_ms: float
    bytes_per_row: int  # of disk, of memory for Redis
    wrong: int  # vectors that were not returned as they were put; 0


@dataclass(frozen=True)
class FeaturesReport:
    """All that was measured."""

    rows: int
    dim: int
    turns: int  # of which the best counts
    stores: list[StoreReport]


def measure_features(
    rows: int,
    dim: int,
    urls: Sequence[str],
    key: str,
    folder: Path,
    turns: int = 1,
    progress: Progress = no_progress,
) -> FeaturesReport:
    """Measure a store in Parquet files, and PostgreSQL and Redis: those of `urls`, or servers started for it.

    Args:
        rows: vectors in each store.
        urls: of stores, see the setting `embedding_store`; without any, all kinds whose programs are installed.
        key: see the setting `embedding_store_key`; for `urls`.
        folder: for the Parquet files.
        turns: measurements of each store, in turns; the best of each number counts, since a machine may be busy.
        progress: called with the number of measurements done, and of all.

    Raises:
        InputError: there is no store for a URL.
        EmbeddingStoreError: a store does not answer.
    """
    random = np.random.default_rng(0)
    vectors = random.standard_normal((rows, dim), dtype=np.float32)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    known, unknown = (_draw_keys(random, rows) for _ in range(2))
    with ExitStack() as stack:
        configs = [EmbeddingStoreConfig(url, key if url.startswith(_WITH_KEY) else "") for url in urls]
        if not configs:
            parquet = EmbeddingStoreConfig(str(folder / "features"))
            started = [stack.enter_context(server()) for server in (started_postgres, started_redis)]
            configs = [parquet, *(config for config in started if config is not None)]
        places = [open_place(config) for config in configs]
        for store, _ in places:
            stack.callback(store.close)
        reports: list[list[StoreReport]] = [[] for _ in places]
        for turn in range(turns):
            for number, (store, place) in enumerate(places):
                progress(turn * len(places) + number, turns * len(places))
                reports[number].append(_measure(store, place, known, unknown, vectors))
        progress(turns * len(places), turns * len(places))
    return FeaturesReport(rows, dim, turns, [_best(of_store) for of_store in reports])


def _best(reports: list[StoreReport]) -> StoreReport:
    """Return the highest rates, the shortest times and the sum of what was wrong."""
    rates = {name: max(getattr(report, name) for report in reports) for name in ("put", "put_again", "get", "get_half")}
    times = {name: min(getattr(report, name) for report in reports) for name in ("single_p50_ms", "single_p99_ms")}
    return replace(reports[0], **rates, **times, wrong=sum(report.wrong for report in reports))


def _draw_keys(random: np.random.Generator, rows: int) -> list[bytes]:
    return [bytes(key) for key in random.integers(0, 256, (rows, KEY_BYTES), dtype=np.uint8)]


def _measure(
    store: EmbeddingStore, place: Place, known: list[bytes], unknown: list[bytes], vectors: np.ndarray
) -> StoreReport:
    encoder_id, (rows, dim) = f"bench-{uuid.uuid4().hex[:12]}", vectors.shape
    order = np.random.default_rng(1).permutation(rows)
    shuffled = [known[row] for row in order]
    mixed = [key for pair in zip(shuffled, unknown, strict=True) for key in pair][:rows]
    wrong = 0

    def put(start: int) -> None:
        store.put(encoder_id, known[start : start + _PUT_ROWS], vectors[start : start + _PUT_ROWS])

    def get(start: int) -> None:
        nonlocal wrong
        end = start + store.rows_per_call
        found, got = store.get(encoder_id, dim, shuffled[start:end])
        wrong += int((~found | (got != vectors[order[start:end]]).any(axis=1)).sum())

    def get_half(start: int) -> None:
        store.get(encoder_id, dim, mixed[start : start + store.rows_per_call])

    store.get(encoder_id, dim, unknown[:1])  # raises if it does not answer
    before = place.size(encoder_id)
    try:
        put_rate = _rate(rows, _PUT_ROWS, put)
        size = place.size(encoder_id) - before
        get_rate = _rate(rows, store.rows_per_call, get)
        half_rate = _rate(rows, store.rows_per_call, get_half)
        singles = [_milliseconds(lambda key=key: store.get(encoder_id, dim, [key])) for key in shuffled[:_SINGLE_GETS]]
        again_rate = _rate(rows, _PUT_ROWS, put)
    finally:
        place.remove(encoder_id)
    return StoreReport(
        place.kind, place.version(), put_rate, again_rate, get_rate, half_rate, store.rows_per_call,
        round(float(np.percentile(singles, 50)), 2), round(float(np.percentile(singles, 99)), 2),
        round(size / rows), wrong,
    )  # fmt: skip


def _rate(rows: int, block: int, action: Callable[[int], None]) -> float:
    """Return rows a second of an action that is called with the first row of each block."""
    seconds = sum(_milliseconds(lambda start=start: action(start)) for start in range(0, rows, block)) / 1000
    return round(rows / seconds)


def _milliseconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000
