"""The mission's formula, models in its place, and the cap on products of one category."""

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
    """Columns as a release gives them."""
    added = [each["added_at"].replace(tzinfo=None) if "added_at" in each else None for each in signals]
    numbers = ("popularity_score", "conversion_rate", "avg_rating")
    return {
        "added_at": np.array(added, "datetime64[us]"),
        **{name: np.array([each.get(name, np.nan) for each in signals]) for name in numbers},
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
def test_each_signal_adds_its_weight_and_a_missing_one_nothing(signals: dict[str, Any], added: float) -> None:
    assert score(0.4, signals, Settings()) == pytest.approx(0.4 + added)


def test_weights_are_settings() -> None:
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
    """A ranker of a shop's own."""

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


def test_a_model_of_the_shops_own_takes_the_formulas_place() -> None:
    ranker = load_ranker(RankingConfig(ranker="python:tests.serving.search.test_ranking:Margin"))
    _, scores = score_products(ranker, np.array([0.5, 0.4]), {"margin": np.array([np.nan, 0.3])}, TODAY)
    assert scores.tolist() == pytest.approx([0.5, 0.7])


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("best", "is not understood: use linear, or python:"),
        ("python:no.such.module:Ranker", "cannot be made: ModuleNotFoundError"),
        ("python:tests.serving.search.test_ranking:Nobody", "cannot be made: AttributeError"),
        ("python:tests.serving.search.test_ranking:NoRanker", "needs `columns` and `parts`"),
    ],
)
def test_a_ranker_that_cannot_be_made_is_named(spec: str, reason: str) -> None:
    with pytest.raises(LookalikeError, match=reason):
        load_ranker(RankingConfig(ranker=spec))


@pytest.mark.parametrize(
    ("ranker", "reason"),
    [
        (OneShort(), r"OneShort gave similarity for \(1,\), not for 2 products"),
        (NotNumbers(), "NotNumbers gave scores that are not numbers: similarity, margin"),
    ],
)
def test_scores_that_make_no_order_are_refused(ranker: Margin, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        score_products(ranker, np.array([0.5, 0.4]), {"margin": np.zeros(2)}, TODAY)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=60), st.integers(0, 6), st.sampled_from([(), ("a",)]))
def test_spreading_drops_nothing_and_caps_every_round(
    categories: list[str | None], cap: int, exempt: tuple[str, ...]
) -> None:
    order = cap_categories(categories, cap, exempt)
    assert sorted(order) == list(range(len(categories)))
    shown = [categories[place] for place in order]
    if cap:
        for name in {"a", "b", "c"} - set(exempt):
            # the first round ends where the first product of a second round stands
            places = [at for at, category in enumerate(shown) if category == name]
            if len(places) > cap:
                others = [c for c in set(shown) if c not in (None, name, *exempt)]
                before = shown[: places[cap]]
                assert all(before.count(other) >= min(cap, shown.count(other)) for other in others)
    # products of one category keep their order
    for name in ("a", "b", "c", None):
        places = [place for place in order if categories[place] == name]
        assert places == sorted(places)


def test_without_a_cap_the_order_stays() -> None:
    assert cap_categories(["a"] * 9, 0) == list(range(9))


@given(st.lists(st.none() | st.integers(-3, 3) | st.floats(-3, 3) | st.sampled_from("abc")), st.booleans())
def test_sorting_keeps_ties_and_puts_what_has_no_value_last(values: list[Any], highest: bool) -> None:
    order = order_by_value(values, highest=highest)
    assert sorted(order) == list(range(len(values)))
    there = [place for place in order if values[place] is not None]
    assert [values[place] for place in order[len(there) :]] == [None] * (len(values) - len(there))
    assert order[len(there) :] == sorted(order[len(there) :])
    for kind in (str, (int, float)):
        placed = [place for place in there if isinstance(values[place], kind)]
        assert placed == sorted(placed, key=lambda place: values[place], reverse=highest)
        for one, other in itertools.pairwise(placed):
            assert values[one] != values[other] or one < other
