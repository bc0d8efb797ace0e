"""Reads the products, pictures and vectors of one shard block by block, so that no shard is in memory as a whole."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import StepFailed
from artifacts.schema import OK
from jobs.parquet import open_for_batches
from jobs.workspace.shards import ShardFolder

#: Rows that are read at once.
BATCH_ROWS = 1024
#: Vectors that are copied at once; the row groups of an embeddings shard are as large.
_VECTOR_ROWS = 8192
#: A sha256 in hexadecimal digits.
_KEY = np.dtype("S64")


class ProductReader:
    """Reads the products of a catalog shard, which are sorted by product_id."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._batches = file.iter_batches(BATCH_ROWS)
        self._rows = file.schema_arrow.empty_table()

    def take(self, count: int) -> pa.Table:
        """Return the next `count` products; fewer, where the shard ends."""
        while self._rows.num_rows < count and (batch := next(self._batches, None)) is not None:
            self._rows = pa.concat_tables([self._rows, pa.Table.from_batches([batch])])
        taken, self._rows = self._rows.slice(0, count), self._rows.slice(count)
        return taken


def whole_products(file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the pictures of an images shard, about BATCH_ROWS at a time, those of a product all in one table."""
    rows = pa.schema([file.schema_arrow.field(name) for name in columns]).empty_table()
    for batch in file.iter_batches(BATCH_ROWS, columns=columns):
        rows = pa.concat_tables([rows, pa.Table.from_batches([batch])])
        ids = rows["product_id"]
        last = ids.index(ids[-1]).as_py()  # the first picture of the last product, which may go on
        if last:
            yield rows.slice(0, last)
            rows = rows.slice(last)
    if rows.num_rows:
        yield rows


class JpegReader:
    """Reads JPEGs of an images shard, one row group at a time, and only the row groups that have any of the rows."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._group, self._jpegs = -1, pa.chunked_array([], pa.binary())

    def blocks(self, rows: np.ndarray) -> Iterator[list[bytes]]:
        """Yield the JPEGs of rows int64[n] in blocks, in the order of the rows.

        Args:
            rows: of the shard, ascending.
        """
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        for group in np.unique(groups).tolist():
            if group != self._group:  # a row group often belongs to two batches
                self._group, self._jpegs = group, self._file.read_row_group(group, ["jpeg"])["jpeg"]
            yield self._jpegs.take(pa.array(rows[groups == group] - self._starts[group])).to_pylist()


class VectorReader:
    """Finds vectors of an embeddings shard by the sha256 of their pictures.

    The keys and vectors are copied to temporary files, which are mapped: they take disk and pages that the system can
    drop, not memory of this process. No other process sees the files, and they are gone when this one ends.

    Args:
        embeddings: the embeddings of an encoder; a shard's rows are sorted by sha256.
        dim: length of a vector.
        folder: for the temporary files, on this machine.

    Attributes:
        rows: of the shard.

    Raises:
        StepFailed: the rows are not sorted.
    """

    def __init__(self, embeddings: ShardFolder, shard: int, dim: int, folder: Path) -> None:
        self.rows, self._dim, last = 0, dim, b""
        with (
            tempfile.TemporaryFile(dir=folder) as keys,
            tempfile.TemporaryFile(dir=folder) as vectors,
            embeddings.open(shard) as file,
        ):
            for batch in open_for_batches(file).iter_batches(_VECTOR_ROWS):
                block = _keys(batch["sha256"])
                if not (block > np.array([last, *block[:-1]], _KEY)).all():
                    raise StepFailed(
                        f"{embeddings.path(shard)} is not sorted by sha256: remove it, and run the embed step again"
                    )
                keys.write(block.data)
                vectors.write(_vectors(batch, dim).data)
                self.rows += len(block)
                last = block[-1]
            self._keys = _mapped(keys, _KEY, self.rows)
            self._vectors = _mapped(vectors, np.dtype((np.float16, dim)), self.rows)

    def positions(self, sha256: pa.ChunkedArray) -> np.ndarray:
        """Return the row of each picture in the shard, int64[n]; -1 where it is null or not in the shard."""
        wanted = _keys(sha256.fill_null(""))
        positions = np.searchsorted(self._keys, wanted)
        found = np.flatnonzero(positions < self.rows)
        found = found[self._keys[positions[found]] == wanted[found]]
        result = np.full(len(wanted), -1, np.int64)
        result[found] = positions[found]
        return result

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Return the vectors of rows as float16[n, dim]; NaN where the row is -1 or has no vector."""
        vectors = np.full((len(positions), self._dim), np.nan, np.float16)
        found = positions >= 0
        vectors[found] = self._vectors[positions[found]]
        return vectors


def _keys(sha256: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return np.array(sha256.to_pylist(), _KEY)


def _vectors(batch: pa.RecordBatch, dim: int) -> np.ndarray:
    """float16[rows, dim]; NaN in rows without a vector."""
    usable = np.asarray(batch["status"]) == OK
    vectors = np.full((len(usable), dim), np.nan, np.float16)
    values = batch["vector"].filter(pa.array(usable)).flatten()
    vectors[usable] = values.to_numpy(zero_copy_only=False).reshape(-1, dim)
    return vectors


def _mapped(file: IO[bytes], dtype: np.dtype, rows: int) -> np.ndarray:
    if not rows:  # mmap refuses an empty file
        return np.empty(0, dtype)
    file.flush()
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.madvise(mmap.MADV_RANDOM)  # no reading ahead: the pictures' order is not that of their vectors
    return np.frombuffer(mapped, dtype)
