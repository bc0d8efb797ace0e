"""Searches a release's rows, and collapses them to products."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from artifacts.errors import QueryError
from artifacts.index.params import SearchParams
from artifacts.release.hits import Hit
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.search.candidates import Neighbors, Plan
from artifacts.segments.search.searcher import Searcher

#: Returns the product of each row.
ProductIds = Callable[[np.ndarray], list[str]]


def validate_queries(queries: np.ndarray, dim: int) -> np.ndarray:
    """Return query vectors as contiguous float32[n, dim].

    Args:
        dim: length of the stored vectors; 0 if there are none, and then any length is accepted.

    Raises:
        QueryError: a vector has another length, or no direction (NaN, infinity, zeros).
    """
    queries = np.ascontiguousarray(queries, np.float32)
    length = queries.shape[-1]
    if queries.ndim != 2 or dim not in (0, length):
        raise QueryError("vector", f"a query vector has {length} numbers; this release needs {dim}")
    # FAISS would accept these, and its answers would mean nothing.
    if not np.isfinite(queries).all() or not queries.any(axis=1).all():
        raise QueryError("vector", "a query vector is all zeros, or contains NaN or infinity; send another vector")
    return queries


def search_products(
    searcher: Searcher,
    product_ids: ProductIds,
    max_pictures: int,
    row_filter: RowFilter | None,
    queries: np.ndarray,
    k: int,
    params: SearchParams,
    *,
    excluded: Sequence[Collection[str]],
    exact: bool,
    seconds: float,
) -> tuple[list[list[Hit]], Plan]:
    """Find the best `k` products for each query.

    Args:
        product_ids: of the searcher's rows.
        max_pictures: of one product.
        row_filter: the allowed rows; None for all.
        queries: float32[n, dim], L2-normalised.
        excluded: for each query the ids of products to leave out.
        exact: score every allowed row, whatever it costs.
        seconds: after which an engine's answers are no longer waited for.

    Returns:
        For each query its hits, by descending score (equal scores by row), and the plan.
    """
    total = searcher.rows if row_filter is None else row_filter.count
    if k <= 0 or len(queries) == 0:
        return [[] for _ in queries], Plan("nothing", total)
    limit = searcher.candidates.max_results
    if limit is not None and k > limit and total > limit:
        raise QueryError("offset", f"the engine of this release finds at most {limit:,} rows for a search")
    total = total if limit is None else min(total, limit)
    # Pictures of one product count once: search deeper until there are enough products, or no more rows.
    pictures = max(1, max_pictures)
    depths = [min(total, (k if pictures == 1 else 2 * k) + pictures * len(ids)) for ids in excluded]
    hits: list[list[Hit]] = [[] for _ in queries]
    plans: list[Plan] = []
    ends = time.monotonic() + seconds
    for initial_depth in sorted(set(depths)):
        depth = initial_depth
        unfinished = [number for number, query_depth in enumerate(depths) if query_depth == depth]
        while unfinished:
            neighbors, plan = searcher.search(
                queries[unfinished],
                depth,
                params,
                row_filter,
                path="exact" if exact else None,
                seconds=ends - time.monotonic(),
            )
            plans.append(plan)
            for number, nearest in zip(unfinished, neighbors, strict=True):
                collapses = pictures > 1 or bool(excluded[number])
                hits[number] = collapse(nearest, k, product_ids if collapses else None, excluded[number])
            if depth >= total:
                break
            unfinished = [number for number in unfinished if len(hits[number]) < k]
            depth = min(total, 4 * max(1, depth))
    return hits, replace(
        plans[-1],
        probes=max(plan.probes for plan in plans),
        candidates=sum(plan.candidates for plan in plans),
    )


def collapse(neighbors: Neighbors, k: int, product_ids: ProductIds | None, excluded: Collection[str]) -> list[Hit]:
    """Keep the best row of each product that is not excluded, and of those the best `k` as hits.

    Args:
        product_ids: of rows; None if each row is a product of its own.
    """
    scores, rows = neighbors.scores, neighbors.rows
    if product_ids is not None:
        best: dict[str, int] = {}
        for index, product_id in enumerate(product_ids(rows)):
            best.setdefault(product_id, index)
        kept = [index for product_id, index in best.items() if product_id not in excluded]
        scores, rows = scores[kept], rows[kept]
    # For 100 hits, _make takes 13 µs and Hit(...) 17; a search of 60,000 rows takes 270 in all.
    return list(map(Hit._make, zip(scores[:k].tolist(), rows[:k].tolist(), strict=False)))
