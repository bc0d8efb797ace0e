"""The FAISS side: sizes, factory strings, training, filling, candidates."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from artifacts.index import build, params
from artifacts.index.faiss_index import IvfIndex
from artifacts.index.params import SearchParams
from tests.artifacts.building import queries_like, unit_vectors

CODECS = ["pq", "rabitq", "sq8"]


def build_index(
    folder: Path, vectors: np.ndarray, codec: str, *, files: int = 1, lists: int = 16
) -> tuple[IvfIndex, np.ndarray]:
    """An IVF over the vectors in so many files, and the list of each row."""
    dim = vectors.shape[1]
    trained = build.train(params.factory_string(codec, dim, lists), dim, vectors.astype(np.float32), seed=0)
    paths, of_row, first = [], [], 0
    for number, part in enumerate(np.array_split(vectors.astype(np.float32), files)):
        index = build.empty_copy(trained)
        of_row.append(build.add(index, part, first))
        first += len(part)
        paths.append(folder / f"{codec}-{files}-{number}.faiss")
        build.write(index, paths[-1])
    return IvfIndex(paths), np.concatenate(of_row)


def test_lists_grow_with_the_rows():
    assert [params.lists_for(rows) for rows in (0, 1, 1000, 1_000_000, 10_000_000, 100_000_000)] == [
        1, 4, 128, 4096, 16_384, 65_536,
    ]  # fmt: skip
    sizes = [params.lists_for(rows) for rows in range(1, 30_000_000, 99_991)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("dim", [1, 2, 7, 12, 100, 384, 512, 513, 768])
@pytest.mark.parametrize("codec", CODECS)
def test_every_dimension_has_an_index(codec: str, dim: int):
    index = faiss.index_factory(dim, params.factory_string(codec, dim, 4), faiss.METRIC_INNER_PRODUCT)
    assert index.d == dim


def test_pq_takes_eight_dimensions_a_byte():
    assert params.factory_string("pq", 512, 8) == "IVF8,PQ64"
    assert params.factory_string("pq", 100, 8) == "IVF8,PQ10"


def test_unknown_codec():
    with pytest.raises(ValueError, match="is not one of"):
        params.factory_string("zip", 8, 8)


def test_deeper():
    assert SearchParams(10, 4).deeper(1) == SearchParams(10, 4)
    assert SearchParams(10, 4, 8, 16).deeper(4) == SearchParams(40, 8, 8, 32)
    assert SearchParams(10, 4, 8, 16).deeper(1.5) == SearchParams(15, 4, 8, 16)


@pytest.mark.parametrize("codec", CODECS)
def test_lists_of_rows_are_where_faiss_keeps_them(tmp_path: Path, codec: str):
    index, of_row = build_index(tmp_path, unit_vectors(600, 24), codec, files=2)
    assert of_row.dtype == np.int32
    for ivf, rows in zip(index.ivfs, (range(300), range(300, 600)), strict=True):
        for number in range(ivf.nlist):
            size = ivf.invlists.list_size(number)
            kept = faiss.rev_swig_ptr(ivf.invlists.get_ids(number), size).tolist() if size else []
            assert kept == [row for row in rows if of_row[row] == number]


@pytest.mark.parametrize("codec", CODECS)
def test_several_files_answer_as_one(tmp_path: Path, codec: str):
    vectors = unit_vectors(900, 24, clusters=20)
    queries = queries_like(vectors, 12)
    one, lists = build_index(tmp_path, vectors, codec)
    three, same_lists = build_index(tmp_path, vectors, codec, files=3)
    assert (lists == same_lists).all()
    assert (one.rows, three.rows) == (900, 900)
    bitmap = np.packbits(np.arange(900) % 3 == 0, bitorder="little")
    for options in ({}, {"bitmap": bitmap}):
        ours = one.candidates(queries, 40, 6, **options)
        theirs = three.candidates(queries, 40, 6, **options)
        assert ours.shape == theirs.shape == (12, 40)
        same = [len(set(a) & set(b)) for a, b in zip(ours, theirs, strict=True)]
        assert min(same) >= 38  # equal codes at the last place may be either


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("company", [2, 5, 16, 64, 65])
def test_candidates_are_the_same_in_any_company(tmp_path: Path, codec: str, company: int):
    vectors = unit_vectors(2000, 24, clusters=50)
    index, _ = build_index(tmp_path, vectors, codec, lists=64)
    queries = queries_like(vectors, 65)
    alone = np.concatenate([index.candidates(queries[place : place + 1], 40, 6) for place in range(company)])
    assert index.candidates(queries[:company], 40, 6).tolist() == alone.tolist()


def test_the_lists_looked_at_are_the_nearest_ones(tmp_path: Path):
    index, _ = build_index(tmp_path, unit_vectors(2000, 24, clusters=50), "sq8", lists=64)
    queries = queries_like(unit_vectors(2000, 24, clusters=50), 16)
    centroids = np.stack([index.ivfs[0].quantizer.reconstruct(number) for number in range(64)])
    for probes in (1, 6, 60, 64):
        rows = index.candidates(queries, 2000, probes)
        nearest = np.argsort(-(queries @ centroids.T), axis=1, kind="stable")[:, :probes]
        for found, lists in zip(rows, nearest, strict=True):
            sizes = sum(index.ivfs[0].invlists.list_size(int(number)) for number in lists)
            assert np.count_nonzero(found >= 0) == sizes


@pytest.mark.parametrize("files", [1, 2])
def test_fewer_candidates_than_wanted_are_filled_with_minus_one_at_the_end(tmp_path: Path, files: int):
    index, _ = build_index(tmp_path, unit_vectors(300, 16), "sq8", files=files, lists=4)
    bitmap = np.packbits(np.isin(np.arange(300), [5, 200]), bitorder="little")
    found = index.candidates(queries_like(unit_vectors(300, 16), 3), 10, 4, bitmap=bitmap)
    assert (np.sort(found[:, :2]) == [5, 200]).all()
    assert (found[:, 2:] == -1).all()


@pytest.mark.parametrize("codec", CODECS)
def test_probes_go_to_lists_that_hold_allowed_rows(tmp_path: Path, codec: str):
    vectors = unit_vectors(600, 24, clusters=16)
    index, of_row = build_index(tmp_path, vectors, codec)
    wanted = np.flatnonzero(of_row == of_row[0])
    bitmap = np.packbits(np.isin(np.arange(600), wanted), bitorder="little")
    held = np.bincount(of_row[wanted], minlength=index.lists)
    found = index.candidates(-vectors[:1].astype(np.float32), len(wanted), 1, bitmap=bitmap, rows_per_list=held)
    assert set(found[0]) == set(wanted)


def test_training_is_the_same_each_time(tmp_path: Path):
    vectors = unit_vectors(600, 24)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        build_index(tmp_path / name, vectors, "pq")
    assert (tmp_path / "a/pq-1-0.faiss").read_bytes() == (tmp_path / "b/pq-1-0.faiss").read_bytes()
