"""From the most similar products to the order they are shown in.

    score = similarity + 0.1·popularity + 0.1·conversion + 0.05 if well rated + 0.02 if new

with the weights of the settings; a signal that a product does not have adds nothing. A model of the shop's own takes
the place of this formula by the setting `ranker`. The cap on products of one category then moves products down and
drops none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any


def start_of_day() -> datetime:
    """Today's first moment, UTC: answers change with the day at most, not from one second to the next."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def cap_categories(categories: Sequence[str | None], cap: int, exempt: Sequence[str] = ()) -> list[int]:
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
    rounds: defaultdict[int, list[int]] = defaultdict(list)
    for place, category in enumerate(categories):
        if category is None or category in exempt or cap <= 0:
            rounds[0].append(place)
        else:
            rounds[seen[category] // cap].append(place)
            seen[category] += 1
    return [place for number in sorted(rounds) for place in rounds[number]]


def order_by_value(values: Sequence[Any], *, highest: bool) -> list[int]:
    """The order by an attribute's values; equal ones stay as they are, and None comes last either way.

    Args:
        values: of the ranked products, best first. Segments may hold an attribute as different types: each by itself.
        highest: whether the highest come first.

    Returns:
        Positions in `values`, in the order to show.
    """

    def key(place: int) -> tuple[str, Any]:
        value = values[place]
        return ("" if isinstance(value, int | float) else type(value).__name__, value)

    there = [place for place, value in enumerate(values) if value is not None]
    there.sort(key=key, reverse=highest)
    return there + [place for place, value in enumerate(values) if value is None]
