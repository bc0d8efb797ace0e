"""TODO."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

import numpy as np

from artifacts.config import RankingConfig, RankingWeights
from artifacts.errors import LookalikeError
from artifacts.plugins import make_plugin


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

    def __init__(self, weights: RankingWeights) -> None:
        self._weights = weights

    def parts(
        self, similarities: np.ndarray, products: Mapping[str, np.ndarray], today: datetime
    ) -> Mapping[str, np.ndarray]:
        weights = self._weights
        fresh = np.timedelta64(timedelta(days=weights.fresh_days))
        age = np.datetime64(today.replace(tzinfo=None), "us") - products["added_at"]
        # What is missing is NaN or NaT, and no comparison with these is true.
        return {
            "similarity": similarities,
            "popularity": weights.weight_popularity * np.nan_to_num(products["popularity_score"]),
            "conversion": weights.weight_conversion * np.nan_to_num(products["conversion_rate"]),
            "rating": np.where(products["avg_rating"] >= weights.rating_threshold, weights.weight_rating, 0.0),
            "fresh": np.where(age < fresh, weights.weight_fresh, 0.0),
        }


@functools.lru_cache(maxsize=4)
def _custom_ranker(spec: str) -> Ranker:
    made = make_plugin(spec, "ranker")
    if not isinstance(made, Ranker):
        raise LookalikeError(
            f"ranker {spec!r}: {type(made).__name__} needs `columns` and `parts`; see serving.search.rankers.Ranker"
        )
    return made


def load_ranker(config: RankingConfig) -> Ranker:
    """The ranker that the settings name.

    Raises:
        LookalikeError: it is not understood, or cannot be made.
    """
    if config.ranker == "linear":
        return LinearRanker(config.weights)
    if config.ranker.startswith("python:"):
        return _custom_ranker(config.ranker)
    raise LookalikeError(f"ranker {config.ranker!r} is not understood: use linear, or python:package.module:Class")


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
