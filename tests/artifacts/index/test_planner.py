"""The planner: which side of the crossover a filter is on; and that no plan changes what a filter means."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.index.params import IvfShape, SearchParams
from artifacts.index.planner import MAX_CANDIDATES, MAX_EXACT_ROWS, candidates_for, exact_is_cheaper, probes_for
from artifacts.products.filters import Condition, Filter
from artifacts.release.release import Release
from tests.artifacts.building import INDEXED, open_release, product_table, queries_like, unit_vectors, write_segment

SHAPE = IvfShape(rows=500_000, lists=2048, dim=512, code_size=64)
PARAMS = SearchParams(nprobe=8, rescore=4, filtered_probes=8, filtered_rescore=16)

# ── costs ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_thinner_the_lists_the_more_of_them_are_probed() -> None:
    probes = [probes_for(SHAPE, PARAMS, 500_000 // share, 2048) for share in (1, 2, 10, 100, 1000)]
    assert probes == [64, 64, 80, 800, 2048]
    # whole lists need no more than the gate's factor, however few they are
    assert probes_for(SHAPE, PARAMS, allowed=5000, useful=20) == 20
    assert probes_for(SHAPE, PARAMS, allowed=100_000, useful=400) == 64


@pytest.mark.parametrize("useful", [None, 30, 2048])
def test_there_is_one_crossover(useful: int | None) -> None:
    """Exact up to some number of rows, probing from there on."""
    counts = np.unique(np.geomspace(100, 500_000, 200).astype(int))
    exact = [
        exact_is_cheaper(SHAPE, PARAMS, 100, int(count), min(2048, int(count)) if useful is None else useful)
        for count in counts
    ]
    assert exact[0]
    assert not exact[-1]
    assert exact == sorted(exact, reverse=True)


def test_rows_that_would_all_be_candidates_are_scored() -> None:
    assert exact_is_cheaper(SHAPE, PARAMS, 100, 1600, 1)
    assert not exact_is_cheaper(SHAPE, SearchParams(1, 1, 1, 1), 1, MAX_EXACT_ROWS, 1)


def test_candidates_have_an_end() -> None:
    assert candidates_for(100, 16) == 1600
    assert candidates_for(50_000, 32) == MAX_CANDIDATES
    assert candidates_for(2 * MAX_CANDIDATES, 4) == 2 * MAX_CANDIDATES


def test_a_huge_index_is_never_read_row_by_row() -> None:
    huge = IvfShape(rows=100_000_000, lists=65_536, dim=512, code_size=64)
    deep = SearchParams(nprobe=1024, rescore=64, filtered_probes=64, filtered_rescore=64)
    assert exact_is_cheaper(huge, deep, 100, MAX_EXACT_ROWS, 65_536)
    assert not exact_is_cheaper(huge, deep, 100, MAX_EXACT_ROWS + 1, 65_536)


# ── plans ────────────────────────────────────────────────────────────────────────────────────────────────────────

ROWS = 3000
VECTORS = unit_vectors(ROWS, clusters=40)
RNG = np.random.default_rng(4)
#: The first ones have two pictures each, next to each other; a product has one price and one category.
FIRST = [row // 2 * 2 if row < 1000 else row for row in range(ROWS)]
PRODUCTS = [f"p{row}" for row in FIRST]
DRAWN = [None if RNG.random() < 0.1 else float(price) for price in RNG.integers(0, 1000, ROWS)]
PRICES = [DRAWN[row] for row in FIRST]
LOOKS = (VECTORS[:, :3].astype(float) > 0) @ (1, 2, 4)  # what looks alike is of one category
CATEGORIES = [f"c{int(LOOKS[row])}" for row in FIRST]
QUERIES = queries_like(VECTORS, 30)
#: Shallow, so that probing is worth its while in so small an index.
SHALLOW = SearchParams(nprobe=1, rescore=1, filtered_probes=1, filtered_rescore=1)

CONDITIONS = st.one_of(
    st.tuples(st.integers(0, 1000), st.integers(1, 1000)).map(
        lambda pair: Condition("price", minimum=float(pair[0]), below=float(pair[0] + pair[1]))
    ),
    st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=4, unique=True).map(
        lambda names: Condition("category", any_of=tuple(names))
    ),
    st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=4, unique=True).map(
        lambda names: Condition("category", none_of=tuple(names))
    ),
    st.booleans().map(lambda missing: Condition("price", missing=missing)),
)


def passes(row: int, conditions: Filter) -> bool:
    for each in conditions:
        value = PRICES[row] if each.column == "price" else CATEGORIES[row]
        if each.missing is not None and each.missing != (value is None):
            return False
        if each.any_of and value not in each.any_of:
            return False
        if value in each.none_of:
            return False
        if each.minimum is not None and (value is None or value < each.minimum or value >= each.below):
            return False
    return True


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Two segments; the second replaces some products of the first."""
    folders: list[Path] = []
    for name, rows in (("old", range(2600)), ("new", range(2400, ROWS))):
        here = list(rows)
        products = [PRODUCTS[row] for row in here]
        table = product_table(
            products,
            pictures=[place - products.index(each) for place, each in enumerate(products)],
            price=[PRICES[row] for row in here],
            category=[CATEGORIES[row] for row in here],
        )
        folders.append(tmp_path_factory.mktemp(name) / "s")
        write_segment(folders[-1], VECTORS[here], table, segment_id=name, settings=INDEXED)
    return open_release(*folders)


SEEN: Counter[str] = Counter()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    conditions=st.lists(CONDITIONS, max_size=3).map(tuple),
    number=st.integers(0, len(QUERIES) - 1),
    k=st.sampled_from([1, 5, 20, 100]),
    params=st.sampled_from([SHALLOW, SearchParams(), SHALLOW.deeper(4)]),
)
def test_results_are_allowed_in_order_of_exact_score_and_exact_where_the_plan_is(
    release: Release, conditions: Filter, number: int, k: int, params: SearchParams
) -> None:
    query = QUERIES[number]
    (hits,), plans = release.search(query[None, :], k, params, conditions)
    SEEN.update(plan.path for plan in plans)
    allowed = {PRODUCTS[row] for row in range(ROWS) if passes(row, conditions)}
    found = release.product_ids(hits)
    assert set(found) <= allowed
    assert len(found) == len(set(found)) == min(k, len(allowed))  # as many as asked for, while there are any
    assert release.count(conditions) == len(allowed)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    for hit, product_id in zip(hits, found, strict=True):
        row = hit.row + 2400 * hit.segment
        assert PRODUCTS[row] == product_id
        assert passes(row, conditions)
        assert hit.score == pytest.approx(float(VECTORS[row].astype(np.float64) @ query), abs=1e-5)
    truth = release.search(query[None, :], k, params, conditions, exact=True)[0][0]
    if all(plan.path in ("exact", "nothing") for plan in plans):
        assert hits == truth
    else:
        assert all(ours.score <= true.score + 1e-6 for ours, true in zip(hits, truth, strict=True))


def test_both_ways_were_taken(release: Release) -> None:
    """The property above says something of each path."""
    if not SEEN:  # it was not run before this
        test_results_are_allowed_in_order_of_exact_score_and_exact_where_the_plan_is(release)
    assert min(SEEN["exact"], SEEN["ivf"]) > 20


@settings(max_examples=40, deadline=None)
@given(
    conditions=st.lists(CONDITIONS, max_size=2).map(tuple),
    numbers=st.lists(st.integers(0, len(QUERIES) - 1), min_size=2, max_size=8),
    k=st.sampled_from([1, 20, 100]),
)
def test_an_answer_does_not_depend_on_who_else_asks(
    release: Release, conditions: Filter, numbers: list[int], k: int
) -> None:
    together = release.search(QUERIES[numbers], k, SHALLOW, conditions)[0]
    for number, hits in zip(numbers, together, strict=True):
        assert hits == release.search(QUERIES[number][None, :], k, SHALLOW, conditions)[0][0]
