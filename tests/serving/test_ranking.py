"""The mission's formula, and the cap on products of one category."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.settings import Settings
from serving.ranking import score, spread_categories

TODAY = datetime(2026, 11, 22, tzinfo=UTC)


def product(**signals: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("popularity_score", "conversion_rate", "avg_rating", "added_at"))
    return {**nothing, **signals}


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
    assert score(0.4, product(**signals), Settings(), TODAY) == pytest.approx(0.4 + added)


def test_weights_are_settings() -> None:
    settings = Settings(weight_popularity=1.0, weight_rating=0.0)
    assert score(0.0, product(popularity_score=0.5, avg_rating=5.0), settings, TODAY) == pytest.approx(0.5)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=60), st.integers(0, 6), st.sampled_from([(), ("a",)]))
def test_spreading_drops_nothing_and_caps_every_round(
    categories: list[str | None], cap: int, exempt: tuple[str, ...]
) -> None:
    order = spread_categories(categories, cap, exempt)
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
    assert spread_categories(["a"] * 9, 0) == list(range(9))
