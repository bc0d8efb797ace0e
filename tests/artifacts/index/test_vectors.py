"""Exact scores: those of plain numpy on the float16 values, whatever the block, the order or the company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.index import vectors as module
from artifacts.index.vectors import Vectors, best, fp16_view
from tests.artifacts.building import queries_like, unit_vectors


def stored(path: Path, values: np.ndarray) -> Vectors:
    values.astype(np.float16).tofile(path)
    return Vectors(path, *values.shape)


def plain(values: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Scores of all rows, in float64."""
    return values.astype(np.float64) @ query.astype(np.float64)


@pytest.mark.parametrize("dim", [1, 3, 7, 16, 100, 513])
def test_scores_are_those_of_numpy(tmp_path: Path, dim: int):
    values = unit_vectors(300, dim)
    vectors, query = stored(tmp_path / "v", values), unit_vectors(1, dim, seed=5)[0].astype(np.float32)
    scores, rows = vectors.score(query, np.arange(300), 300)
    np.testing.assert_allclose(scores, plain(values, query)[rows], atol=1e-5)
    assert sorted(rows) == list(range(300))
    assert (np.diff(scores) <= 0).all()


def test_a_score_does_not_depend_on_the_company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    values = unit_vectors(500, 37)
    vectors, query = stored(tmp_path / "v", values), queries_like(values, 1)[0]
    together = dict(zip(*reversed(vectors.score(query, np.arange(500), 500)), strict=True))
    monkeypatch.setattr(module, "BLOCK_ROWS", 7)
    in_blocks = dict(zip(*reversed(vectors.score(query, np.arange(500), 500)), strict=True))
    alone = {row: vectors.score(query, np.array([row]), 1)[0][0] for row in range(500)}
    assert together == in_blocks == alone


@given(seed=st.integers(0, 2**32), k=st.integers(1, 60), rows=st.integers(1, 50), values=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_equal_scores_come_by_ascending_row(seed: int, k: int, rows: int, values: int):
    """Few different vectors, so that ties are everywhere, at the last place too."""
    rng = np.random.default_rng(seed)
    table = unit_vectors(values, 8)[rng.integers(0, values, rows)]
    query = unit_vectors(1, 8, seed=9)[0].astype(np.float32)
    _, found = best(fp16_view(table), query, k)
    everything, order = best(fp16_view(table), query, rows)
    assert list(found) == list(order[:k])
    assert list(order) == sorted(order, key=lambda row: (-everything[list(order).index(row)], row))
    np.testing.assert_allclose(everything, plain(table, query)[order], atol=1e-5)


@pytest.mark.parametrize("block", [3, 10, 1000])
def test_ties_at_the_last_place_do_not_depend_on_blocks(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch):
    """FAISS alone would drop row 0 here when the better row 7 comes."""
    monkeypatch.setattr(module, "BLOCK_ROWS", block)
    values = np.zeros((10, 4))
    values[:, 0], values[7, 0] = 0.5, 0.75
    vectors = stored(tmp_path / "v", values)
    query = np.array([1, 0, 0, 0], np.float32)
    assert list(vectors.score(query, np.arange(10), 3)[1]) == [7, 0, 1]
    assert list(vectors.score(query, np.arange(10)[::-1].copy(), 3)[1]) == [7, 0, 1]


def test_more_wanted_than_there_are(tmp_path: Path):
    vectors = stored(tmp_path / "v", unit_vectors(4))
    scores, rows = vectors.score(np.ones(16, np.float32), np.array([3, 1]), 10)
    assert sorted(rows) == [1, 3]
    assert len(scores) == 2
    scores, rows = vectors.score(np.ones(16, np.float32), np.empty(0, np.int64), 10)
    assert (len(scores), len(rows)) == (0, 0)


@pytest.mark.parametrize("subset", [False, True])
def test_knn_is_brute_force(tmp_path: Path, subset: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 64)
    values = unit_vectors(400, 24)
    vectors, queries = stored(tmp_path / "v", values), queries_like(values, 9)
    rows = np.arange(5, 400, 3) if subset else None
    chosen = np.arange(400) if rows is None else rows
    scores, found = vectors.knn(queries, 20, rows)
    for query, ours, ids in zip(queries, scores, found, strict=True):
        truth = plain(values[chosen], query)
        np.testing.assert_allclose(ours, np.sort(truth)[::-1][:20], atol=1e-5)
        np.testing.assert_allclose(plain(values[ids], query), ours, atol=1e-5)
        assert set(ids) <= set(chosen)


def test_knn_with_fewer_rows_than_wanted(tmp_path: Path):
    vectors = stored(tmp_path / "v", unit_vectors(3))
    scores, rows = vectors.knn(queries_like(unit_vectors(3), 2), 5)
    assert (rows[:, 3:] == -1).all()
    assert (scores[:, 3:] == np.finfo(np.float32).min).all()
    assert (np.sort(rows[:, :3]) == [0, 1, 2]).all()


def test_take(tmp_path: Path):
    values = unit_vectors(10)
    taken = stored(tmp_path / "v", values).take(np.array([7, 2]))
    assert taken.dtype == np.float32
    assert (taken == values[[7, 2]]).all()


def test_no_rows(tmp_path: Path):
    vectors = stored(tmp_path / "v", np.empty((0, 16)))
    assert vectors.knn(np.ones((2, 16), np.float32), 3)[1].tolist() == [[-1] * 3] * 2


def test_the_file_cannot_be_written_through_it(tmp_path: Path):
    vectors = stored(tmp_path / "v", unit_vectors(3))
    with pytest.raises(ValueError, match="read-only"):
        vectors.array[0] = 0
