"""Rounded centroids and a graph over centroids find the lists that scoring all centroids finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest

from artifacts.index import build, params
from artifacts.index.lists.coarse import RoundedCentroids, has_graph
from artifacts.index.lists.probing import AllowedRows
from tests.artifacts.building import queries_like, unit_vectors
from tests.artifacts.index.ivf_building import CODECS, build_index

VECTORS = unit_vectors(3000, 32, clusters=60)
QUERIES = queries_like(VECTORS, 40)
LISTS = 128


@pytest.fixture
def from_few_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(params, "GRAPH_LISTS", LISTS)


@pytest.mark.parametrize("codec", CODECS)
def test_graph_gives_the_candidates_of_all_centroids(
    tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat, flat_lists = build_index(tmp_path, VECTORS, codec, lists=LISTS)
    monkeypatch.setattr(params, "GRAPH_LISTS", LISTS)
    graph, graph_lists = build_index(tmp_path, VECTORS, codec, lists=LISTS, files=2)
    assert has_graph(graph.ivfs[0])
    assert (flat_lists == graph_lists).mean() == 1  # of all centroids, whatever the graph finds
    allowed = np.zeros(len(VECTORS), bool)
    allowed[::5] = True
    bitmaps = [np.packbits(allowed, bitorder="little")]
    rows_per_list = np.bincount(flat_lists[allowed], minlength=LISTS)
    fifth = AllowedRows(bitmaps, rows_per_list)
    for options in (None, fifth, replace(fifth, wanted=50, breadth=8)):
        found = [index.candidates(QUERIES, 50, 8, options) for index in (flat, graph)]
        shares = [len({*one} & {*other}) / len({*one}) for one, other in zip(*found, strict=True)]
        assert np.mean(shares) > 0.98
    for probes in (1, LISTS):
        together = graph.candidates(QUERIES, 50, probes)
        alone = np.concatenate([graph.candidates(QUERIES[i : i + 1], 50, probes) for i in range(len(QUERIES))])
        assert (together == alone).all()


@pytest.mark.usefixtures("from_few_lists")
def test_building_twice_gives_the_same_graph(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        build_index(tmp_path / name, VECTORS, "opq", lists=LISTS)
    assert (tmp_path / "a/opq-1-0.faiss").read_bytes() == (tmp_path / "b/opq-1-0.faiss").read_bytes()


@pytest.mark.usefixtures("from_few_lists")
def test_index_is_read_with_its_graph_to_be_filled(tmp_path: Path) -> None:
    vectors = VECTORS.astype(np.float32)
    trained, _ = build.train(params.factory_string("pq", 32, LISTS), 32, vectors, seed=0)
    build.write(trained, tmp_path / "quantizer")
    filled = [build.empty_copy(trained), build.read(tmp_path / "quantizer")]
    lists = [build.add(index, vectors, np.arange(len(vectors)))[0] for index in filled]
    assert (lists[0] == lists[1]).all()


@pytest.mark.parametrize("dim", [32, 512, 40])
@pytest.mark.parametrize("outlier", [0.0, 0.8])
def test_rounded_centroids_find_the_nearest_lists(dim: int, outlier: float) -> None:
    """Also where one number is large in all vectors, as in CLIP's, and rounds the others coarsely."""
    centroids = unit_vectors(512, dim, clusters=20).astype(np.float32)
    centroids[:, 3] += outlier
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    queries = queries_like(centroids, 30)
    flat = faiss.IndexFlatIP(dim)
    flat.add(centroids)
    rounded = RoundedCentroids(faiss.IndexIVFFlat(flat, dim, 512, faiss.METRIC_INNER_PRODUCT))
    found = rounded.nearest(queries, 16)
    nearest = np.argsort(-(queries @ centroids.T), axis=1)[:, :8]
    assert np.mean([len({*some} & {*best}) / 8 for some, best in zip(found, nearest, strict=True)]) > 0.995


def test_rounded_centroids_find_the_nearest_of_some_lists() -> None:
    centroids = unit_vectors(300, 32).astype(np.float32)
    flat = faiss.IndexFlatIP(32)
    flat.add(centroids)
    rounded = RoundedCentroids(faiss.IndexIVFFlat(flat, 32, 300, faiss.METRIC_INNER_PRODUCT))
    only = np.arange(0, 300, 7)
    queries = queries_like(centroids, 20)
    nearest = only[np.argsort(-(queries @ centroids[only].T), axis=1)[:, :3]]
    found = rounded.nearest(queries, 10, only=only)
    assert np.isin(found, only).all()
    assert all(np.isin(three, ten).all() for three, ten in zip(nearest, found, strict=True))


def test_rounding_of_a_vector_does_not_depend_on_the_others() -> None:
    centroids = VECTORS[:300].astype(np.float32)
    flat = faiss.IndexFlatIP(32)
    flat.add(centroids)
    rounded = RoundedCentroids(faiss.IndexIVFFlat(flat, 32, 300, faiss.METRIC_INNER_PRODUCT))
    queries = np.concatenate([QUERIES, 100 * QUERIES, np.zeros((1, 32), np.float32)])
    together = rounded.nearest(queries, 10)
    alone = np.concatenate([rounded.nearest(queries[i : i + 1], 10) for i in range(len(queries))])
    assert (together == alone).all()
