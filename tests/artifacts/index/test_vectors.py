"""Exact scores: those of plain NumPy on the float16 values, whatever the block, the order or the other rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.index import vectors as vectors_module
from artifacts.index.vectors import Vectors, best, fp16_view, map_vectors
from tests.artifacts.building import queries_like, unit_vectors


def write_vectors(path: Path, values: np.ndarray) -> Vectors:
    values.astype(np.float16).tofile(path)
    return Vectors(map_vectors(path, *values.shape))


def numpy_scores(values: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Scores of all rows, in float64."""
    return values.astype(np.float64) @ query.astype(np.float64)


def score_by_row(vectors: Vectors, query: np.ndarray, rows: np.ndarray) -> dict[int, float]:
    scores, ranked = vectors.score(query, rows, len(rows))
    return dict(zip(ranked.tolist(), scores.tolist(), strict=True))


@pytest.mark.parametrize("dim", [1, 3, 7, 16, 100, 513])
def test_scores_are_those_of_numpy(tmp_path: Path, dim: int):
    values = unit_vectors(300, dim)
    vectors, query = write_vectors(tmp_path / "v", values), unit_vectors(1, dim, seed=5)[0].astype(np.float32)
    scores, rows = vectors.score(query, np.arange(300), 300)
    np.testing.assert_allclose(scores, numpy_scores(values, query)[rows], atol=1e-5)
    assert sorted(rows) == list(range(300))
    assert (np.diff(scores) <= 0).all()


def test_scores_do_not_depend_on_other_rows_and_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    values = unit_vectors(500, 37)
    vectors, query = write_vectors(tmp_path / "v", values), queries_like(values, 1)[0]
    together = score_by_row(vectors, query, np.arange(500))
    monkeypatch.setattr(vectors_module, "BLOCK_ROWS", 7)
    in_blocks = score_by_row(vectors, query, np.arange(500))
    alone = {row: score_by_row(vectors, query, np.array([row]))[row] for row in range(500)}
    assert together == in_blocks == alone


@given(seed=st.integers(0, 2**32), k=st.integers(1, 60), rows=st.integers(1, 50), values=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_equal_scores_are_ordered_by_row(seed: int, k: int, rows: int, values: int):
    """Few different vectors, so that there are ties everywhere, also at the end."""
    rng = np.random.default_rng(seed)
    table = unit_vectors(values, 8)[rng.integers(0, values, rows)]
    query = unit_vectors(1, 8, seed=9)[0].astype(np.float32)
    _, best_rows = best(fp16_view(table), query, k)
    scores, order = best(fp16_view(table), query, rows)
    assert list(best_rows) == list(order[:k])
    assert list(order) == sorted(order, key=lambda row: (-scores[list(order).index(row)], row))
    np.testing.assert_allclose(scores, numpy_scores(table, query)[order], atol=1e-5)


@pytest.mark.parametrize("block", [3, 10, 1000])
def test_ties_at_the_end_do_not_depend_on_blocks(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch):
    """FAISS alone would drop row 0 here when it meets the better row 7."""
    monkeypatch.setattr(vectors_module, "BLOCK_ROWS", block)
    values = np.zeros((10, 4))
    values[:, 0], values[7, 0] = 0.5, 0.75
    vectors = write_vectors(tmp_path / "v", values)
    query = np.array([1, 0, 0, 0], np.float32)
    assert list(vectors.score(query, np.arange(10), 3)[1]) == [7, 0, 1]
    assert list(vectors.score(query, np.arange(10)[::-1].copy(), 3)[1]) == [7, 0, 1]


def test_score_returns_fewer_rows_than_requested_if_there_are_fewer(tmp_path: Path):
    vectors = write_vectors(tmp_path / "v", unit_vectors(4))
    scores, rows = vectors.score(np.ones(16, np.float32), np.array([3, 1]), 10)
    assert sorted(rows) == [1, 3]
    assert len(scores) == 2
    scores, rows = vectors.score(np.ones(16, np.float32), np.empty(0, np.int64), 10)
    assert (len(scores), len(rows)) == (0, 0)


@pytest.mark.parametrize("subset", [False, True])
def test_knn_is_brute_force(tmp_path: Path, subset: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vectors_module, "BLOCK_ROWS", 64)
    values = unit_vectors(400, 24)
    vectors, queries = write_vectors(tmp_path / "v", values), queries_like(values, 9)
    rows = np.arange(5, 400, 3) if subset else None
    searched = np.arange(400) if rows is None else rows
    all_scores, all_rows = vectors.knn(queries, 20, rows)
    for query, scores, nearest in zip(queries, all_scores, all_rows, strict=True):
        truth = numpy_scores(values[searched], query)
        np.testing.assert_allclose(scores, np.sort(truth)[::-1][:20], atol=1e-5)
        np.testing.assert_allclose(numpy_scores(values[nearest], query), scores, atol=1e-5)
        assert set(nearest) <= set(searched)


def test_knn_fills_up_with_minus_one(tmp_path: Path):
    vectors = write_vectors(tmp_path / "v", unit_vectors(3))
    scores, rows = vectors.knn(queries_like(unit_vectors(3), 2), 5)
    assert (rows[:, 3:] == -1).all()
    assert (scores[:, 3:] == np.finfo(np.float32).min).all()
    assert (np.sort(rows[:, :3]) == [0, 1, 2]).all()


def test_take_returns_stored_vectors_in_order(tmp_path: Path):
    values = unit_vectors(10)
    taken = write_vectors(tmp_path / "v", values).take(np.array([7, 2]))
    assert taken.dtype == np.float32
    assert (taken == values[[7, 2]]).all()


def test_an_empty_file_has_no_rows(tmp_path: Path):
    vectors = write_vectors(tmp_path / "v", np.empty((0, 16)))
    assert vectors.knn(np.ones((2, 16), np.float32), 3)[1].tolist() == [[-1] * 3] * 2


def test_stored_vectors_are_read_only(tmp_path: Path):
    vectors = write_vectors(tmp_path / "v", unit_vectors(3))
    with pytest.raises(ValueError, match="read-only"):
        vectors.parts[0][0] = 0
