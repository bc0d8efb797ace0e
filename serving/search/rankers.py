"""TODO."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

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
        self, similarities: np.ndarray, products: Mapping[str, np.ndarray], today: datetime
    ) -> Mapping[str, np.ndarray]:
        """What the scores are the sum of: by name numbers [n]. Answers show those that are not 0, on `explain`.

        Args:
            similarities: float64[n], cosines with the query, descending.
            products: `columns` of the n products: numbers and truth values as float64 (NaN: none), times as
                datetime64[us] in UTC (NaT: none), texts as str or None.
            today: the first moment of the day that ages are counted from, UTC.
        """
        ...


class LinearRanker:
    """The formula above, with the weights of the settings."""

    columns = ("popularity_score", "conversion_rate", "avg_rating", "added_at")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def parts(
        self, similarities: np.ndarray, products: Mapping[str, np.ndarray], today: datetime
    ) -> Mapping[str, np.ndarray]:
        settings = self._settings
        fresh = np.timedelta64(timedelta(days=settings.fresh_days))
        age = np.datetime64(today.replace(tzinfo=None), "us") - products["added_at"]
        # What is missing is NaN or NaT, and no comparison with these is true.
        return {
            "similarity": similarities,
            "popularity": settings.weight_popularity * np.nan_to_num(products["popularity_score"]),
            "conversion": settings.weight_conversion * np.nan_to_num(products["conversion_rate"]),
            "rating": np.where(products["avg_rating"] >= settings.rating_threshold, settings.weight_rating, 0.0),
            "fresh": np.where(age < fresh, settings.weight_fresh, 0.0),
        }


@functools.lru_cache(maxsize=4)
def _custom_ranker(spec: str) -> Ranker:
    module, _, name = spec.removeprefix("python:").partition(":")
    try:
        made = getattr(importlib.import_module(module), name)()
    except Exception as error:  # somebody else's code: anything can be wrong with it
        raise LookalikeError(f"ranker {spec!r} cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(made, Ranker):
        raise LookalikeError(
            f"ranker {spec!r}: {name} needs `columns` and `parts`, as serving.search.rankers.Ranker has them"
        )
    return made


def load_ranker(settings: Settings) -> Ranker:
    """The ranker that the settings name.

    Raises:
        LookalikeError: it is not understood, or cannot be made.
    """
    if settings.ranker == "linear":
        return LinearRanker(settings)
    if settings.ranker.startswith("python:"):
        return _custom_ranker(settings.ranker)
    raise LookalikeError(f"ranker {settings.ranker!r} is not understood: use linear, or python:package.module:Class")


def score_parts(
    ranker: Ranker, similarities: np.ndarray, products: Mapping[str, np.ndarray], today: datetime
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Parts of the products' scores, and the scores, each float64[n].

    Raises:
        ValueError: the ranker's answer does not fit, or is not numbers; an order by those would be none.
    """
    made = ranker.parts(similarities, products, today)
    parts = {name: np.asarray(values, np.float64) for name, values in made.items()}
    scores = np.zeros(len(similarities))
    for name, values in parts.items():
        if values.shape != scores.shape:
            raise ValueError(f"{type(ranker).__name__} gave {name} for {values.shape}, not for {len(scores)} products")
        scores = scores + values
    if not np.isfinite(scores).all():
        raise ValueError(f"{type(ranker).__name__} gave scores that are not numbers: {', '.join(parts)}")
    return parts, scores
