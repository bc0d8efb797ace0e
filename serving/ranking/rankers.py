"""Rankers: from similarity and a product's signals to a score.

    score = similarity + 0.1·popularity + 0.1·conversion + 0.05 if well rated + 0.02 if new

is the linear ranker's formula, with the weights of the settings. The setting `ranker` replaces it by a model of the
shop's own.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

import numpy as np

from artifacts.config import RankingConfig, RankingWeights
from artifacts.errors import LookalikeError
from artifacts.plugins import PREFIX, make_plugin


@runtime_checkable
class Ranker(Protocol):
    """Scores products.

    Attributes:
        columns: columns of the catalog that it reads.
    """

    @property
    def columns(self) -> Sequence[str]: ...

    def parts(
        self, similarities: np.ndarray, products: Mapping[str, np.ndarray], today: datetime
    ) -> Mapping[str, np.ndarray]:
        """Return the named parts, float[n] each, whose sum is the score. `explain` shows the parts that are not 0.

        Args:
            similarities: float64[n], cosines with the query, descending.
            products: `columns` of the n products: numbers and booleans as float64 (NaN: no value), times as
                datetime64[us] in UTC (NaT: no value), texts as str or None. A column that the release does not have
                has no values.
            today: the first moment of the day that ages are counted from, UTC.
        """
        ...


class LinearRanker:
    """The formula of this module. A signal that a product does not have adds nothing."""

    columns = ("popularity_score", "conversion_rate", "avg_rating", "added_at")

    def __init__(self, weights: RankingWeights) -> None:
        self._weights = weights

    def parts(
        self, similarities: np.ndarray, products: Mapping[str, np.ndarray], today: datetime
    ) -> Mapping[str, np.ndarray]:
        weights = self._weights
        fresh = np.timedelta64(timedelta(days=weights.fresh_days))
        age = np.datetime64(today.replace(tzinfo=None), "us") - products["added_at"]
        # A missing value is NaN or NaT, and comparing with these is false.
        return {
            "similarity": similarities,
            "popularity": weights.weight_popularity * np.nan_to_num(products["popularity_score"]),
            "conversion": weights.weight_conversion * np.nan_to_num(products["conversion_rate"]),
            "rating": np.where(products["avg_rating"] >= weights.rating_threshold, weights.weight_rating, 0.0),
            "fresh": np.where(age < fresh, weights.weight_fresh, 0.0),
        }


def load_ranker(config: RankingConfig) -> Ranker:
    """Load the ranker that the configuration names.

    Raises:
        LookalikeError: the name is not understood, or the ranker cannot be created.
    """
    if config.ranker == "linear":
        return LinearRanker(config.weights)
    if config.ranker.startswith(PREFIX):
        return _load_custom_ranker(config.ranker)
    raise LookalikeError(f"ranker {config.ranker!r} is not understood: use linear, or python:package.module:Class")


@functools.lru_cache(maxsize=4)
def _load_custom_ranker(spec: str) -> Ranker:
    ranker = make_plugin(spec, "ranker")
    if not isinstance(ranker, Ranker):
        raise LookalikeError(
            f"ranker {spec!r}: {type(ranker).__name__} needs `columns` and `parts`; see serving.ranking.rankers.Ranker"
        )
    return ranker


def score_products(
    ranker: Ranker, similarities: np.ndarray, products: Mapping[str, np.ndarray], today: datetime
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the parts of the products' scores, and the scores, each float64[n].

    Raises:
        ValueError: the ranker returned other shapes, or scores that are not finite and so have no order.
    """
    parts = {
        name: np.asarray(values, np.float64) for name, values in ranker.parts(similarities, products, today).items()
    }
    scores = np.zeros(len(similarities))
    for name, values in parts.items():
        if values.shape != scores.shape:
            raise ValueError(f"{type(ranker).__name__} gave {name} for {values.shape}, not for {len(scores)} products")
        scores = scores + values
    if not np.isfinite(scores).all():
        raise ValueError(f"{type(ranker).__name__} gave scores that are not numbers: {', '.join(parts)}")
    return parts, scores
