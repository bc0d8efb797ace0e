"""Variety among the best results: collapse near-duplicates, bring unlike pictures forward, cap categories."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np


def collapse_duplicates(vectors: np.ndarray, threshold: float) -> dict[int, list[int]]:
    """Assign each picture to the first kept picture that it is at least `threshold` similar to.

    Args:
        vectors: float32[n, dim], L2-normalised, best first.
        threshold: cosine from which two pictures count as duplicates.

    Returns:
        The positions that are kept, in order, each with the positions of its duplicates.
    """
    similar = vectors @ vectors.T >= threshold
    unassigned = np.ones(len(vectors), bool)
    kept: dict[int, list[int]] = {}
    for position in range(len(vectors)):
        if unassigned[position]:
            unassigned[position] = False
            duplicates = np.flatnonzero(unassigned & similar[:, position])
            unassigned[duplicates] = False
            kept[position] = duplicates.tolist()
    return kept


def mmr_order(scores: np.ndarray, vectors: np.ndarray, diversity: float) -> list[int]:
    """Order by maximal marginal relevance (Carbonell and Goldstein, 1998).

    The next product is the one with the highest (1 - diversity) · score - diversity · (cosine with the most similar
    product before it). Equal products keep their order.

    Args:
        scores: float[n], descending.
        vectors: float32[n, dim], L2-normalised.
        diversity: 0 keeps the order by score; 1 considers only how unlike the pictures are, after the first product.

    Returns:
        Positions, in the new order.
    """
    similarities = diversity * (vectors @ vectors.T)
    relevance = (1 - diversity) * scores  # -inf once a product is in the order
    redundancy = np.zeros(len(scores))  # the order is empty, so nothing is redundant
    order: list[int] = []
    for _ in range(len(scores)):
        position = int(np.argmax(relevance - redundancy))  # the first of equal ones
        relevance[position] = -np.inf
        redundancy = similarities[position] if not order else np.maximum(redundancy, similarities[position])
        order.append(position)
    return order


def cap_categories(categories: Sequence[str | None], cap: int, exempt: Sequence[str] = ()) -> list[int]:
    """Move products down so that a category has at most `cap` of them before the others have their turn.

    The first `cap` products of every category keep their order, then come the next `cap` of every category, and so
    on. Nothing is dropped.

    Args:
        categories: of the ranked products, best first. None is no category and is never moved down.
        cap: 0 means no cap.
        exempt: categories that the caller filtered on.

    Returns:
        Positions in `categories`, in the new order.
    """
    counts: Counter[str] = Counter()
    rounds: defaultdict[int, list[int]] = defaultdict(list)
    for position, category in enumerate(categories):
        if category is None or category in exempt or cap <= 0:
            rounds[0].append(position)
        else:
            rounds[counts[category] // cap].append(position)
            counts[category] += 1
    return [position for number in sorted(rounds) for position in rounds[number]]
