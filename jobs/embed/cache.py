"""The vectors of a shard: carried over from an earlier run or a refresh where they are known, written as Parquet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import CorruptFile
from artifacts.schema import OK, Reason, embeddings_schema
from jobs.parquet import corruption_guard, read_parquet
from jobs.workspace.refreshes import earlier_refreshes
from jobs.workspace.shards import ShardFolder
from jobs.workspace.workspace import Workspace

_OPTIONS: dict[str, Any] = {
    "compression": "none",  # digests and vectors are noise to a compressor
    "use_dictionary": ["status"],
    "write_statistics": ["sha256"],
    "write_page_checksum": True,
    "row_group_size": 8192,
}


class VectorTable:
    """The vectors of a shard while they are computed: float16[n, dim], in the order of the sorted keys."""

    def __init__(self, keys: list[str], dim: int) -> None:
        self._keys = keys
        self._row = {key: row for row, key in enumerate(keys)}
        self._vectors = np.zeros((len(keys), dim), dtype=np.float16)
        self._status: list[str | None] = [None] * len(keys)

    def take_from(self, earlier: pa.Table | None) -> int:
        """Copy the results of these keys from an earlier run; returns how many good vectors there were."""
        if earlier is None:
            return 0
        rows = [self._row.get(key, -1) for key in earlier["sha256"].to_pylist()]
        statuses = earlier["status"].to_pylist()
        for row, status in zip(rows, statuses, strict=True):
            if row >= 0:
                self._status[row] = status
        good = [index for index, row in enumerate(rows) if row >= 0 and statuses[index] == OK]
        values = earlier["vector"].take(pa.array(good, pa.int64())).combine_chunks().flatten()
        vectors = values.to_numpy(zero_copy_only=False).reshape(len(good), self._vectors.shape[1])
        self._vectors[np.array([rows[index] for index in good], dtype=np.int64)] = vectors
        return len(good)

    def missing(self) -> set[str]:
        """Return the keys that have no result yet."""
        return {key for key, status in zip(self._keys, self._status, strict=True) if status is None}

    def put(self, keys: list[str], vectors: np.ndarray) -> None:
        """Store float32[n, dim]; rows that are not unit vectors get the status BAD_EMBEDDING and no vector."""
        norms = np.linalg.norm(vectors, axis=1)
        for key, vector, norm in zip(keys, vectors, norms, strict=True):
            row = self._row[key]
            good = bool(abs(norm - 1) < 0.01)  # False for NaN too
            self._status[row] = OK if good else Reason.BAD_EMBEDDING.value
            if good:
                self._vectors[row] = vector

    def good_keys(self) -> list[str]:
        """Return the keys that have a vector."""
        return [key for key, status in zip(self._keys, self._status, strict=True) if status == OK]

    def counts(self) -> Counter[str]:
        """Keys by status."""
        return Counter(status for status in self._status if status is not None)

    def write(self, path: Path) -> None:
        """Write all rows as embeddings_schema(dim)."""
        dim = self._vectors.shape[1]
        bad = pa.array([status != OK for status in self._status], pa.bool_())
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(self._vectors.reshape(-1)), dim, mask=bad)
        schema = embeddings_schema(dim)
        columns = [
            pa.array(self._keys, pa.string()),
            pa.array(self._status, pa.string()),
            vectors.cast(schema.types[2]),
        ]
        write_vectors(pa.Table.from_arrays(columns, schema=schema), path)


def write_vectors(table: pa.Table, path: Path) -> None:
    """Write rows of embeddings_schema, sorted by their sha256, as a shard's file."""
    pq.write_table(table, path, **_OPTIONS)


def read_refreshed(workspace: Workspace, encoder_slug: str, dim: int, keys: set[str]) -> Iterator[pa.Table]:
    """Return the vectors that refreshes have computed for some pictures, each picture once.

    Files that are damaged or gone are left out.

    Args:
        keys: sha256 of the pictures.
    """
    missing = set(keys)
    for refresh in earlier_refreshes(workspace):
        shards = refresh.embeddings(encoder_slug)
        for shard in range(shards.shards):
            if not missing:
                return
            table = _read_keys(shards, shard, dim, missing)
            if table is not None and table.num_rows:
                missing.difference_update(table["sha256"].to_pylist())
                yield table


def find_vectors(folders: Sequence[ShardFolder], keys: set[str]) -> pa.Table | None:
    """Return the results that several folders of one encoder have for some pictures, each once and sorted by sha256.

    Args:
        folders: of two that have a picture, the first counts. Files that are damaged or gone are left out.
        keys: sha256 of the pictures.

    Returns:
        As embeddings_schema; None if there are none.
    """
    missing, tables = set(keys), []
    for folder in folders:
        for shard in range(folder.shards):
            dim = tables[0].schema.field("vector").type.list_size if tables else None
            table = _read_keys(folder, shard, dim, missing)
            if table is not None and table.num_rows:
                missing.difference_update(table["sha256"].to_pylist())
                tables.append(table)
    return pa.concat_tables(tables).sort_by("sha256") if tables else None


def _read_keys(shards: ShardFolder, shard: int, dim: int | None, keys: set[str]) -> pa.Table | None:
    """Return the rows of some keys, reading only the row groups that have any; None if the file is of no use.

    Args:
        dim: what the vectors must have; None: whatever those of the file have.
    """
    if not shards.exists(shard):
        return None
    with (
        suppress(CorruptFile, FileNotFoundError),
        shards.open(shard) as stream,
        corruption_guard(shards.path(shard)),
    ):
        file = pq.ParquetFile(stream, page_checksum_verification=True)
        if not file.schema_arrow.equals(embeddings_schema(dim or file.schema_arrow.field("vector").type.list_size)):
            return None
        tables = [file.schema_arrow.empty_table()]
        for group in range(file.num_row_groups):
            found = [key in keys for key in file.read_row_group(group, ["sha256"])["sha256"].to_pylist()]
            if any(found):
                tables.append(file.read_row_group(group).filter(pa.array(found)))
        return pa.concat_tables(tables)
    return None


def read_cached(shards: ShardFolder, shard: int, dim: int) -> pa.Table | None:
    """Return the vectors that an earlier run left for this shard and encoder; None if they are missing or damaged."""
    if not shards.exists(shard):
        return None
    try:
        with shards.open(shard) as stream, corruption_guard(shards.path(shard)):
            table = read_parquet(stream, checked=True)
    except CorruptFile:
        return None
    return table if table.schema.equals(embeddings_schema(dim)) else None
