"""Reads vectors from the file formats in which public benchmarks publish them.

    *.fvecs *.bvecs *.ivecs          each vector: its dimension as int32, then float32, uint8 or int32 numbers (TEXMEX)
    *.fbin *.u8bin *.i8bin *.ibin    number of vectors and dimension as uint32, then float32, uint8, int8 or int32
                                     numbers (BigANN)
    *.npy                            a NumPy array of two dimensions
    *.hdf5 *.h5                      a data set of two dimensions; those of ann-benchmarks are `train`, `test` and
                                     `neighbors`. Needs the extra `bench`

All numbers are little-endian. Files are mapped or read in parts: one that is larger than the memory can be read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from artifacts.errors import InputError

#: Data set of a file in HDF5 whose name does not say which one is meant.
TRAIN = "train"

_VECS = {".fvecs": np.dtype("<f4"), ".bvecs": np.dtype("u1"), ".ivecs": np.dtype("<i4")}
_BIN = {".fbin": np.dtype("<f4"), ".u8bin": np.dtype("u1"), ".i8bin": np.dtype("i1"), ".ibin": np.dtype("<i4")}
_HDF5 = (".hdf5", ".h5")
#: Vectors that are hashed at once: 134 MB of float32 at 512-d.
_DIGEST_ROWS = 65_536
FORMATS = (*_VECS, *_BIN, ".npy", *_HDF5)


class _Rows(Protocol):
    """What the formats have in common: an array, or a data set that reads the rows it is asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


@dataclass(frozen=True)
class VectorFile:
    """Vectors of an open file.

    Attributes:
        path: of the file.
        rows, dim: number of vectors, and their length.
    """

    path: Path
    rows: int
    dim: int
    data: _Rows

    def read(self, first: int = 0, count: int | None = None) -> np.ndarray:
        """Return vectors, [n, dim] in the file's own type of number.

        Args:
            count: at most so many; all that follow if None.

        Raises:
            InputError: one of them is damaged.
        """
        last = self.rows if count is None else min(self.rows, first + count)
        return np.asarray(self.data[first:last])

    def digest(self, count: int) -> str:
        """Return the sha256 of the first `count` vectors, of their type of number and their length; no others are read.

        Raises:
            InputError: one of them is damaged.
        """
        digest = hashlib.sha256()
        for first in range(0, min(count, self.rows), _DIGEST_ROWS):
            block = np.ascontiguousarray(self.read(first, min(_DIGEST_ROWS, count - first)))
            digest.update(f"{block.dtype.str} {self.dim};".encode() if first == 0 else b"")
            digest.update(block.data)
        return digest.hexdigest()

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """Yield the vectors float32[n, dim], so many at a time.

        Raises:
            InputError: a vector is damaged, or contains NaN or infinity.
        """
        for first in range(0, self.rows, rows):
            block = self.read(first, rows).astype(np.float32)
            bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
            if len(bad):
                raise InputError(f"{self.path}: vector {first + int(bad[0])} contains NaN or infinity")
            yield block


@contextmanager
def open_vectors(path: Path, dataset: str = TRAIN) -> Iterator[VectorFile]:
    """Open a file of vectors; its name ends with one of FORMATS.

    Args:
        dataset: of a file in HDF5.

    Raises:
        InputError: there is no such file, its format is unknown, or it is damaged; the message says which.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    suffix = path.suffix.lower()
    if suffix in _HDF5:
        with _open_hdf5(path, dataset) as data:
            yield _checked(path, data)
    elif suffix in _VECS:
        yield _checked(path, _map_vecs(path, _VECS[suffix]))
    elif suffix in _BIN:
        yield _checked(path, _map_bin(path, _BIN[suffix]))
    elif suffix == ".npy":
        yield _checked(path, _map_npy(path))
    else:
        raise InputError(f"{path}: vectors are read from files named *{', *'.join(FORMATS)}")


def _checked(path: Path, data: _Rows) -> VectorFile:
    if len(data.shape) != 2 or 0 in data.shape:
        raise InputError(f"{path} has the shape {data.shape}, not (vectors, numbers of each)")
    return VectorFile(path, data.shape[0], data.shape[1], data)


class _VecsRows:
    """Records of a dimension and a vector; the dimensions of those that are read are checked."""

    def __init__(self, path: Path, records: np.ndarray) -> None:
        self._path, self._records = path, records
        self.shape = records["vector"].shape

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        records = self._records[rows]
        other = np.flatnonzero(records["dim"] != self.shape[1])
        if len(other):
            row, dim = rows.indices(len(self._records))[0] + int(other[0]), int(records["dim"][other[0]])
            raise InputError(f"{self._path}: vector {row} has dimension {dim}, not {self.shape[1]}")
        return records["vector"]


def _map_vecs(path: Path, number: np.dtype) -> _VecsRows:
    size = path.stat().st_size
    head = np.fromfile(path, "<i4", 1)
    dim = int(head[0]) if len(head) else 0
    record = 4 + dim * number.itemsize
    if dim < 1 or size % record:
        raise InputError(
            f"{path} is {size} bytes long, which is no whole number of vectors of dimension {dim}: it was cut off, or "
            "is in another format"
        )
    return _VecsRows(path, np.memmap(path, np.dtype([("dim", "<i4"), ("vector", number, (dim,))]), "r"))


def _map_bin(path: Path, number: np.dtype) -> np.ndarray:
    size = path.stat().st_size
    head = np.fromfile(path, "<u4", 2)
    rows, dim = (int(value) for value in head) if len(head) == 2 else (0, 0)
    needed = 8 + rows * dim * number.itemsize
    sizes = {needed, needed + 4 * rows * dim} if path.suffix == ".ibin" else {needed}  # distances behind the ids
    if not rows or not dim or size not in sizes:
        raise InputError(f"{path} is {size} bytes long; {rows} vectors of dimension {dim} need {needed}: it is cut off")
    return np.memmap(path, number, "r", offset=8, shape=(rows, dim))


def _map_npy(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} is not a NumPy array: {error}") from None
    if not np.issubdtype(array.dtype, np.number):
        raise InputError(f"{path} has {array.dtype} in it, not numbers")
    return array


@contextmanager
def _open_hdf5(path: Path, dataset: str) -> Iterator[_Rows]:
    try:
        import h5py
    except ModuleNotFoundError:
        raise InputError(f"{path}: HDF5 needs the package h5py, of the extra `bench`") from None
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} is not an HDF5 file: {error}") from None
    with file:
        found = file.get(dataset)
        if not isinstance(found, h5py.Dataset):
            raise InputError(f"{path} has no data set {dataset!r}, but {', '.join(sorted(file)) or 'none at all'}")
        yield found
