"""Training and filling of FAISS indexes."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from artifacts.index.build import training_rows
from tests.artifacts.building import unit_vectors
from tests.artifacts.index.ivf_building import CODECS, build_index


def test_training_rows_are_drawn_from_everywhere():
    rows = training_rows(10_000, 500, seed=3)
    assert len(set(rows)) == 500
    assert rows.tolist() == sorted(rows)
    assert rows.max() > 9000
    assert (training_rows(10_000, 500, seed=3) == rows).all()
    assert not (training_rows(10_000, 500, seed=4) == rows).all()


def test_training_rows_are_all_rows_if_there_are_fewer():
    assert training_rows(5, 500, seed=0).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("codec", CODECS)
def test_add_returns_the_lists_where_faiss_keeps_the_rows(tmp_path: Path, codec: str):
    index, list_of_row = build_index(tmp_path, unit_vectors(600, 24), codec, files=2)
    assert list_of_row.dtype == np.int32
    for ivf, rows in zip(index.ivfs, (range(300), range(300, 600)), strict=True):
        for number in range(ivf.nlist):
            size = ivf.invlists.list_size(number)
            stored = faiss.rev_swig_ptr(ivf.invlists.get_ids(number), size).tolist() if size else []
            assert stored == [row for row in rows if list_of_row[row] == number]


def test_rotation_is_trained_on_fewer_vectors_than_numbers(tmp_path: Path):
    """FAISS alone would crash."""
    vectors = unit_vectors(280, 320, clusters=10)
    index, _ = build_index(tmp_path, vectors, "opq")
    found = index.candidates(vectors.astype(np.float32), 1, 16)
    assert (found.ravel() == np.arange(280)).mean() > 0.9


@pytest.mark.parametrize("codec", CODECS)
def test_building_twice_gives_the_same_bytes(tmp_path: Path, codec: str):
    vectors = unit_vectors(600, 24)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        build_index(tmp_path / name, vectors, codec)
    files = [tmp_path / name / f"{codec}-1-0.faiss" for name in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()
