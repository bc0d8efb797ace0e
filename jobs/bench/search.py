"""Searches as benchmarks need them: their scores, exact scores as ground truth, and calibration."""

from __future__ import annotations

import numpy as np

from artifacts.errors import LookalikeError
from artifacts.index.faiss_index import IvfIndex
from artifacts.index.params import SearchParams
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.search.searcher import Searcher, SearchPath
from artifacts.segments.segment import Segment
from jobs.evaluate.calibration import DEPTH, calibrate, depths_of


def row_scores(
    searcher: Searcher,
    vectors: np.ndarray,
    params: SearchParams,
    row_filter: RowFilter | None = None,
    *,
    path: SearchPath | None = None,
) -> list[np.ndarray]:
    """Return the scores of the best `DEPTH` rows for each query, float32[j] descending; see `Searcher.search`."""
    neighbors, _ = searcher.search(vectors, DEPTH, params, row_filter, path=path)
    return [nearest.scores for nearest in neighbors]


def exact_scores(searcher: Searcher, vectors: np.ndarray, row_filter: RowFilter | None = None) -> list[np.ndarray]:
    """Return the true scores of the best `DEPTH` rows for each query: the ground truth of recall."""
    return row_scores(searcher, vectors, SearchParams(), row_filter, path="exact")


def nearest_products(segment: Segment, vectors: np.ndarray) -> list[str]:
    """Return the id of the product that is nearest to each query, by exact search."""
    neighbors, _ = Searcher(segment).search(vectors, 1, SearchParams(), path="exact")
    return segment.product_ids(np.array([nearest.rows[0] for nearest in neighbors]))


def calibrate_searcher(searcher: Searcher, vectors: np.ndarray, truth: list[np.ndarray], target: float) -> SearchParams:
    """Choose the search parameters for unfiltered searches as the gate does.

    Args:
        vectors: float32[n, dim], the queries.
        truth: their exact scores.
        target: recall@100 to reach.
    """
    params, _ = calibrate(
        lambda trial: row_scores(searcher, vectors, trial), truth, searcher.max_nprobe, target, depths_of(searcher)
    )
    return params


def ivf_of(searcher: Searcher) -> IvfIndex:
    """Return the IVF index.

    Raises:
        LookalikeError: the index is flat, or a graph.
    """
    if searcher.ivf is None:
        raise LookalikeError("the index is flat or a graph, with no lists to measure; use more rows or another codec")
    return searcher.ivf
