"""Sums of terms are fitted to measurements."""

from __future__ import annotations

import numpy as np
import pytest

from artifacts.errors import InputError
from jobs.sizing.costs import Cost


def terms(case: tuple[float, float]) -> list[float]:
    return [1, *case]


CASES = [(1.0, 5.0), (2.0, 1.0), (7.0, 3.0), (4.0, 9.0)]


def test_cost_is_recovered_with_the_part_that_is_known() -> None:
    cost = Cost("it", terms, [((a, b), 2 + 3 * a + 0.5 * b + a * b) for a, b in CASES], lambda case: case[0] * case[1])
    assert cost((100, 200)) == pytest.approx(2 + 300 + 100 + 20_000)
    assert cost.shares((100, 200)) == pytest.approx([2, 300, 100])


def test_no_term_is_negative_however_noisy_the_measurements() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        cost = Cost("it", terms, [(case, random.uniform(0.3, 3) * sum(case)) for case in CASES])
        assert (cost.shares((3.0, 3.0)) >= 0).all()


def test_term_that_was_never_measured_is_refused_where_it_counts() -> None:
    cost = Cost("a search", terms, [((a, 0.0), 2 * a) for a, _ in CASES])
    assert cost((10, 0)) == pytest.approx(20)
    with pytest.raises(InputError, match="a search: no measurement tells"):
        cost((10, 1))
