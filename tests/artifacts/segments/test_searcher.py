"""Searching the rows of a base: every path gives the same scores, filters hold, and enough rows are returned."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifacts.index import planner
from artifacts.index.params import MIN_TRAIN_ROWS, SearchParams
from artifacts.segments.search.candidates import Plan
from artifacts.segments.search.searcher import Searcher
from artifacts.segments.segment import Segment
from tests.artifacts.building import INDEXED, force_path, queries_like, unit_vectors, write_segment
from tests.artifacts.segments.segment_building import LAYOUTS, QUERIES, ROWS, VECTORS

DEEP = SearchParams(nprobe=64, rescore=8)


@pytest.fixture(params=["scan", "probe"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether allowed rows are scored one by one or found in the index."""
    force_path(monkeypatch, request.param)
    return request.param


def brute_force(query: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = VECTORS[rows].astype(np.float64) @ query.astype(np.float64)
    order = np.argsort(-scores, kind="stable")[:k]
    return scores[order], rows[order]


# ── scores ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_scores_are_those_of_numpy(searcher: Searcher):
    neighbors, _ = searcher.search(QUERIES, 50, DEEP)
    for query, nearest in zip(QUERIES, neighbors, strict=True):
        np.testing.assert_allclose(nearest.scores, VECTORS[nearest.rows].astype(float) @ query.astype(float), atol=1e-5)
        assert (np.diff(nearest.scores) <= 0).all()
        assert len(set(nearest.rows)) == 50


def test_all_paths_give_the_same_scores_to_the_last_bit(segments: dict[str, Segment], monkeypatch: pytest.MonkeyPatch):
    scores: dict[int, set[float]] = {}
    paths = set()

    def record(searcher: Searcher, **options: Any) -> None:
        neighbors, plan = searcher.search(QUERIES[:1], 200, DEEP, **options)
        paths.add(plan.path)
        for score, row in zip(neighbors[0].scores, neighbors[0].rows, strict=True):
            scores.setdefault(int(row), set()).add(float(score))

    for segment in segments.values():
        searcher = Searcher(segment)
        record(searcher)
        record(searcher, path="exact")
        for path in ("scan", "probe"):
            force_path(monkeypatch, path)
            record(searcher, row_filter=searcher.row_filter(np.arange(0, ROWS, 2)))
    assert paths == {"flat", "exact", "ivf", "hnsw"}
    assert len(scores) > 150
    assert all(len(row_scores) == 1 for row_scores in scores.values())


def test_results_do_not_depend_on_the_other_queries(searcher: Searcher):
    together, _ = searcher.search(QUERIES, 20, DEEP)
    for query, nearest in zip(QUERIES, together, strict=True):
        [alone], _ = searcher.search(query[None, :], 20, DEEP)
        assert list(alone.rows) == list(nearest.rows)
        assert list(alone.scores) == list(nearest.scores)


def test_threads_get_the_same_results_as_one(searcher: Searcher, path: str):
    filters = [np.arange(start, ROWS, 2 + start) for start in range(8)]

    def search(number: int) -> list[list[Any]]:
        neighbors, _ = searcher.search(QUERIES, 15, SearchParams(4, 4), searcher.row_filter(filters[number % 8]))
        return [[nearest.rows.tolist(), nearest.scores.tolist()] for nearest in neighbors]

    alone = [search(number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(search, range(48)))
    assert together == alone * 6


@pytest.mark.parametrize("filtered", [False, True])
def test_recall_is_high(searcher: Searcher, filtered: bool, monkeypatch: pytest.MonkeyPatch):
    force_path(monkeypatch, "probe")
    rows = np.arange(1, ROWS, 3) if filtered else np.arange(ROWS)
    queries = queries_like(VECTORS, 60, seed=8)
    neighbors, _ = searcher.search(queries, 50, DEEP, searcher.row_filter(rows) if filtered else None)
    hits = [
        len(set(nearest.rows) & set(brute_force(query, rows, 50)[1]))
        for query, nearest in zip(queries, neighbors, strict=True)
    ]
    assert sum(hits) / (50 * len(queries)) >= 0.95


@pytest.mark.parametrize("queries", [1, 4, 5, 40])
@pytest.mark.parametrize("filtered", [False, True])
def test_exact_search_is_brute_force(searcher: Searcher, queries: int, filtered: bool):
    rows = np.arange(0, ROWS, 5) if filtered else np.arange(ROWS)
    vectors = queries_like(VECTORS, queries, seed=4)
    row_filter = searcher.row_filter(rows) if filtered else None
    neighbors, plan = searcher.search(vectors, 30, DEEP, row_filter, path="exact")
    assert plan.path == "exact"
    for query, nearest in zip(vectors, neighbors, strict=True):
        scores, _ = brute_force(query, rows, 30)
        np.testing.assert_allclose(nearest.scores, scores, atol=1e-5)
        assert set(nearest.rows) <= set(rows)


# ── filters and numbers of rows ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("share", [2, 7, 100])
def test_filtered_search_returns_enough_allowed_rows(segment: Segment, path: str, share: int):
    searcher, codec = Searcher(segment), segment.info.index.codec
    rows = np.arange(3, ROWS, share)
    neighbors, plan = searcher.search(QUERIES, 40, SearchParams(2, 1), searcher.row_filter(rows))
    assert plan.allowed == len(rows)
    for nearest in neighbors:
        assert set(nearest.rows) <= set(rows)
        assert len(nearest.rows) == min(40, len(rows))
    assert plan.path == ("exact" if path == "scan" else {"flat": "flat", "hnsw": "hnsw"}.get(codec, "ivf"))


def test_plan_says_that_a_walk_ended_early(segments: dict[str, Segment], monkeypatch: pytest.MonkeyPatch):
    """A walk that keeps only rows that are not allowed finds none, and all allowed rows are scored."""
    force_path(monkeypatch, "probe")
    searcher = Searcher(segments["hnsw"])
    far = np.sort(np.argsort(VECTORS.astype(float) @ QUERIES[0])[:500])
    near_them = VECTORS[far[7]].astype(np.float32)
    params = SearchParams(nprobe=20, filtered_probes=1)
    [nearest], plan = searcher.search(QUERIES[:1], 20, params, searcher.row_filter(far))
    assert nearest.rows.tolist() == brute_force(QUERIES[0], far, 20)[1].tolist()
    assert plan == Plan("exact", allowed=500, probes=0, candidates=500)
    _, walked = searcher.search(near_them[None], 20, params, searcher.row_filter(far))
    assert (walked.path, walked.probes) == ("hnsw", 60)
    assert 20 <= walked.candidates < 40
    _, both = searcher.search(np.stack([QUERIES[0], near_them]), 20, params, searcher.row_filter(far))
    assert both == Plan("hnsw", allowed=500, probes=60, candidates=500 + walked.candidates)


@pytest.mark.parametrize("rows", [[], [7], [0, ROWS - 1]])
@pytest.mark.parametrize("k", [1, 5, 2 * ROWS])
def test_few_allowed_rows_are_all_found(searcher: Searcher, path: str, rows: list[int], k: int):
    allowed = np.array(rows, np.int64)
    neighbors, _ = searcher.search(QUERIES[:3], k, SearchParams(1, 1), searcher.row_filter(allowed))
    for query, nearest in zip(QUERIES, neighbors, strict=False):
        assert list(nearest.rows) == list(brute_force(query, allowed, k)[1])


def test_all_rows_are_returned_if_more_are_requested(searcher: Searcher):
    neighbors, _ = searcher.search(QUERIES[:2], 10 * ROWS, SearchParams(1, 1))
    assert all(sorted(nearest.rows) == list(range(ROWS)) for nearest in neighbors)


@pytest.mark.parametrize("k", [0, -1])
def test_no_rows_are_returned_if_none_are_requested(searcher: Searcher, k: int):
    neighbors, plan = searcher.search(QUERIES[:2], k, DEEP)
    assert [len(nearest.rows) for nearest in neighbors] == [0, 0]
    assert plan.path == "nothing"


@pytest.mark.parametrize("filtered", [False, True])
def test_a_search_without_queries_has_no_results(searcher: Searcher, path: str, filtered: bool):
    row_filter = searcher.row_filter(np.arange(0, ROWS, 2)) if filtered else None
    assert searcher.search(np.empty((0, VECTORS.shape[1]), np.float32), 5, DEEP, row_filter)[0] == []


@pytest.mark.parametrize("maximum", [10, 10**6])
def test_row_filter_holds_the_allowed_rows(segment: Segment, maximum: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planner, "MAX_EXACT_ROWS", maximum)
    rows = np.setdiff1d(np.arange(0, ROWS, 3), np.arange(0, ROWS, 9))
    searcher = Searcher(segment)
    row_filter = searcher.row_filter(rows)
    assert row_filter.rows.tolist() == rows.tolist()
    assert row_filter.count == len(row_filter.rows)
    assert [row in row_filter for row in (0, 3, 4, 9)] == [False, True, False, False]
    assert (row_filter.row_ids is None) == (maximum == 10)
    if row_filter.rows_per_list is not None and segment.lists is not None:
        assert row_filter.rows_per_list.sum() == row_filter.count
        expected = np.bincount(segment.lists.gather(row_filter.rows), minlength=segment.info.index.lists)
        assert (row_filter.rows_per_list == expected).all()


# ── odd contents ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_segment_may_have_no_rows(tmp_path: Path, layout: str):
    write_segment(tmp_path / "s", unit_vectors(0), settings=INDEXED.model_copy(update=LAYOUTS[layout]))
    segment = Segment(tmp_path / "s")
    neighbors, plan = Searcher(segment).search(queries_like(unit_vectors(3), 2), 5, DEEP)
    assert [len(nearest.rows) for nearest in neighbors] == [0, 0]
    assert plan.path == "nothing"
    assert len(segment.database.base_rows_of(["p1"])) == 0
    assert segment.product_ids(np.empty(0, np.int64)) == []
    segment.close()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rows", [1, 100, 256, 257])
def test_segments_of_few_rows_are_flat(tmp_path: Path, layout: str, rows: int):
    """Fewer rows than lists, or than a product quantizer is trained on, are no error."""
    vectors = unit_vectors(rows)
    info = write_segment(tmp_path / "s", vectors, settings=INDEXED.model_copy(update=LAYOUTS[layout]))
    assert (info.index.codec == "flat") == (rows <= MIN_TRAIN_ROWS or layout == "flat")
    segment = Segment(tmp_path / "s")
    [nearest], _ = Searcher(segment).search(vectors[:1].astype(np.float32), rows + 5, DEEP)
    assert sorted(nearest.rows) == list(range(rows))
    assert nearest.rows[0] == 0
    segment.close()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_identical_vectors_are_all_found(tmp_path: Path, layout: str, path: str):
    vectors = np.repeat(unit_vectors(1), 700, axis=0)
    write_segment(tmp_path / "s", vectors, settings=INDEXED.model_copy(update=LAYOUTS[layout]))
    segment = Segment(tmp_path / "s")
    query, params = vectors[:1].astype(np.float32), SearchParams(1, 1)
    [nearest], _ = Searcher(segment).search(query, 700, params, Searcher(segment).row_filter(np.arange(700)))
    assert nearest.rows.tolist() == list(range(700))
    [few], _ = Searcher(segment).search(query, 10, params, Searcher(segment).row_filter(np.arange(50, 700)))
    assert len(few.rows) == 10
    assert set(few.scores) == {nearest.scores[0]}
    if path == "scan" or layout == "flat":
        assert few.rows.tolist() == list(range(50, 60))
    segment.close()
