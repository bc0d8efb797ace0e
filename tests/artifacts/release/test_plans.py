"""Plans: a filter means the same whichever way it is searched."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.index.params import SearchParams
from artifacts.products.filters import Condition, Filter
from artifacts.release.release import Release
from tests.artifacts.building import (
    INDEXED,
    open_release,
    product_table,
    queries_like,
    unit_vectors,
    write_delta,
    write_segment,
)

ROWS = 3000
VECTORS = unit_vectors(ROWS, clusters=40)
RNG = np.random.default_rng(4)
#: The first products have two pictures each, next to each other; a product has one price and one category.
FIRST_ROW = [row // 2 * 2 if row < 1000 else row for row in range(ROWS)]
PRODUCTS = [f"p{row}" for row in FIRST_ROW]
DRAWN_PRICES = [None if RNG.random() < 0.1 else float(price) for price in RNG.integers(0, 1000, ROWS)]
PRICES = [DRAWN_PRICES[row] for row in FIRST_ROW]
OCTANTS = (VECTORS[:, :3].astype(float) > 0) @ (1, 2, 4)  # similar pictures are of one category
CATEGORIES = [f"c{int(OCTANTS[row])}" for row in FIRST_ROW]
QUERIES = queries_like(VECTORS, 30)
#: So shallow that probing is cheaper even in so small an index.
SHALLOW = SearchParams(nprobe=1, rescore=1, filtered_probes=1, filtered_rescore=1, breadth=1)
#: Products from this row on are in the delta; those up to BASE_ROWS are in the base too, with the same pictures.
DELTA_FROM, BASE_ROWS = 2400, 2600

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
    """What a filter means, in plain Python."""
    for condition in conditions:
        value = PRICES[row] if condition.column == "price" else CATEGORIES[row]
        if condition.missing is not None and condition.missing != (value is None):
            return False
        if condition.any_of and value not in condition.any_of:
            return False
        if value in condition.none_of:
            return False
        if condition.minimum is not None and (value is None or value < condition.minimum or value >= condition.below):
            return False
    return True


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A base, and a delta that replaces some of its products and adds others."""
    folder = tmp_path_factory.mktemp("release")
    folders = [folder / "base", folder / "delta"]
    for path, rows in zip(folders, (range(BASE_ROWS), range(DELTA_FROM, ROWS)), strict=True):
        products = [PRODUCTS[row] for row in rows]
        table = product_table(
            products,
            pictures=[index - products.index(product_id) for index, product_id in enumerate(products)],
            price=[PRICES[row] for row in rows],
            category=[CATEGORIES[row] for row in rows],
        )
        if path == folders[0]:
            write_segment(path, VECTORS[list(rows)], table, segment_id="base", settings=INDEXED)
        else:
            write_delta(path, folders[0], VECTORS[list(rows)], table)
    return open_release(*folders)


#: How often each path was taken, over all examples.
PATHS: Counter[str] = Counter()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    conditions=st.lists(CONDITIONS, max_size=3).map(tuple),
    number=st.integers(0, len(QUERIES) - 1),
    k=st.sampled_from([1, 5, 20, 100]),
    params=st.sampled_from([SHALLOW, SearchParams(), SHALLOW.deeper(4)]),
)
def test_hits_pass_the_filter_in_order_of_their_exact_scores(
    release: Release, conditions: Filter, number: int, k: int, params: SearchParams
) -> None:
    query = QUERIES[number]
    (hits,), plan = release.search(query[None, :], k, params, conditions)
    PATHS[plan.path] += 1
    allowed = {PRODUCTS[row] for row in range(ROWS) if passes(row, conditions)}
    product_ids = release.product_ids(hits)
    assert set(product_ids) <= allowed
    assert len(product_ids) == len(set(product_ids)) == min(k, len(allowed))
    assert release.count(conditions) == len(allowed)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    for hit, product_id in zip(hits, product_ids, strict=True):
        row = hit.row if hit.row < BASE_ROWS else hit.row - BASE_ROWS + DELTA_FROM
        assert PRODUCTS[row] == product_id
        assert passes(row, conditions)
        assert hit.score == pytest.approx(float(VECTORS[row].astype(np.float64) @ query), abs=1e-5)
    truth = release.search(query[None, :], k, params, conditions, exact=True)[0][0]
    if plan.path in ("exact", "nothing"):
        assert hits == truth
    else:
        assert all(hit.score <= best.score + 1e-6 for hit, best in zip(hits, truth, strict=True))


def test_the_examples_take_both_paths(release: Release) -> None:
    if not PATHS:  # the property above has not run before
        test_hits_pass_the_filter_in_order_of_their_exact_scores(release)
    assert min(PATHS["exact"], PATHS["ivf"]) > 20


@settings(max_examples=40, deadline=None)
@given(
    conditions=st.lists(CONDITIONS, max_size=2).map(tuple),
    numbers=st.lists(st.integers(0, len(QUERIES) - 1), min_size=2, max_size=8),
    k=st.sampled_from([1, 20, 100]),
)
def test_hits_do_not_depend_on_the_other_queries(
    release: Release, conditions: Filter, numbers: list[int], k: int
) -> None:
    together = release.search(QUERIES[numbers], k, SHALLOW, conditions)[0]
    for number, hits in zip(numbers, together, strict=True):
        assert hits == release.search(QUERIES[number][None, :], k, SHALLOW, conditions)[0][0]
