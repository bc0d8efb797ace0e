"""An HNSW graph over float16 vectors: recall, filters, and the same bytes from the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.index.graph import GraphIndex, write_graph
from tests.artifacts.building import queries_like, unit_vectors

ROWS, DIM = 2000, 32
VECTORS = unit_vectors(ROWS, DIM, clusters=40)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> GraphIndex:
    path = tmp_path_factory.mktemp("graph") / "index.faiss"
    write_graph([VECTORS[:700], VECTORS[700:]], DIM, path)
    return GraphIndex(path)


@pytest.mark.parametrize("share", [1, 3])
def test_walk_finds_the_nearest_allowed_rows(graph: GraphIndex, share: int) -> None:
    assert (graph.rows, graph.dim) == (ROWS, DIM)
    allowed = np.arange(ROWS) % share == 0
    bitmap = None if share == 1 else np.packbits(allowed, bitorder="little")
    shares = []
    for query in queries_like(VECTORS, 30):
        found = graph.candidates(query, 20, 200 * share, bitmap)
        assert allowed[found].all()
        scores = np.where(allowed, VECTORS.astype(np.float32) @ query, -2)
        shares.append(len({*found} & {*np.argsort(-scores)[:20]}) / 20)
    assert np.mean(shares) > 0.97


def test_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_graph([VECTORS[:700], VECTORS[700:]], DIM, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_row_allowed_gives_no_candidates(graph: GraphIndex) -> None:
    nothing = np.zeros(ROWS // 8, np.uint8)
    assert len(graph.candidates(VECTORS[0].astype(np.float32), 5, 50, nothing)) == 0
