"""Variety among the best: near-duplicates folded into one, and unlike products brought forward."""

from __future__ import annotations

import numpy as np


def fold(vectors: np.ndarray, threshold: float) -> dict[int, list[int]]:
    """Fold each picture into the first kept one that it is at least so similar to.

    Args:
        vectors: float32[n, dim], L2-normalised, best first.
        threshold: cosine from which two pictures count as the same.

    Returns:
        Positions that are kept, in order, each with those folded into it.
    """
    similar = vectors @ vectors.T >= threshold
    kept: dict[int, list[int]] = {}
    for place in range(len(vectors)):
        first = next((other for other in kept if similar[place, other]), None)
        if first is None:
            kept[place] = []
        else:
            kept[first].append(place)
    return kept


def spread_looks(scores: np.ndarray, vectors: np.ndarray, diversity: float) -> list[int]:
    """Order by maximal marginal relevance (Carbonell and Goldstein, 1998).

    Next comes the product with the highest (1 - diversity) · score - diversity · (cosine with the most similar of those
    before it). Equal ones come in the order given.

    Args:
        scores: float[n], descending.
        vectors: float32[n, dim], L2-normalised.
        diversity: 0 keeps the order by score; 1 looks for nothing but unlike pictures after the first.

    Returns:
        Positions, in the order to show.
    """
    similarities = vectors @ vectors.T
    nearest = np.zeros(len(scores))  # nothing is shown yet, so nothing is like it
    left = np.ones(len(scores), bool)
    order: list[int] = []
    for _ in range(len(scores)):
        values = np.where(left, (1 - diversity) * scores - diversity * nearest, -np.inf)
        place = int(np.argmax(values))  # the first of equal ones
        order.append(place)
        left[place] = False
        nearest = similarities[place].copy() if len(order) == 1 else np.maximum(nearest, similarities[place])
    return order
