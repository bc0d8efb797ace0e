"""One Parquet file of an embedding store: rows sorted by sha256, written once, read by key.

    sha256   fixed_size_binary[32]
    vector   fixed_size_binary[2 · dim], float16, little-endian

Row groups are small, and their statistics say which keys each of them may hold: together they are the file's index, in
its footer. sha256 are spread evenly, so a lookup of a few keys reads a few row groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.features.base import KEY_BYTES
from artifacts.storage import Folder

#: Keys as NumPy compares them, bytewise; all have the same length.
KEY_DTYPE = np.dtype(f"S{KEY_BYTES}")

#: Rows that are read for one key; of 512 dimensions they are 1 MB.
_GROUP_ROWS = 1024
#: Row groups that a lookup has in memory at a time.
_GROUPS_AT_ONCE = 64
_ENCODER_ID = b"encoder_id"
_OPTIONS: dict[str, Any] = {
    "compression": "none",  # digests and vectors are noise to a compressor
    "use_dictionary": False,
    "write_statistics": ["sha256"],
    "write_page_checksum": True,
}


class DamagedFile(Exception):
    """A file cannot be parsed, has a wrong checksum, or has other columns than it should."""


@dataclass(frozen=True)
class VectorFile:
    """A file of a folder, with its footer in memory.

    Attributes:
        dim: length of its vectors.
        metadata: its footer.
        first, last: the keys that each row group begins and ends with, S32[groups], ascending.
    """

    folder: Folder
    name: str
    dim: int
    metadata: pq.FileMetaData
    first: np.ndarray
    last: np.ndarray

    @classmethod
    def open(cls, folder: Folder, name: str, encoder_id: str, dim: int) -> VectorFile:
        """Read the footer of a file.

        Raises:
            DamagedFile: see there.
            FileNotFoundError: there is no such file.
        """
        with _damage_guard(), folder.open(name) as stream:
            metadata = pq.ParquetFile(stream).metadata
        if not metadata.schema.to_arrow_schema().equals(_schema(encoder_id, dim), check_metadata=True):
            raise DamagedFile(f"is not a file of {dim}-d vectors of {encoder_id}")
        statistics = [metadata.row_group(group).column(0).statistics for group in range(metadata.num_row_groups)]
        first, last = ([getattr(each, end) for each in statistics] for end in ("min", "max"))
        return cls(folder, name, dim, metadata, np.array(first, KEY_DTYPE), np.array(last, KEY_DTYPE))

    @property
    def rows(self) -> int:
        return self.metadata.num_rows

    def lookup(self, keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the positions int64[m] of keys that the file has, and their vectors float16[m, dim], block by block.

        Args:
            keys: S32[n], sorted.

        Raises:
            DamagedFile, FileNotFoundError
        """
        held = np.searchsorted(keys, self.last, "right") > np.searchsorted(keys, self.first, "left")
        groups = np.flatnonzero(held)
        if not len(groups):
            return
        with self._reading() as file:
            for start in range(0, len(groups), _GROUPS_AT_ONCE):
                block = groups[start : start + _GROUPS_AT_ONCE]
                stored = _keys(file.read_row_groups(block.tolist(), ["sha256"]))
                begin, end = np.searchsorted(keys, stored[0]), np.searchsorted(keys, stored[-1], "right")
                positions = np.searchsorted(stored, keys[begin:end])
                matches = np.flatnonzero(stored[positions] == keys[begin:end])
                if len(matches):
                    yield begin + matches, self._vectors_at(file, block, positions[matches])

    def between(self, low: bytes, high: bytes | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows with keys from `low` on and below `high`: keys S32[n], vectors float16[n, dim].

        Args:
            high: None: to the end.

        Raises:
            DamagedFile, FileNotFoundError
        """
        begins_below = self.first < high if high is not None else np.ones(len(self.first), dtype=bool)
        groups = np.flatnonzero((self.last >= low) & begins_below)
        if not len(groups):
            return np.empty(0, KEY_DTYPE), np.empty((0, self.dim), np.float16)
        with self._reading() as file:
            table = file.read_row_groups(groups.tolist())
        keys = _keys(table)
        start = np.searchsorted(keys, low)
        end = len(keys) if high is None else np.searchsorted(keys, high)
        return keys[start:end], _vectors(table, self.dim)[start:end]

    def _vectors_at(self, file: pq.ParquetFile, block: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return the vectors of int64[m] rows of a block of row groups; only groups with such rows are read."""
        lengths = np.array([self.metadata.row_group(int(group)).num_rows for group in block])
        ends = np.cumsum(lengths)
        in_block = np.searchsorted(ends, positions, "right")
        used, in_used = np.unique(in_block, return_inverse=True)
        vectors = _vectors(file.read_row_groups(block[used].tolist(), ["vector"]), self.dim)
        used_starts = np.cumsum(lengths[used]) - lengths[used]
        return vectors[positions - (ends - lengths)[in_block] + used_starts[in_used]]

    @contextmanager
    def _reading(self) -> Iterator[pq.ParquetFile]:
        with _damage_guard(), self.folder.open(self.name) as stream:
            yield pq.ParquetFile(stream, metadata=self.metadata, page_checksum_verification=True)


class VectorFileWriter:
    """Writes a file; a context manager that closes it.

    Args:
        path: of a new file on this machine.
    """

    def __init__(self, path: Path, encoder_id: str, dim: int) -> None:
        self._schema = _schema(encoder_id, dim)
        self._writer = pq.ParquetWriter(path, self._schema, **_OPTIONS)

    def __enter__(self) -> VectorFileWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def append(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Append rows: keys S32[n], sorted, distinct, and above all before, and vectors float16[n, dim]."""
        columns = [
            pa.FixedSizeBinaryArray.from_buffers(field.type, len(keys), [None, pa.py_buffer(values.tobytes())])
            for field, values in zip(self._schema, (keys, vectors.astype("<f2", copy=False)), strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema), row_group_size=_GROUP_ROWS)


def _schema(encoder_id: str, dim: int) -> pa.Schema:
    fields = [
        pa.field("sha256", pa.binary(KEY_BYTES), nullable=False),
        pa.field("vector", pa.binary(2 * dim), nullable=False),
    ]
    return pa.schema(fields, metadata={_ENCODER_ID: encoder_id.encode()})


def _keys(table: pa.Table) -> np.ndarray:
    """Return the column sha256 as S32[n]."""
    return np.frombuffer(_content(table, "sha256"), KEY_DTYPE)


def _vectors(table: pa.Table, dim: int) -> np.ndarray:
    """Return the column vector as float16[n, dim]."""
    return np.frombuffer(_content(table, "vector"), "<f2").reshape(-1, dim)


def _content(table: pa.Table, column: str) -> memoryview:
    """Return the bytes of a column of fixed size, row after row."""
    values = table[column].combine_chunks()
    size = values.type.byte_width
    return memoryview(values.buffers()[1])[values.offset * size : (values.offset + len(values)) * size]


@contextmanager
def _damage_guard() -> Iterator[None]:
    """Raise DamagedFile where Arrow cannot parse a file, or a page's checksum is wrong (an OSError that names it)."""
    try:
        yield
    except pa.ArrowInvalid as error:
        raise DamagedFile(str(error)) from None
    except OSError as error:
        if "CRC" not in str(error):
            raise
        raise DamagedFile(str(error)) from None
