"""Orders the most similar products: score, collapse duplicates, diversify, cap categories, sort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from artifacts.release.hits import Hit
from artifacts.release.release import Release
from serving.ranking.diversity import cap_categories, collapse_duplicates, mmr_order
from serving.ranking.rankers import Ranker, score_products
from serving.releases.snapshot import engine_seconds
from serving.search.options import SearchOptions
from serving.search.task import RankedHit


def rank_hits(
    hits: list[Hit], options: SearchOptions, release: Release, ranker: Ranker, limit: int, expires: float
) -> list[RankedHit]:
    """Return the first `limit` products of the ranked list.

    Args:
        hits: the most similar products, by descending similarity.
        expires: when the request's deadline passes, by `time.perf_counter`.

    Raises:
        EngineUnavailable: an engine that has the vectors does not return them in time.
    """
    if options.plain:
        return [RankedHit(hit, hit.score) for hit in hits[:limit]]
    if not hits:
        return []
    columns = set(ranker.columns) if options.rerank else set()
    if options.max_per_category:
        columns.add("category")
    products = release.arrays(hits, columns)
    parts: dict[str, np.ndarray] = {}
    scores = np.array([hit.score for hit in hits])
    if options.rerank:
        parts, scores = score_products(ranker, scores, products, options.today)
    # A stable sort: equal scores stay in the order of similarity.
    order = np.argsort(-scores, kind="stable")
    duplicates: dict[int, list[int]] = {}
    if options.collapse is not None or options.diversity:
        vectors = release.vectors(hits, engine_seconds(expires))[order]
        if options.collapse is not None:
            kept = collapse_duplicates(vectors, options.collapse)
            duplicates = {int(order[first]): order[others].tolist() for first, others in kept.items() if others}
            vectors, order = vectors[list(kept)], order[list(kept)]
        if options.diversity:
            order = order[mmr_order(scores[order], vectors, options.diversity)]
    if options.max_per_category:
        categories = products["category"][order].tolist()
        order = order[cap_categories(categories, options.max_per_category, options.categories)]
    if options.sort:  # comes last, so that it decides
        column, highest = options.sort
        rows = release.values([hits[position] for position in order.tolist()], [column])
        order = order[order_by_value([row[column] for row in rows], highest=highest)]
    explain = options.explain and options.rerank

    def duplicate_ids(position: int) -> tuple[str, ...]:
        return tuple(release.product_ids([hits[other] for other in duplicates[position]]))

    return [
        RankedHit(
            hits[position],
            float(scores[position]),
            {name: float(values[position]) for name, values in parts.items() if values[position]} if explain else None,
            tuple(release.product_ids([hits[other] for other in duplicates[position]]))
            if position in duplicates
            else (),
        )
        for position in order.tolist()[:limit]
    ]


def order_by_value(values: Sequence[Any], *, highest: bool) -> list[int]:
    """Return the order by an attribute's values. Equal values keep their order, and None comes last either way.

    Args:
        values: of the ranked products, best first. Segments may store an attribute as different types; values are
            compared within their type.
        highest: put the highest values first.

    Returns:
        Positions in `values`, in the new order.
    """

    def key(position: int) -> tuple[str, Any]:
        value = values[position]
        return ("" if isinstance(value, int | float) else type(value).__name__, value)

    known = [position for position, value in enumerate(values) if value is not None]
    known.sort(key=key, reverse=highest)
    return known + [position for position, value in enumerate(values) if value is None]
