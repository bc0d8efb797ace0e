"""Rankers: the linear formula and custom ones; the cap per category; sorting by an attribute."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.config import RankingConfig, RankingWeights
from artifacts.errors import LookalikeError
from artifacts.settings import Settings
from serving.ranking.diversity import cap_categories
from serving.ranking.rankers import LinearRanker, load_ranker, score_products
from serving.search.ranking import order_by_value

TODAY = datetime(2026, 11, 22, tzinfo=UTC)


def score(similarity: float, signals: dict[str, Any], settings: Settings) -> float:
    _, scores = score_products(
        LinearRanker(settings.server.ranking.weights), np.array([similarity]), products(signals), TODAY
    )
    return float(scores[0])


def products(*signals: dict[str, Any]) -> dict[str, np.ndarray]:
    """Columns of products with these signals, as a release returns them."""
    added = [product["added_at"].replace(tzinfo=None) if "added_at" in product else None for product in signals]
    numbers = ("popularity_score", "conversion_rate", "avg_rating")
    return {
        "added_at": np.array(added, "datetime64[us]"),
        **{name: np.array([product.get(name, np.nan) for product in signals]) for name in numbers},
    }


@pytest.mark.parametrize(
    ("signals", "added"),
    [
        ({}, 0.0),
        ({"popularity_score": 0.0}, 0.0),
        ({"popularity_score": 1.0}, 0.1),
        ({"conversion_rate": 0.5}, 0.05),
        ({"avg_rating": 4.5}, 0.05),
        ({"avg_rating": 4.49}, 0.0),
        ({"added_at": TODAY - timedelta(days=29)}, 0.02),
        ({"added_at": TODAY - timedelta(days=30)}, 0.0),
        ({"popularity_score": 1.0, "conversion_rate": 1.0, "avg_rating": 5.0, "added_at": TODAY}, 0.27),
    ],
)
def test_signals_add_their_weights_and_missing_ones_add_nothing(signals: dict[str, Any], added: float) -> None:
    assert score(0.4, signals, Settings()) == pytest.approx(0.4 + added)


def test_weights_come_from_the_settings() -> None:
    settings = Settings(weight_popularity=1.0, weight_rating=0.0)
    assert score(0.0, {"popularity_score": 0.5, "avg_rating": 5.0}, settings) == pytest.approx(0.5)


def test_parts_are_named_and_sum_to_the_scores() -> None:
    columns = products({"popularity_score": 0.5, "avg_rating": 5.0, "added_at": TODAY}, {})
    parts, scores = score_products(LinearRanker(RankingWeights()), np.array([0.25, 0.2]), columns, TODAY)
    assert {name: values.tolist() for name, values in parts.items()} == {
        "similarity": [0.25, 0.2], "popularity": [0.05, 0], "conversion": [0, 0], "rating": [0.05, 0],
        "fresh": [0.02, 0],
    }  # fmt: skip
    assert scores.tolist() == pytest.approx([0.37, 0.2])


class Margin:
    """A custom ranker."""

    columns = ("margin",)

    def parts(self, similarities: np.ndarray, products: Mapping[str, np.ndarray], today: datetime) -> Any:
        return {"similarity": similarities, "margin": np.nan_to_num(products["margin"])}


class NoRanker:
    columns = ()


class OneShort(Margin):
    def parts(self, similarities: np.ndarray, products: Mapping[str, np.ndarray], today: datetime) -> Any:
        return {"similarity": similarities[1:]}


class NotNumbers(Margin):
    def parts(self, similarities: np.ndarray, products: Mapping[str, np.ndarray], today: datetime) -> Any:
        return {"similarity": similarities, "margin": products["margin"] + np.nan}


def test_custom_ranker_replaces_the_formula() -> None:
    ranker = load_ranker(RankingConfig(ranker="python:tests.serving.search.test_ranking:Margin"))
    _, scores = score_products(ranker, np.array([0.5, 0.4]), {"margin": np.array([np.nan, 0.3])}, TODAY)
    assert scores.tolist() == pytest.approx([0.5, 0.7])


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("best", "is not understood: use linear, or python:"),
        ("python:no.such.module:Ranker", "cannot be created: ModuleNotFoundError"),
        ("python:tests.serving.search.test_ranking:Nobody", "cannot be created: AttributeError"),
        ("python:tests.serving.search.test_ranking:NoRanker", "needs `columns` and `parts`"),
    ],
)
def test_rankers_that_cannot_be_loaded_are_reported(spec: str, reason: str) -> None:
    with pytest.raises(LookalikeError, match=reason):
        load_ranker(RankingConfig(ranker=spec))


@pytest.mark.parametrize(
    ("ranker", "reason"),
    [
        (OneShort(), r"OneShort gave similarity for \(1,\), not for 2 products"),
        (NotNumbers(), "NotNumbers gave scores that are not numbers: similarity, margin"),
    ],
)
def test_scores_that_cannot_be_ordered_are_rejected(ranker: Margin, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        score_products(ranker, np.array([0.5, 0.4]), {"margin": np.zeros(2)}, TODAY)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=60), st.integers(0, 6), st.sampled_from([(), ("a",)]))
def test_category_cap_drops_nothing_and_holds_in_every_round(
    categories: list[str | None], cap: int, exempt: tuple[str, ...]
) -> None:
    order = cap_categories(categories, cap, exempt)
    assert sorted(order) == list(range(len(categories)))
    ordered = [categories[position] for position in order]
    if cap:
        for name in {"a", "b", "c"} - set(exempt):
            # The first round ends at the first product of the second round.
            positions = [position for position, category in enumerate(ordered) if category == name]
            if len(positions) > cap:
                others = [category for category in set(ordered) if category not in (None, name, *exempt)]
                before = ordered[: positions[cap]]
                assert all(before.count(other) >= min(cap, ordered.count(other)) for other in others)
    # Products of one category keep their order.
    for name in ("a", "b", "c", None):
        positions = [position for position in order if categories[position] == name]
        assert positions == sorted(positions)


def test_category_cap_of_zero_keeps_the_order() -> None:
    assert cap_categories(["a"] * 9, 0) == list(range(9))


@given(st.lists(st.none() | st.integers(-3, 3) | st.floats(-3, 3) | st.sampled_from("abc")), st.booleans())
def test_sorting_keeps_ties_in_order_and_puts_missing_values_last(values: list[Any], highest: bool) -> None:
    order = order_by_value(values, highest=highest)
    assert sorted(order) == list(range(len(values)))
    present = [position for position in order if values[position] is not None]
    missing = order[len(present) :]
    assert [values[position] for position in missing] == [None] * len(missing)
    assert missing == sorted(missing)
    for types in (str, (int, float)):
        positions = [position for position in present if isinstance(values[position], types)]
        assert positions == sorted(positions, key=lambda position: values[position], reverse=highest)
        for before, after in itertools.pairwise(positions):
            assert values[before] != values[after] or before < after
