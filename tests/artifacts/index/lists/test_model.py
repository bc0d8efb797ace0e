"""The lists to probe under a filter, by how many of the results they are expected to hold."""

from __future__ import annotations

import numpy as np
import pytest

from artifacts.index.lists.model import ListModel

RANDOM = np.random.default_rng(0)
DIM, LISTS, ROWS, PROBES = 64, 200, 150, 8
CENTROIDS = RANDOM.standard_normal((LISTS, DIM))
CENTROIDS /= np.linalg.norm(CENTROIDS, axis=1, keepdims=True)
#: Spread of the rows of each list: some are narrow, others wide.
SPREAD = RANDOM.uniform(0.2, 1.2, LISTS)
VECTORS = CENTROIDS[:, None] + RANDOM.standard_normal((LISTS, ROWS, DIM)) * (SPREAD / DIM**0.5)[:, None, None]
VECTORS /= np.linalg.norm(VECTORS, axis=2, keepdims=True)
MODEL = ListModel(np.linalg.norm(VECTORS.mean(axis=1), axis=1).astype(np.float32), DIM)
QUERIES = VECTORS[np.arange(40), 0] + RANDOM.standard_normal((40, DIM)) * 0.05
#: The breadth of rows that differ from their mean in all directions alike.
BREADTH = 6


def recall_and_probes(allowed: np.ndarray, *, breadth: int = BREADTH) -> tuple[float, float]:
    """Return the share of the best 50 allowed rows in the chosen lists, and how many lists these are.

    Args:
        allowed: bool[LISTS, ROWS].
    """
    holding = np.flatnonzero(allowed.any(axis=1))
    shares, probes = [], []
    for query in QUERIES:
        scores = np.where(allowed, VECTORS @ query, -9)
        best = np.argsort(-scores, axis=None)[:50] // ROWS
        positions = MODEL.choose(
            holding,
            (CENTROIDS[holding] @ query).astype(np.float32),
            allowed.sum(axis=1)[holding],
            wanted=50,
            breadth=breadth,
            limit=LISTS,
        )
        shares.append(np.isin(best, holding[positions]).mean())
        probes.append(len(positions))
    return float(np.mean(shares)), float(np.mean(probes))


def random_rows(share: float) -> np.ndarray:
    return RANDOM.random((LISTS, ROWS)) < share


def lists_from(first: int, count: int) -> np.ndarray:
    allowed = np.zeros((LISTS, ROWS), bool)
    allowed[first : first + count] = True
    return allowed


KINDS = {
    "all": lists_from(0, LISTS),
    "random": random_rows(0.1),
    "own": lists_from(0, 40),  # the queries are about these
    "unrelated": lists_from(100, 40),
    "unrelated and random": lists_from(100, 40) & random_rows(0.5),
    "unrelated or random": lists_from(100, 40) | random_rows(0.01),
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_breadth_finds_the_results_of_every_kind_of_filter(kind: str):
    recall, _ = recall_and_probes(KINDS[kind])
    assert recall > 0.9


def test_fewer_lists_are_probed_where_the_query_is_about_the_allowed_rows():
    probes = {kind: recall_and_probes(allowed)[1] for kind, allowed in KINDS.items()}
    assert probes["own"] < probes["unrelated"] / 2
    assert probes["all"] < probes["random"]


@pytest.mark.parametrize("kind", KINDS)
def test_wider_breadth_probes_more_lists_and_finds_more(kind: str):
    (narrow, few), (wide, many) = (recall_and_probes(KINDS[kind], breadth=breadth) for breadth in (2, 12))
    assert few < many
    assert narrow < wide


def choose(scores: list[float], allowed: list[int], **options: int) -> list[int]:
    lists = np.arange(len(scores))
    options = {"wanted": 10, "breadth": 8, "limit": 100} | options
    return MODEL.choose(lists, np.array(scores, np.float32), np.array(allowed), **options).tolist()


def test_far_list_with_many_rows_is_preferred_to_a_nearer_one_with_few():
    model = ListModel(np.full(2, 0.9, np.float32), DIM)
    order = model.choose(
        np.arange(2), np.array([0.55, 0.5], np.float32), np.array([1, 500]), wanted=10, breadth=8, limit=2
    )
    assert order.tolist()[0] == 1


def test_at_least_one_list_and_at_most_the_limit_are_chosen():
    assert choose([0.5], [1]) == [0]
    assert len(choose([0.5] * 50, [100] * 50, wanted=5000, limit=7)) == 7


@pytest.mark.parametrize("wanted", [1, 60, 10**6])
def test_lists_of_equal_rows_and_scores_are_taken_in_order(wanted: int):
    model = ListModel(np.full(6, 0.8, np.float32), DIM)
    order = model.choose(np.arange(6), np.full(6, 0.3, np.float32), np.full(6, 10), wanted, 8, 100)
    assert order.tolist() == list(range(len(order)))


def test_extreme_values_are_no_error():
    model = ListModel(np.array([1, 0, 0.5, 0.5], np.float32), DIM)
    with np.errstate(all="raise", under="ignore"):
        order = model.choose(
            np.arange(4), np.array([1, -1, 0.9, -0.9], np.float32), np.array([1, 10**8, 3, 7]), 100, 1, 100
        )
    assert len(set(order.tolist())) == len(order) >= 1
