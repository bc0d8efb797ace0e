"""From the most similar products to the order they are shown in.

    score = similarity + 0.1·popularity + 0.1·conversion + 0.05 if well rated + 0.02 if new

with the weights of the settings; a signal that a product does not have adds nothing. The cap on products of one
category then moves products down and drops none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from artifacts.settings import Settings

#: Products that are ranked again, at least. Behind them the order is by similarity alone, so that every page of one
#: search is cut from the same list, however deep it lies.
WINDOW = 200

#: Columns that ranking reads.
SIGNALS = ("category", "popularity_score", "conversion_rate", "avg_rating", "added_at")


def score(similarity: float, product: dict[str, Any], settings: Settings, today: datetime) -> float:
    """The score of one product.

    Args:
        similarity: cosine with the query, -1 to 1.
        product: its row; the signals are popularity_score and conversion_rate (0-1), avg_rating (0-5), added_at.
        today: the day that ages are counted from.
    """
    total = similarity
    total += settings.weight_popularity * (product["popularity_score"] or 0.0)
    total += settings.weight_conversion * (product["conversion_rate"] or 0.0)
    if product["avg_rating"] is not None and product["avg_rating"] >= settings.rating_threshold:
        total += settings.weight_rating
    added_at = product["added_at"]
    if added_at is not None and today - added_at < timedelta(days=settings.fresh_days):
        total += settings.weight_fresh
    return total


def start_of_day() -> datetime:
    """Today's first moment, UTC: answers change with the day at most, not from one second to the next."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def spread_categories(categories: Sequence[str | None], cap: int, exempt: Sequence[str] = ()) -> list[int]:
    """The order in which at most `cap` products of a category come before others get their turn.

    The first `cap` of every category keep their order, then come the next `cap` of every category, and so on; nothing
    is dropped.

    Args:
        categories: of the ranked products, best first; None counts as no category and is never held back.
        cap: 0 means no cap.
        exempt: categories that the caller asked for.

    Returns:
        Positions in `categories`, in the order to show.
    """
    seen: Counter[str] = Counter()
    rounds: list[int] = []
    for category in categories:
        if category is None or category in exempt or cap <= 0:
            rounds.append(0)
        else:
            rounds.append(seen[category] // cap)
            seen[category] += 1
    return sorted(range(len(rounds)), key=lambda place: (rounds[place], place))
