"""What a search of the built index costs at the recall that the gate asks for: the other half of a sizing."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from artifacts.index.devices.threads import one_thread
from artifacts.segments.search.searcher import Searcher
from artifacts.segments.segment import Segment
from jobs.bench.search import calibrate_searcher, row_scores
from jobs.bench.vectors import ClipLike
from jobs.evaluate.calibration import DEPTH, recall
from jobs.sizing.measured import SearchCost

#: Queries of each modality.
_QUERIES = 200
#: Added to the seed for queries, so that no row of any shard is one.
_HELD_OUT = 1_000_003


def measure_searches(folder: Path, seed: int, target: float) -> list[SearchCost]:
    """Search a segment of drawn vectors for pictures and for texts that are not in it.

    Args:
        folder: of the segment.
        seed: of the drawn vectors.
        target: recall@100.
    """
    segment = Segment(folder, verify=False)
    space = ClipLike(segment.info.dim, seed)
    held_out = seed + _HELD_OUT
    queries = {"image": next(space.pictures(_QUERIES, held_out)), "text": space.texts(_QUERIES, held_out + 1)}
    try:
        with one_thread():
            return [_measure(segment, name, drawn.vectors, target) for name, drawn in queries.items()]
    finally:
        segment.close()


def _measure(segment: Segment, modality: str, vectors: np.ndarray, target: float) -> SearchCost:
    searcher = Searcher(segment)
    truth = list(segment.vectors.knn(vectors, DEPTH)[0])
    params = calibrate_searcher(searcher, vectors, truth, target)
    found = []
    began = time.process_time()
    for vector in vectors:
        found += row_scores(searcher, vector[None, :], params)
    core_ms = (time.process_time() - began) * 1000 / len(vectors)
    return SearchCost(modality, params.nprobe, params.rescore, recall(found, truth, DEPTH), core_ms)
