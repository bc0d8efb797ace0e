"""Searching a release: a base and its delta as one, each product once, deleted rows never."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifacts.errors import QueryError
from artifacts.index.params import SearchParams
from tests.artifacts.building import (
    DIM,
    INDEXED,
    open_release,
    product_table,
    queries_like,
    unit_vectors,
    write_delta,
    write_segment,
)
from tests.artifacts.release.release_building import DEEP, FILTERS, Catalog


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("k", [1, 20, 1000])
def test_search_finds_the_best_products_that_pass(catalog: Catalog, path: str, name: str, k: int):
    conditions = FILTERS[name]
    passing = catalog.passing(conditions)
    queries = unit_vectors(4, seed=99).astype(np.float32)
    results, _ = catalog.release.search(queries, k, DEEP, conditions)
    for query, hits in zip(queries, results, strict=True):
        truth = catalog.brute_force(query, passing)
        assert len(hits) == min(k, len(passing))
        ids = catalog.release.product_ids(hits)
        assert len(set(ids)) == len(hits)
        assert set(ids) <= set(truth)
        for hit, product_id in zip(hits, ids, strict=True):
            assert (hit.row >= catalog.release.base.info.rows) == catalog.products[product_id].in_delta
            assert hit.score == pytest.approx(truth[product_id], abs=1e-5)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        lost = sum(list(truth.values())[: len(hits)]) - sum(hit.score for hit in hits)
        assert lost <= 0.02 * len(hits)  # an approximate search may miss a few of the best


@pytest.mark.parametrize("name", FILTERS)
def test_exact_search_is_brute_force(catalog: Catalog, path: str, name: str):
    query = unit_vectors(1, seed=98).astype(np.float32)
    hits = catalog.release.search(query, 50, SearchParams(1, 1), FILTERS[name], exact=True)[0][0]
    truth = catalog.brute_force(query[0], catalog.passing(FILTERS[name]))
    assert catalog.release.product_ids(hits) == list(truth)[:50]


def test_excluded_products_are_replaced_by_the_next(catalog: Catalog, path: str):
    query = unit_vectors(1, seed=97).astype(np.float32)
    all_hits = catalog.release.search(query, 30, DEEP, exact=True)[0][0]
    excluded = [*catalog.release.product_ids(all_hits[:10]), "unknown"]
    hits = catalog.release.search(query, 20, DEEP, excluded=[excluded], exact=True)[0][0]
    assert hits == all_hits[10:]
    for k in (20, 1000):
        hits = catalog.release.search(query, k, DEEP, FILTERS["category"], excluded=[excluded])[0][0]
        assert not set(catalog.release.product_ids(hits)) & set(excluded)
        assert len(hits) == min(k, len(catalog.passing(FILTERS["category"], excluded)))


def test_all_products_can_be_excluded(catalog: Catalog):
    assert catalog.release.search(np.eye(1, DIM), 5, DEEP, excluded=[set(catalog.products)])[0] == [[]]


@pytest.mark.parametrize("k", [0, -3])
def test_no_hits_are_returned_if_none_are_requested(catalog: Catalog, k: int):
    assert catalog.release.search(np.eye(2, DIM), k, DEEP, excluded=[["p1", "p301"]] * 2)[0] == [[], []]


def test_a_search_without_queries_has_no_results(catalog: Catalog, path: str):
    assert catalog.release.search(np.empty((0, DIM)), 5, DEEP)[0] == []
    assert catalog.release.search(np.empty((0, DIM)), 5, DEEP, FILTERS["category"])[0] == []


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(DIM),
        np.full(DIM, np.nan),
        np.r_[np.inf, np.zeros(DIM - 1)],
        np.ones(DIM - 1),
        np.ones(DIM + 1),
        np.ones(0),
    ],
)
def test_vectors_that_faiss_cannot_search_are_refused(catalog: Catalog, vector: np.ndarray):
    good = np.ones_like(vector)
    for queries in ([vector], [good, vector]):
        with pytest.raises(QueryError) as caught:
            catalog.release.search(np.array(queries), 5, DEEP)
        assert caught.value.field == "vector"


def test_a_longer_search_begins_with_the_hits_of_a_shorter_one(catalog: Catalog, path: str):
    """Pages fit together, with exact search."""
    query = unit_vectors(1, seed=96).astype(np.float32)
    hits = catalog.release.search(query, 60, DEEP, exact=True)[0][0]
    for k in (1, 7, 20, 59):
        assert catalog.release.search(query, k, DEEP, exact=True)[0][0] == hits[:k]


def test_ties_are_ordered_by_row(tmp_path: Path):
    """The same picture belongs to many products, of the base and of the delta; a better one comes late."""
    picture, better = unit_vectors(2, seed=5)
    vectors = np.repeat(picture[None, :], 40, axis=0)
    vectors[35] = better
    write_segment(tmp_path / "0", vectors, product_table([f"p{i}" for i in range(40)]))
    write_delta(tmp_path / "1", tmp_path / "0", vectors, product_table([f"p{i}" for i in range(40, 80)]))
    release = open_release(tmp_path / "0", tmp_path / "1")
    query = (picture + better)[None, :].astype(np.float32) + better
    order = release.product_ids(release.search(query, 80, DEEP)[0][0])
    assert order == ["p35", "p75", *(f"p{i}" for i in range(80) if i not in (35, 75))]
    for k in range(1, 80):
        for exact in (False, True):
            hits = release.search(query, k, DEEP, exact=exact)[0][0]
            assert release.product_ids(hits) == order[:k]
    release.close()


def test_many_pictures_of_one_product_do_not_crowd_out_others(tmp_path: Path):
    """300 pictures of one product are all nearer than any other product's."""
    near = unit_vectors(1, seed=3)[0]
    vectors = np.concatenate([np.repeat(near[None, :], 300, axis=0), unit_vectors(30, seed=4)])
    ids = ["crowd"] * 300 + [f"p{number}" for number in range(30)]
    pictures = [*range(300), *[0] * 30]
    write_segment(tmp_path / "s", vectors, product_table(ids, pictures=pictures), settings=INDEXED)
    release = open_release(tmp_path / "s")
    hits = release.search(near[None, :].astype(np.float32), 20, SearchParams(2, 1))[0][0]
    assert len(hits) == 20
    assert release.product_ids(hits)[0] == "crowd"
    assert hits[0].row == 0
    assert release.count(()) == 31
    release.close()


def test_a_query_near_a_stored_vector_finds_its_product(catalog: Catalog):
    product = catalog.products["p450"]
    hits = catalog.release.search(queries_like(np.array(product.vectors), 1), 3, DEEP)[0][0]
    assert catalog.release.product_ids(hits)[0] == "p450"


def test_threads_get_the_same_answers_as_one(catalog: Catalog, path: str):
    queries = unit_vectors(2, seed=95).astype(np.float32)
    conditions = list(FILTERS.values())

    def answers(release: Any, number: int) -> Any:
        filtered = conditions[number % len(conditions)]
        return release.search(queries, 10, DEEP, filtered)[0], release.count(filtered)

    alone = [answers(catalog.release, number) for number in range(8)]
    fresh = open_release(*catalog.folders)  # no filter is cached yet
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: answers(fresh, number), [*range(8)] * 4)) == alone * 4
    fresh.close()
