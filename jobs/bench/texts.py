"""`lookalike bench texts`: how much time texts in bfloat16 save, and how much they change the results.

Times are CPU times on one thread, of the current release's encoder and of one of ViT-B-32's size. Results are compared
on the current release: exact search for its own titles, in both precisions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from artifacts.config import PipelineConfig
from artifacts.encoders.open_clip_model import OpenClipEncoder
from artifacts.encoders.registry import load_encoder
from artifacts.errors import LookalikeError
from artifacts.index.params import SearchParams
from artifacts.release.release import Release
from artifacts.store.store import Store
from jobs.bench.encoder import CLIP_SHAPED
from jobs.evaluate.calibration import DEPTH
from jobs.steps import Progress, no_progress

_BATCH_SIZES = (1, 8, 32)


@dataclass(frozen=True)
class TextTime:
    """CPU time of one text in a call of `at_once` texts, in ms."""

    encoder: str
    at_once: int
    float32_ms: float
    bfloat16_ms: float


@dataclass(frozen=True)
class TextsReport:
    """All that was measured."""

    texts: int
    times: list[TextTime]
    cosine: float  # of the two vectors of a text, the lowest
    recall_at_100: float  # share of the products in the first 100 that are the same in both precisions


def measure_texts(
    config: PipelineConfig,
    texts: int,
    seconds: float,
    *,
    large_encoder: str = CLIP_SHAPED,
    progress: Progress = no_progress,
) -> TextsReport:
    """Measure both precisions.

    Args:
        config: names the releases.
        texts: maximum number of titles to compare results by.
        seconds: that each time is measured for.
        large_encoder: spec of the encoder that is timed beside the release's.
        progress: called with the number of times measured and of all times.

    Raises:
        LookalikeError: the release has no titles, or its encoder's text tower is not known to work in bfloat16.
    """
    store = Store(config.releases, config.cache)
    manifest = store.manifest()
    release = Release(manifest, store.fetch(manifest))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        titles = _draw_titles(release, texts, config.index.seed)
        own_encoder = str(manifest.encoder["spec"])
        times: list[TextTime] = []
        for spec in (own_encoder, large_encoder):
            encoders = _load_both_precisions(spec)
            for size in _BATCH_SIZES:
                batch = (titles * size)[:size]
                times.append(
                    TextTime(spec, size, *(_cpu_milliseconds(encoder, batch, seconds) for encoder in encoders))
                )
                progress(len(times), 2 * len(_BATCH_SIZES))
        cosine, same = _compare_results(release, own_encoder, titles)
    finally:
        torch.set_num_threads(threads)
        release.close()
    return TextsReport(len(titles), times, round(cosine, 6), round(same, 4))


def _draw_titles(release: Release, limit: int, seed: int) -> list[str]:
    titles = sorted(set(release.base.column("title").to_pylist()) - {None, ""})
    if not titles:
        raise LookalikeError(f"version {release.manifest.version} has no titles to search for")
    return [titles[number] for number in np.random.default_rng(seed).permutation(len(titles))[:limit]]


def _load_both_precisions(spec: str) -> tuple[OpenClipEncoder, OpenClipEncoder]:
    """Return an encoder in float32, and another one with its texts in bfloat16."""
    encoders: list[OpenClipEncoder] = []
    for _ in range(2):
        load_encoder.cache_clear()  # a second object of the same spec, since one of them is changed
        encoder = load_encoder(spec, "cpu")
        if not isinstance(encoder, OpenClipEncoder):
            raise LookalikeError(f"encoder {spec} is not one of open_clip's, so there is nothing to compare")
        encoders.append(encoder)
    load_encoder.cache_clear()
    encoders[1].texts_in_bfloat16()
    return encoders[0], encoders[1]


def _cpu_milliseconds(encoder: OpenClipEncoder, texts: Sequence[str], seconds: float) -> float:
    """Return the CPU time of each text of a call."""
    encoder.encode_texts(texts)
    began, calls = time.process_time(), 0
    while time.process_time() < began + seconds:
        encoder.encode_texts(texts)
        calls += 1
    return round((time.process_time() - began) / calls / len(texts) * 1000, 2)


def _compare_results(release: Release, spec: str, titles: Sequence[str]) -> tuple[float, float]:
    """Return the lowest cosine of a title's two vectors, and the share of products found with both."""
    vectors: list[np.ndarray] = []
    products: list[list[set[str]]] = []
    for encoder in _load_both_precisions(spec):
        vectors.append(np.concatenate([encoder.encode_texts([title]) for title in titles]))
        hits, _ = release.search(vectors[-1], DEPTH, SearchParams(), exact=True)
        products.append([set(release.product_ids(query_hits)) for query_hits in hits])
    plain, quick = products
    same = sum(len(one & other) for one, other in zip(plain, quick, strict=True)) / sum(map(len, plain))
    return float((vectors[0] * vectors[1]).sum(axis=1).min()), same
