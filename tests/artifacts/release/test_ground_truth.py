"""Ground truth: the results of exact searches, from one pass over the vectors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from artifacts.errors import QueryError
from artifacts.index.params import SearchParams
from artifacts.index.vectors import Vectors
from artifacts.release.ground_truth import ground_truth
from tests.artifacts.building import queries_like, unit_vectors
from tests.artifacts.release.release_building import FILTERS, Catalog

QUERIES = queries_like(unit_vectors(300, seed=3), 9)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of rows of each pass over all stored vectors."""
    read: list[int] = []
    blocks = Vectors.blocks

    def counted(self: Vectors, rows: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if rows is None:
            read.append(self.rows)
        yield from blocks(self, rows)

    monkeypatch.setattr(Vectors, "blocks", counted)
    return read


@pytest.mark.parametrize("k", [1, 20, 100])
def test_hits_are_those_of_exact_searches(catalog: Catalog, k: int) -> None:
    asked = [(QUERIES[: 9 - number], conditions) for number, conditions in enumerate(FILTERS.values())]
    for (queries, conditions), found in zip(asked, ground_truth(catalog.release, asked, k), strict=True):
        expected = catalog.release.search(queries, k, SearchParams(), conditions, exact=True)[0]
        assert found == expected
        passing = catalog.passing(conditions)
        for query, hits in zip(queries, found, strict=True):
            best = list(catalog.brute_force(query, passing).values())[:k]
            assert np.allclose([hit.score for hit in hits], best, atol=1e-5)


def test_vectors_are_read_once_for_all_queries_and_filters(catalog: Catalog, passes: list[int]) -> None:
    ground_truth(catalog.release, [(QUERIES, conditions) for conditions in FILTERS.values()], 20)
    assert passes == [catalog.release.searcher.vectors.rows]


def test_pass_is_repeated_for_queries_whose_rows_are_of_too_few_products(
    catalog: Catalog, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artifacts.release.ground_truth._PICTURES", 1)
    (found,) = ground_truth(catalog.release, [(QUERIES, ())], 100)
    assert found == catalog.release.search(QUERIES, 100, SearchParams(), exact=True)[0]
    assert len(passes) > 1


def test_nothing_is_read_where_nothing_is_asked(catalog: Catalog, passes: list[int]) -> None:
    assert ground_truth(catalog.release, [], 10) == []
    assert ground_truth(catalog.release, [(QUERIES[:2], FILTERS["no product"]), (QUERIES[:0], ())], 10) == [
        [[], []],
        [],
    ]
    assert passes == []


def test_query_without_a_direction_is_refused(catalog: Catalog) -> None:
    with pytest.raises(QueryError, match="all zeros"):
        ground_truth(catalog.release, [(np.zeros((1, QUERIES.shape[1]), np.float32), ())], 10)
