"""The true best results of all queries of a measurement, without and with filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from artifacts.products.filters import Filter
from artifacts.release.ground_truth import ground_truth
from artifacts.release.hits import Hit
from artifacts.release.release import Release
from jobs.evaluate.calibration import DEPTH, Scores
from jobs.evaluate.queries import QuerySet


@dataclass(frozen=True)
class Truth:
    """The best scores of one modality's queries.

    Attributes:
        unfiltered: of every query.
        filtered: for each filter, of the first queries.
    """

    unfiltered: Scores
    filtered: list[Scores]


def find_truth(
    release: Release, query_sets: Sequence[QuerySet], filters: Sequence[Filter], filtered_queries: int
) -> list[Truth]:
    """Search exactly for all queries, in one pass over the release's vectors.

    Args:
        filtered_queries: how many queries of each modality are searched under each filter.

    Returns:
        For each query set its truth.
    """
    if not query_sets:
        return []
    every = [queries.vectors for queries in query_sets]
    first = [vectors[:filtered_queries] for vectors in every]
    asked = [(np.concatenate(every), ()), *((np.concatenate(first), conditions) for conditions in filters)]
    whole, *filtered = [[scores(query) for query in hits] for hits in ground_truth(release, asked, DEPTH)]
    ends, first_ends = np.cumsum([0, *map(len, every)]), np.cumsum([0, *map(len, first)])
    return [
        Truth(
            whole[ends[number] : ends[number + 1]],
            [found[first_ends[number] : first_ends[number + 1]] for found in filtered],
        )
        for number in range(len(query_sets))
    ]


def scores(hits: Sequence[Hit]) -> np.ndarray:
    """Return the scores of a query's hits, as recall is computed from them: float[j], descending."""
    return np.array([hit.score for hit in hits])
