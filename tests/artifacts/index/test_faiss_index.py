"""Candidates from IVF files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from artifacts.index import build
from artifacts.index.faiss_index import IvfIndex
from artifacts.index.lists.probing import AllowedRows
from tests.artifacts.building import queries_like, unit_vectors
from tests.artifacts.index.ivf_building import CODECS, build_index


@pytest.mark.parametrize("codec", CODECS)
def test_several_files_answer_as_one(tmp_path: Path, codec: str):
    vectors = unit_vectors(900, 24, clusters=20)
    queries = queries_like(vectors, 12)
    one, lists = build_index(tmp_path, vectors, codec)
    three, same_lists = build_index(tmp_path, vectors, codec, files=3)
    assert (lists == same_lists).all()
    assert (one.rows, three.rows) == (900, 900)
    bitmap = np.packbits(np.arange(900) % 3 == 0, bitorder="little")
    third = AllowedRows([bitmap], np.bincount(lists[::3], minlength=one.lists), wanted=40, breadth=8)
    for allowed in (None, third, replace(third, breadth=0)):
        of_one = one.candidates(queries, 40, 6, allowed)
        of_three = three.candidates(queries, 40, 6, allowed)
        assert of_one.shape == of_three.shape == (12, 40)
        common = [len(set(a) & set(b)) for a, b in zip(of_one, of_three, strict=True)]
        assert min(common) >= 38  # equal codes at the end may be either


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", [2, 5, 65])
@pytest.mark.parametrize("dim", [24, 32])
def test_candidates_do_not_depend_on_the_other_queries(tmp_path: Path, codec: str, count: int, dim: int):
    vectors = unit_vectors(2000, dim, clusters=50)
    index, _ = build_index(tmp_path, vectors, codec, lists=64)
    queries = queries_like(vectors, 65)
    alone = np.concatenate([index.candidates(queries[number : number + 1], 40, 6) for number in range(count)])
    assert index.candidates(queries[:count], 40, 6).tolist() == alone.tolist()


@pytest.mark.parametrize("dim", [24, 32])
def test_probes_go_to_the_nearest_lists(tmp_path: Path, dim: int):
    index, _ = build_index(tmp_path, unit_vectors(2000, dim, clusters=50), "sq8", lists=64)
    queries = queries_like(unit_vectors(2000, dim, clusters=50), 16)
    centroids = np.stack([index.ivfs[0].quantizer.reconstruct(number) for number in range(64)])
    for probes in (1, 6, 60, 64):
        candidates = index.candidates(queries, 2000, probes)
        nearest = np.argsort(-(queries @ centroids.T), axis=1, kind="stable")[:, :probes]
        for rows, lists in zip(candidates, nearest, strict=True):
            sizes = sum(index.ivfs[0].invlists.list_size(int(number)) for number in lists)
            assert np.count_nonzero(rows >= 0) == sizes


@pytest.mark.parametrize("files", [1, 2])
def test_missing_candidates_are_minus_one_at_the_end(tmp_path: Path, files: int):
    index, _ = build_index(tmp_path, unit_vectors(300, 16), "sq8", files=files, lists=4)
    bitmap = np.packbits(np.isin(np.arange(300), [5, 200]), bitorder="little")
    candidates = index.candidates(queries_like(unit_vectors(300, 16), 3), 10, 4, AllowedRows([bitmap], np.ones(4, int)))
    assert (np.sort(candidates[:, :2]) == [5, 200]).all()
    assert (candidates[:, 2:] == -1).all()


@pytest.mark.parametrize("codec", CODECS)
def test_probes_go_to_lists_that_hold_allowed_rows(tmp_path: Path, codec: str):
    vectors = unit_vectors(600, 24, clusters=16)
    index, list_of_row = build_index(tmp_path, vectors, codec)
    allowed = np.flatnonzero(list_of_row == list_of_row[0])
    bitmap = np.packbits(np.isin(np.arange(600), allowed), bitorder="little")
    rows_per_list = np.bincount(list_of_row[allowed], minlength=index.lists)
    for breadth in (0, 8):
        options = AllowedRows([bitmap], rows_per_list, wanted=len(allowed), breadth=breadth)
        candidates, probed = index.probe(-vectors[:1].astype(np.float32), len(allowed), 1, options)
        assert set(candidates[0]) == set(allowed)
        assert probed == 1


@pytest.mark.parametrize("breadth", [0, 8])
def test_filtered_candidates_do_not_depend_on_the_other_queries(tmp_path: Path, breadth: int):
    vectors = unit_vectors(2000, 32, clusters=50)
    index, lists = build_index(tmp_path, vectors, "sq8", lists=64)
    rows = np.arange(0, 2000, 7)
    bitmap = np.packbits(np.isin(np.arange(2000), rows), bitorder="little")
    allowed = AllowedRows([bitmap], np.bincount(lists[rows], minlength=64), wanted=20, breadth=breadth)
    queries = queries_like(vectors, 30)
    alone = np.concatenate([index.candidates(query[None], 40, 6, allowed) for query in queries])
    assert index.candidates(queries, 40, 6, allowed).tolist() == alone.tolist()


def test_delta_is_probed_in_the_lists_of_its_base(tmp_path: Path):
    vectors = unit_vectors(2000, 32, clusters=50)
    base, _ = build_index(tmp_path, vectors, "sq8", lists=64)
    delta = build.empty_copy(build.read(tmp_path / "sq8-1-0.faiss"))
    queries = queries_like(vectors, 12)
    lists, _ = build.add(delta, queries, np.arange(len(queries)))
    build.write(delta, tmp_path / "delta.faiss")
    both = IvfIndex([tmp_path / "delta.faiss"], base)
    bitmaps = [np.zeros(250, np.uint8), np.full(2, 255, np.uint8)]  # only rows of the delta
    allowed = AllowedRows(bitmaps, np.bincount(lists, minlength=64), wanted=1, breadth=8)
    assert (both.candidates(queries, 1, 4, allowed)[:, 0] == 2000 + np.arange(12)).all()
