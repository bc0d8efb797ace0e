"""`lookalike bench texts`: what texts in bfloat16 save, and what they change of what is found.

Times are processor time on one thread, of the current release's encoder and of one of ViT-B-32's size. What is found is
compared on the current release: its own titles as queries, by exact search, in both precisions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from artifacts.encoders.open_clip_model import OpenClipEncoder
from artifacts.encoders.registry import load_encoder
from artifacts.errors import LookalikeError
from artifacts.index.params import SearchParams
from artifacts.release.release import Release
from artifacts.settings import Settings
from artifacts.store.store import Store
from jobs.evaluate.calibration import DEPTH

_LARGE = "python:jobs.bench.encoder:ClipShaped"
_AT_ONCE = (1, 8, 32)


@dataclass(frozen=True)
class TextTime:
    """Processor time of one text among so many in one call, in ms."""

    encoder: str
    at_once: int
    float32_ms: float
    bfloat16_ms: float


@dataclass(frozen=True)
class TextsBench:
    """All that was measured."""

    texts: int
    times: list[TextTime]
    cosine: float  # of the text that turned the furthest
    recall_at_100: float  # share of the hundred nearest that are the same


def measure_texts(
    settings: Settings, texts: int, seconds: float, progress: Callable[[int, int], None] = lambda done, of: None
) -> TextsBench:
    """Measure both precisions.

    Args:
        texts: titles to compare by, at most.
        seconds: each time is measured for so long.

    Raises:
        LookalikeError: the release has no titles, or its encoder no text tower that bfloat16 is known to work for.
    """
    store = Store(settings.releases, settings.cache)
    manifest = store.manifest()
    release = Release(manifest, store.fetch(manifest))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        titles = _titles(release, texts, settings.seed)
        times: list[TextTime] = []
        specs = (str(manifest.encoder["spec"]), _LARGE)
        for spec in specs:
            both = _both(spec)
            for at_once in _AT_ONCE:
                some = (titles * at_once)[:at_once]
                times.append(TextTime(spec, at_once, *(_milliseconds(each, some, seconds) for each in both)))
                progress(len(times), len(specs) * len(_AT_ONCE))
        plain, quick = (np.concatenate([each.encode_texts([title]) for title in titles]) for each in _both(specs[0]))
        found, again = (
            [set(release.product_ids(hits)) for hits in release.search(each, DEPTH, SearchParams(), exact=True)[0]]
            for each in (plain, quick)
        )
        same = sum(len(one & other) for one, other in zip(found, again, strict=True)) / sum(map(len, found))
    finally:
        torch.set_num_threads(threads)
        release.close()
    return TextsBench(len(titles), times, round(float((plain * quick).sum(axis=1).min()), 6), round(same, 4))


def _titles(release: Release, wanted: int, seed: int) -> list[str]:
    titles = sorted(set(release.column("title").to_pylist()) - {None, ""})
    if not titles:
        raise LookalikeError(f"version {release.manifest.version} has no titles to ask with")
    chosen = np.random.default_rng(seed).permutation(len(titles))[:wanted]
    return [titles[place] for place in chosen]


def _both(spec: str) -> tuple[OpenClipEncoder, OpenClipEncoder]:
    """An encoder in float32, and one with its texts in bfloat16."""
    made: list[OpenClipEncoder] = []
    for _ in range(2):
        load_encoder.cache_clear()  # two of a kind: one of them is changed
        encoder = load_encoder(spec, "cpu")
        if not isinstance(encoder, OpenClipEncoder):
            raise LookalikeError(f"encoder {spec} is not one of open_clip's, so there is nothing to compare")
        made.append(encoder)
    load_encoder.cache_clear()
    made[1].texts_in_bfloat16()
    return made[0], made[1]


def _milliseconds(encoder: OpenClipEncoder, texts: Sequence[str], seconds: float) -> float:
    """Processor time for each text of a call."""
    encoder.encode_texts(texts)
    began, calls = time.process_time(), 0
    while time.process_time() < began + seconds:
        encoder.encode_texts(texts)
        calls += 1
    return round((time.process_time() - began) / calls / len(texts) * 1000, 2)
