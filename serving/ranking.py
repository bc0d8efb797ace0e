"""From the most similar products to the order they are shown in.

    score = similarity + 0.1·popularity + 0.1·conversion + 0.05 if well rated + 0.02 if new

with the weights of the settings; a signal that a product does not have adds nothing. A model of the shop's own takes
the place of this formula by the setting `ranker`. The cap on products of one category then moves products down and
drops none.
"""

from __future__ import annotations

import functools
import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, runtime_checkable

import numpy as np

from artifacts.errors import LookalikeError
from artifacts.settings import Settings


@runtime_checkable
class Ranker(Protocol):
    """Scores products that were found.

    Attributes:
        columns: columns of the catalog that it reads. Where a release has no such column, values are None.
    """

    @property
    def columns(self) -> Sequence[str]: ...

    def parts(
        self, similarities: np.ndarray, products: Sequence[Mapping[str, Any]], today: datetime
    ) -> Sequence[Mapping[str, float]]:
        """What each product's score is the sum of, by name; answers show it on `explain`.

        Args:
            similarities: float64[n], cosines with the query, descending.
            products: n rows with `columns`.
            today: the first moment of the day that ages are counted from, UTC.
        """
        ...


class LinearRanker:
    """The formula above, with the weights of the settings."""

    columns = ("popularity_score", "conversion_rate", "avg_rating", "added_at")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def parts(
        self, similarities: np.ndarray, products: Sequence[Mapping[str, Any]], today: datetime
    ) -> list[dict[str, float]]:
        return [self._parts(float(each), product, today) for each, product in zip(similarities, products, strict=True)]

    def _parts(self, similarity: float, product: Mapping[str, Any], today: datetime) -> dict[str, float]:
        settings = self._settings
        parts = {"similarity": similarity}
        if product["popularity_score"]:
            parts["popularity"] = settings.weight_popularity * product["popularity_score"]
        if product["conversion_rate"]:
            parts["conversion"] = settings.weight_conversion * product["conversion_rate"]
        if product["avg_rating"] is not None and product["avg_rating"] >= settings.rating_threshold:
            parts["rating"] = settings.weight_rating
        added_at = product["added_at"]
        if added_at is not None and today - added_at < timedelta(days=settings.fresh_days):
            parts["fresh"] = settings.weight_fresh
        return parts


@functools.lru_cache(maxsize=4)
def _own_ranker(spec: str) -> Ranker:
    module, _, name = spec.removeprefix("python:").partition(":")
    try:
        made = getattr(importlib.import_module(module), name)()
    except Exception as error:  # somebody else's code: anything can be wrong with it
        raise LookalikeError(f"ranker {spec!r} cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(made, Ranker):
        raise LookalikeError(f"ranker {spec!r}: {name} needs `columns` and `parts`, as serving.ranking.Ranker has them")
    return made


def load_ranker(settings: Settings) -> Ranker:
    """The ranker that the settings name.

    Raises:
        LookalikeError: it is not understood, or cannot be made.
    """
    if settings.ranker == "linear":
        return LinearRanker(settings)
    if settings.ranker.startswith("python:"):
        return _own_ranker(settings.ranker)
    raise LookalikeError(f"ranker {settings.ranker!r} is not understood: use linear, or python:package.module:Class")


def checked_parts(
    ranker: Ranker, similarities: np.ndarray, products: Sequence[Mapping[str, Any]], today: datetime
) -> tuple[list[dict[str, float]], np.ndarray]:
    """Parts of each product's score, and the scores float64[n].

    Raises:
        ValueError: the ranker's answer does not fit, or is not numbers; an order by those would be none.
    """
    parts = [{name: float(value) for name, value in each.items()} for each in
             ranker.parts(similarities, products, today)]  # fmt: skip
    scores = np.array([sum(each.values()) for each in parts])
    if len(parts) != len(products) or not np.isfinite(scores).all():
        raise ValueError(
            f"{type(ranker).__name__} gave {len(parts)} scores for {len(products)} products, or not numbers"
        )
    return parts, scores


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


def sorted_by(values: Sequence[Any], *, highest: bool) -> list[int]:
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
