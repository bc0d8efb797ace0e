"""The true best products of many queries under several filters: what recall is measured against.

All queries share one pass over the stored vectors: of a hundred million these are 100 GB, which may have to come from
disk, and a pass for each filter would read most of them again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from artifacts.index.vectors import KnnQueries
from artifacts.products.filters import Filter
from artifacts.release.hits import Hit
from artifacts.release.release import Release
from artifacts.release.search import collapse, validate_queries
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.search.candidates import Neighbors
from artifacts.segments.search.searcher import Searcher

#: Rows beside the best ones: the last bit of a matrix product may differ from the score that decides.
_SPARE_ROWS = 10
#: Rows of a product among the nearest that the first pass allows for; a catalog with more may need another pass.
_PICTURES = 4


def ground_truth(release: Release, asked: Sequence[tuple[np.ndarray, Filter]], k: int) -> list[list[list[Hit]]]:
    """Return what exact searches return, at a fraction of their cost.

    Args:
        asked: queries float32[n, dim], L2-normalised, and the filter that the products have to pass.
        k: products for each query.

    Returns:
        For each of `asked`, for each query, its hits by descending score; equal scores by row.

    Raises:
        QueryError: a vector has another length, or no direction (NaN, infinity, zeros).
    """
    searcher = release.searcher
    queries = [validate_queries(vectors, release.base.info.dim) for vectors, _ in asked]
    row_filters = [release.row_filter(conditions) for _, conditions in asked]
    totals = [searcher.rows if row_filter is None else row_filter.count for row_filter in row_filters]
    pictures = max(segment.info.max_pictures for segment in release.segments)
    hits: list[list[list[Hit]]] = [[[] for _ in vectors] for vectors in queries]
    depth = k * max(1, min(pictures, _PICTURES))
    unfinished = {
        number: list(range(len(vectors))) for number, vectors in enumerate(queries) if totals[number] and len(vectors)
    }
    while unfinished:
        found = _nearest(
            searcher,
            [
                (queries[number][positions], row_filters[number], min(depth, totals[number]), totals[number])
                for number, positions in unfinished.items()
            ],
        )
        short: dict[int, list[int]] = {}
        for (number, positions), neighbors in zip(unfinished.items(), found, strict=True):
            for position, nearest in zip(positions, neighbors, strict=True):
                product_ids = release.rows.product_ids if pictures > 1 else None
                hits[number][position] = collapse(nearest, k, product_ids, ())
            if depth < totals[number]:
                short[number] = [position for position in positions if len(hits[number][position]) < k]
        unfinished = {number: positions for number, positions in short.items() if positions}
        depth *= 4
    return hits


def _nearest(
    searcher: Searcher, asked: Sequence[tuple[np.ndarray, RowFilter | None, int, int]]
) -> list[list[Neighbors]]:
    """Return the best rows of queries, by exact score.

    Args:
        asked: queries float32[n, dim], the allowed rows, how many to return for each query, and how many are allowed.
    """
    every = (lambda rows: ~searcher.is_deleted(rows)) if searcher.rows < searcher.vectors.rows else None
    found = searcher.vectors.knn_in_one_pass(
        [
            KnnQueries(vectors, min(count, depth + _SPARE_ROWS), every if row_filter is None else row_filter.mask)
            for vectors, row_filter, depth, count in asked
        ]
    )
    return [
        [Neighbors(*searcher.vectors.score(query, rows, depth)) for query, rows in zip(vectors, nearest, strict=True)]
        for (vectors, _, depth, _), nearest in zip(asked, found, strict=True)
    ]
