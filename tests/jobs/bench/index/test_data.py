"""The data of `lookalike bench index`: drawn or read from files, with exact results under each filter."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from artifacts.errors import InputError
from jobs.bench.index.data import drawn_data, read_data

ROWS, DIM = 600, 8


def clustered(rows: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((6, DIM)) * 5
    return (centres[random.integers(0, 6, rows)] + random.standard_normal((rows, DIM))).astype(np.float32)


def nearest(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.argsort(-(queries @ units.T), axis=1, kind="stable")[:, :100].astype(np.int32)


def write(folder: Path, vectors: np.ndarray, queries: np.ndarray) -> tuple[Path, Path]:
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", queries)
    return folder / "vectors.npy", folder / "queries.npy"


def test_truth_is_that_of_the_allowed_rows(tmp_path: Path) -> None:
    data = drawn_data(1000, 16, 3, 25, tmp_path)
    vectors = np.load(data.folder / "vectors.npy").astype(np.float32)
    for case in data.cases:
        queries, truth = (np.load(data.folder / name) for name in (case.queries, case.truth))
        allowed = np.ones(data.rows, bool)
        if case.filter is not None:
            values = np.load(data.folder / f"{case.filter['column']}.npy")
            any_of = case.filter["any_of"]
            allowed = np.isin(values, any_of) if any_of else values < case.filter["below"]
        assert allowed.sum() == case.allowed
        expected = np.sort(queries @ vectors[allowed].T, axis=1)[:, ::-1][:, :100]
        assert np.allclose(truth[:, : expected.shape[1]], expected, atol=1e-5)
        assert (truth[:, expected.shape[1] :] < -2).all()


def test_filters_allow_about_the_share_they_name(tmp_path: Path) -> None:
    data = drawn_data(20_000, 8, 0, 30, tmp_path)
    shares = {case.name: case.share for case in data.cases if case.modality == "image"}
    assert shares["image-random-0.1"] == pytest.approx(0.1, abs=0.01)
    assert shares["image-unrelated-0.1"] == pytest.approx(0.1, abs=0.015)
    assert shares["image-unrelated-0.01"] == pytest.approx(0.01, abs=0.002)


def test_drawn_data_is_kept_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    first = drawn_data(500, 8, 1, 20, tmp_path / "a")
    written = (first.folder / "vectors.npy").stat().st_mtime_ns
    assert drawn_data(500, 8, 1, 20, tmp_path / "a") == first
    assert (first.folder / "vectors.npy").stat().st_mtime_ns == written
    other = drawn_data(500, 8, 1, 20, tmp_path / "b")
    assert (other.folder / "vectors.npy").read_bytes() == (first.folder / "vectors.npy").read_bytes()
    assert drawn_data(500, 8, 2, 20, tmp_path / "a").folder != first.folder


def test_data_of_an_interrupted_run_is_made_again(tmp_path: Path) -> None:
    first = drawn_data(500, 8, 1, 20, tmp_path)
    (first.folder / "data.json").unlink()
    (first.folder / "vectors.npy").write_bytes(b"half")
    again = drawn_data(500, 8, 1, 20, tmp_path)
    assert np.load(again.folder / "vectors.npy").shape == (500, 8)


def test_vectors_of_a_file_are_normalised_and_grouped(tmp_path: Path) -> None:
    vectors, queries = clustered(ROWS, 1), clustered(30, 2)
    data = read_data(*write(tmp_path, vectors, queries), None, tmp_path / "index")
    stored = np.load(data.folder / "vectors.npy")
    assert stored.dtype == np.float16
    assert np.allclose(np.linalg.norm(stored.astype(np.float32), axis=1), 1, atol=1e-3)
    assert {case.kind for case in data.cases} == {"none", "unrelated", "random"}
    assert {case.modality for case in data.cases} == {"image"}
    assert len(np.unique(np.load(data.folder / "category.npy"))) > 2


def test_rows_and_queries_of_a_file_can_be_limited(tmp_path: Path) -> None:
    paths = write(tmp_path, clustered(ROWS, 1), clustered(30, 2))
    data = read_data(*paths, None, tmp_path / "index", rows=300, queries=20)
    assert data.rows == 300
    assert np.load(data.folder / data.cases[0].queries).shape == (20, DIM)


def test_only_what_is_read_decides_whether_kept_data_is_taken(tmp_path: Path) -> None:
    vectors, queries = clustered(ROWS, 1), clustered(30, 2)

    def made(rows: int | None = 300) -> Path:
        paths = write(tmp_path, vectors, queries)
        return read_data(*paths, None, tmp_path / "index", rows=rows, queries=20).folder

    first = made()
    vectors[400], queries[25] = 7, 7  # neither is read
    assert made() == first
    assert made(500) != first
    vectors[200] = 7
    second = made()
    assert second != first
    queries[3] = 7
    assert made() != second


def test_hdf5_gives_vectors_queries_and_truth(tmp_path: Path) -> None:
    vectors, queries = clustered(ROWS, 1), clustered(30, 2)
    path = tmp_path / "angular.hdf5"
    with h5py.File(path, "w") as file:
        file["train"], file["test"], file["neighbors"] = vectors, queries, nearest(vectors, queries)
    data = read_data(path, path, path, tmp_path / "index")
    exact = read_data(path, path, None, tmp_path / "index")
    truths = [np.load(found.folder / found.cases[0].truth) for found in (data, exact)]
    assert np.allclose(truths[0], truths[1], atol=1e-3)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (np.random.default_rng(0).integers(0, ROWS, (30, 100), np.int32), "are among the 100 nearest by cosine"),
        (np.full((30, 100), ROWS, np.int32), "does not fit"),
        (np.zeros((30, 10), np.int32), "does not fit"),
    ],
)
def test_truth_of_another_measure_or_other_vectors_is_refused(tmp_path: Path, broken: np.ndarray, message: str) -> None:
    paths = write(tmp_path, clustered(ROWS, 1), clustered(30, 2))
    np.save(tmp_path / "truth.npy", broken)
    with pytest.raises(InputError, match=message):
        read_data(*paths, tmp_path / "truth.npy", tmp_path / "index")


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    vectors, queries = write(tmp_path, clustered(ROWS, 1), clustered(30, 2)[:, :4])
    with pytest.raises(InputError, match=r"queries\.npy has vectors of 4 numbers, but .*vectors\.npy of 8"):
        read_data(vectors, queries, None, tmp_path / "index")
    with pytest.raises(InputError, match=r"none\.npy: there is no such file"):
        read_data(vectors, tmp_path / "none.npy", None, tmp_path / "index")
    zero = clustered(ROWS, 1)
    zero[7] = 0
    with pytest.raises(InputError, match=r"vectors\.npy: vector 7 is zero"):
        read_data(*write(tmp_path, zero, clustered(30, 2)), None, tmp_path / "index")
