"""Searching a base together with its delta: many deleted rows near the query, and a base without rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from artifacts.index import build
from artifacts.index import params as params_module
from artifacts.index.params import SearchParams
from artifacts.segments.index_writer import fill_index
from artifacts.segments.info import QUANTIZER_FILE, SegmentInfo
from artifacts.segments.rows_writer import RowsWriter
from artifacts.segments.search.searcher import Searcher
from artifacts.segments.segment import Segment
from tests.artifacts.building import DIM, ENCODER, INDEXED, product_table, unit_vectors, write_delta, write_segment

K = 10


def recall(searcher: Searcher, queries: np.ndarray, params: SearchParams) -> float:
    found, plan = searcher.search(queries, K, params)
    assert plan.path == "ivf"
    exact, _ = searcher.search(queries, K, params, path="exact")
    return float(np.mean([len({*a.rows} & {*b.rows}) / K for a, b in zip(found, exact, strict=True)]))


def test_deleted_neighbours_do_not_lower_recall(tmp_path: Path):
    """Of the cluster that the queries come from, nine rows of ten are deleted, and of the whole base few."""
    rng = np.random.default_rng(5)
    rows, clusters, dim = 6000, 12, 64
    centres = rng.standard_normal((clusters, dim))
    cluster = rng.integers(0, clusters, rows)
    vectors = centres[cluster] + 0.7 * rng.standard_normal((rows, dim))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    deleted = np.flatnonzero((cluster == 0) & (rng.random(rows) < 0.9))
    queries = (centres[0] + 0.7 * rng.standard_normal((100, dim))).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)

    write_segment(tmp_path / "base", vectors, settings=INDEXED)
    write_delta(tmp_path / "delta", tmp_path / "base", deleted=[f"p{row}" for row in deleted])
    kept = np.setdiff1d(np.arange(rows), deleted)
    write_segment(tmp_path / "without", vectors[kept], settings=INDEXED)
    base, without = Segment(tmp_path / "base"), Segment(tmp_path / "without")
    delta = Segment(tmp_path / "delta", base)
    params = SearchParams(nprobe=32, rescore=4)
    expected = recall(Searcher(without), queries, params)
    assert recall(Searcher(base, delta), queries, params) >= expected - 0.01
    for segment in (delta, base, without):
        segment.close()


def test_delta_shares_the_graph_over_its_base_centroids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(params_module, "GRAPH_LISTS", 64)
    vectors = unit_vectors(1500, clusters=40)
    info = write_segment(tmp_path / "base", vectors[:1000], settings=INDEXED)
    assert "_HNSW32" in info.index.factory
    products = product_table([f"new{row}" for row in range(500)])
    write_delta(tmp_path / "delta", tmp_path / "base", vectors[1000:], products, deleted=["p1", "p2"])
    base = Segment(tmp_path / "base")
    delta = Segment(tmp_path / "delta", base)
    assert delta.info.index.factory == info.index.factory
    queries = vectors[::15].astype(np.float32)
    assert recall(Searcher(base, delta), queries, SearchParams(nprobe=64, rescore=8)) >= 0.95
    for segment in (delta, base):
        segment.close()


@pytest.fixture
def searcher_without_base_rows(tmp_path: Path) -> Searcher:
    """A trained base whose products were all deleted before it was compacted, and a delta with 500 rows."""
    info = write_segment(tmp_path / "trained", unit_vectors(600), settings=INDEXED)
    trained = Segment(tmp_path / "trained")
    schema = trained.products.table.schema
    trained.close()
    writer = RowsWriter(tmp_path / "base", DIM, schema)
    writer.close()
    writer.write_database()
    shutil.copyfile(tmp_path / "trained" / QUANTIZER_FILE, writer.folder / QUANTIZER_FILE)
    quantizer = build.read(writer.folder / QUANTIZER_FILE)
    index = fill_index(writer.parts(), quantizer, info.index)
    writer.seal(
        SegmentInfo(id="base", rows=0, products=0, max_pictures=0, dim=DIM, encoder_id=str(ENCODER["id"]), index=index)
    )
    ids = [f"p{row}" for row in range(500)]
    write_delta(
        tmp_path / "delta",
        tmp_path / "base",
        unit_vectors(500, seed=3),
        product_table(ids, price=[float(row) for row in range(500)]),
    )
    base = Segment(tmp_path / "base")
    return Searcher(base, Segment(tmp_path / "delta", base))


@pytest.mark.parametrize("step", [None, 1, 7])
def test_delta_of_a_base_without_rows_is_searched(searcher_without_base_rows: Searcher, step: int | None):
    """With and without a filter, which lets every `step`-th row pass."""
    searcher = searcher_without_base_rows
    allowed = np.arange(0, 500, step or 1)
    vectors = unit_vectors(500, seed=3)
    queries = vectors[[0, 7, 14]].astype(np.float32)
    row_filter = None if step is None else searcher.changed(searcher.row_filter(np.empty(0, np.int64)), allowed)
    neighbors, plan = searcher.search(queries, K, SearchParams(nprobe=64, rescore=8), row_filter, path="ivf")
    assert (plan.path, plan.allowed) == ("ivf", len(allowed))
    for query, nearest in zip(queries, neighbors, strict=True):
        scores = vectors[allowed].astype(float) @ query.astype(float)
        np.testing.assert_allclose(nearest.scores, np.sort(scores)[::-1][:K], atol=1e-5)
        assert set(nearest.rows) <= set(allowed)
