"""Vectors of public benchmarks are read in each of their file formats, and damaged files are named."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from artifacts.errors import InputError
from jobs.bench.index.vector_files import FORMATS, open_vectors

NUMBERS = np.arange(12).reshape(4, 3)


def write_vecs(path: Path, number: str) -> None:
    path.write_bytes(b"".join(struct.pack("<i", 3) + row.astype(number).tobytes() for row in NUMBERS))


def write_bin(path: Path, number: str) -> None:
    path.write_bytes(struct.pack("<II", *NUMBERS.shape) + NUMBERS.astype(number).tobytes())


def write_npy(path: Path, number: str) -> None:
    np.save(path, NUMBERS.astype(number))


def write_hdf5(path: Path, number: str) -> None:
    with h5py.File(path, "w") as file:
        file["train"] = NUMBERS.astype(number)
        file["test"] = NUMBERS[:2].astype(number)


WRITERS: dict[str, tuple[Callable[[Path, str], None], str]] = {
    ".fvecs": (write_vecs, "<f4"),
    ".bvecs": (write_vecs, "u1"),
    ".ivecs": (write_vecs, "<i4"),
    ".fbin": (write_bin, "<f4"),
    ".u8bin": (write_bin, "u1"),
    ".i8bin": (write_bin, "i1"),
    ".ibin": (write_bin, "<i4"),
    ".npy": (write_npy, "<f2"),
    ".hdf5": (write_hdf5, "<f4"),
    ".h5": (write_hdf5, "<f4"),
}


def written(folder: Path, suffix: str) -> Path:
    write, number = WRITERS[suffix]
    write(folder / f"vectors{suffix}", number)
    return folder / f"vectors{suffix}"


def test_there_is_a_file_of_every_format() -> None:
    assert set(WRITERS) == set(FORMATS)


@pytest.mark.parametrize("suffix", FORMATS)
def test_vectors_of_each_format_are_read(tmp_path: Path, suffix: str) -> None:
    with open_vectors(written(tmp_path, suffix)) as file:
        assert (file.rows, file.dim) == (4, 3)
        assert file.read().dtype == np.dtype(WRITERS[suffix][1])
        assert np.array_equal(file.read(), NUMBERS)
        assert np.array_equal(file.read(1, 2), NUMBERS[1:3])
        blocks = list(file.blocks(3))
    assert [block.shape for block in blocks] == [(3, 3), (1, 3)]
    assert blocks[0].dtype == np.float32
    assert np.array_equal(np.concatenate(blocks), NUMBERS)


def test_a_data_set_of_hdf5_is_chosen(tmp_path: Path) -> None:
    path = written(tmp_path, ".hdf5")
    with open_vectors(path, "test") as file:
        assert file.rows == 2
    with pytest.raises(InputError, match=r"no data set 'queries', but test, train"), open_vectors(path, "queries"):
        pass


def test_ground_truth_of_bigann_has_distances_behind_the_ids(tmp_path: Path) -> None:
    path = written(tmp_path, ".ibin")
    path.write_bytes(path.read_bytes() + bytes(4 * NUMBERS.size))
    with open_vectors(path) as file:
        assert np.array_equal(file.read(), NUMBERS)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_was_cut_off_is_named(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, suffix)
    for size in (path.stat().st_size - 1, 2, 0):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(InputError, match=rf"vectors{suffix}"), open_vectors(path) as file:
            file.read()


def test_a_vector_of_another_dimension_is_named(tmp_path: Path) -> None:
    path = tmp_path / "vectors.bvecs"
    path.write_bytes(b"".join(struct.pack("<i3B", dim, 1, 2, 3) for dim in (3, 3, 4)))
    with open_vectors(path) as file:
        assert len(file.read(0, 2)) == 2
        with pytest.raises(InputError, match="vector 2 has dimension 4, not 3"):
            file.read(1)


@pytest.mark.parametrize("suffix", FORMATS)
def test_digest_is_that_of_the_first_vectors(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def digests(numbers: np.ndarray, *counts: int) -> list[str]:
        monkeypatch.setattr(f"{__name__}.NUMBERS", numbers)
        with open_vectors(written(tmp_path, suffix)) as file:
            return [file.digest(count) for count in counts]

    two, three, whole, more = digests(NUMBERS, 2, 3, 4, 9)
    assert len({two, three, whole}) == 3
    assert more == whole
    other = NUMBERS.copy()
    other[2] += 1
    changed = digests(other, 2, 3)
    assert changed[0] == two
    assert changed[1] != three


def test_a_vector_that_is_not_finite_is_named(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npy"
    np.save(path, np.array([[1, 2], [3, np.nan], [np.inf, 0]], np.float32))
    with open_vectors(path) as file, pytest.raises(InputError, match="vector 1 contains NaN or infinity"):
        list(file.blocks(10))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("v.npy", np.zeros(3), r"shape \(3,\)"),
        ("v.npy", np.zeros((0, 3)), r"shape \(0, 3\)"),
        ("v.npy", np.array([["a"]]), "not numbers"),
        ("v.txt", np.zeros((1, 1)), r"files named \*\.fvecs"),
    ],
)
def test_what_is_no_file_of_vectors_is_refused(tmp_path: Path, name: str, array: np.ndarray, message: str) -> None:
    with (tmp_path / name).open("wb") as file:
        np.save(file, array)
    with pytest.raises(InputError, match=message), open_vectors(tmp_path / name):
        pass


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.fvecs: there is no such file"), open_vectors(tmp_path / "none.fvecs"):
        pass
