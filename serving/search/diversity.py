"""Variety among the best: near-duplicates folded into one, and unlike products brought forward."""

from __future__ import annotations

import numpy as np


def collapse_duplicates(vectors: np.ndarray, threshold: float) -> dict[int, list[int]]:
    """Fold each picture into the first kept one that it is at least so similar to.

    Args:
        vectors: float32[n, dim], L2-normalised, best first.
        threshold: cosine from which two pictures count as the same.

    Returns:
        Positions that are kept, in order, each with those folded into it.
    """
    similar = vectors @ vectors.T >= threshold
    free = np.ones(len(vectors), bool)  # neither kept nor folded
    kept: dict[int, list[int]] = {}
    for place in range(len(vectors)):
        if free[place]:
            free[place] = False
            others = np.flatnonzero(free & similar[:, place])
            free[others] = False
            kept[place] = others.tolist()
    return kept


def mmr_order(scores: np.ndarray, vectors: np.ndarray, diversity: float) -> list[int]:
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
    similarities = diversity * (vectors @ vectors.T)
    left = (1 - diversity) * scores  # what is shown already is -inf
    nearest = np.zeros(len(scores))  # nothing is shown yet, so nothing is like it
    order: list[int] = []
    for _ in range(len(scores)):
        place = int(np.argmax(left - nearest))  # the first of equal ones
        left[place] = -np.inf
        nearest = similarities[place] if not order else np.maximum(nearest, similarities[place])
        order.append(place)
    return order
