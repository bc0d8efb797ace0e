"""Searches of one segment as benchmarks need them: their scores, exact scores as ground truth, and calibration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import numpy as np

from artifacts.errors import LookalikeError
from artifacts.index.faiss_index import IvfIndex
from artifacts.index.params import SearchParams
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.segment import SearchPath, Segment
from jobs.evaluate.calibration import DEPTH, calibrate


def segment_scores(
    segment: Segment,
    vectors: np.ndarray,
    params: SearchParams,
    row_filter: RowFilter | None = None,
    *,
    path: SearchPath | None = None,
) -> list[np.ndarray]:
    """Return the scores of the best `DEPTH` rows for each query, float32[j] descending; see `Segment.search`."""
    neighbors, _ = segment.search(vectors, DEPTH, params, row_filter, path=path)
    return [nearest.scores for nearest in neighbors]


def exact_scores(segment: Segment, vectors: np.ndarray, row_filter: RowFilter | None = None) -> list[np.ndarray]:
    """Return the true scores of the best `DEPTH` rows for each query: the ground truth of recall."""
    return segment_scores(segment, vectors, SearchParams(), row_filter, path="exact")


def nearest_products(segment: Segment, vectors: np.ndarray) -> list[str]:
    """Return the id of the product that is nearest to each query, by exact search."""
    neighbors, _ = segment.search(vectors, 1, SearchParams(), path="exact")
    return segment.product_ids(np.array([nearest.rows[0] for nearest in neighbors]))


def calibrate_segment(segment: Segment, vectors: np.ndarray, truth: list[np.ndarray], target: float) -> SearchParams:
    """Choose the search parameters for unfiltered searches as the gate does.

    Args:
        vectors: float32[n, dim], the queries.
        truth: their exact scores.
        target: recall@100 to reach.
    """
    lists = segment.ivf.lists if segment.ivf else 0
    params, _ = calibrate(lambda trial: segment_scores(segment, vectors, trial), truth, lists, target)
    return params


def ivf_of(segment: Segment) -> IvfIndex:
    """Return the segment's IVF index.

    Raises:
        LookalikeError: the segment's index is flat.
    """
    if segment.ivf is None:
        raise LookalikeError("the index is flat and always exact, so there is nothing to measure; use more rows")
    return segment.ivf


@contextmanager
def one_faiss_thread() -> Iterator[None]:
    """Let FAISS use one thread in each call, as a server does."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
