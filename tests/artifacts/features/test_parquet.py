"""Parquet files of an embedding store: merging, killed writers, and what a lookup reads."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from artifacts.errors import EmbeddingStoreError
from artifacts.features import parquet_store
from artifacts.features.parquet_file import VectorFile
from artifacts.features.parquet_store import ParquetStore
from artifacts.storage import TEMPORARY, Folder
from tests.features import DIM, keys, unit_vectors


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.parquet"))


def rows_in(folder: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in files(folder))


def put_parts(store: ParquetStore, count: int, parts: int) -> None:
    known, vectors = keys(count), unit_vectors(count)
    for part in np.array_split(np.arange(count), parts):
        store.put("e", [known[row] for row in part], vectors[part])


def assert_has_all(store: ParquetStore, count: int) -> None:
    found, got = store.get("e", DIM, keys(count))
    assert found.all()
    assert np.array_equal(got, unit_vectors(count))


def test_files_are_merged_by_eight_of_a_size(tmp_path: Path) -> None:
    store = ParquetStore(str(tmp_path))
    put_parts(store, 7 * 50, 7)
    assert len(files(tmp_path)) == 7
    for turn in range(64):
        store.put("e", keys(50, seed=100 + turn), unit_vectors(50, seed=100 + turn))
    assert len(files(tmp_path)) < 20
    assert rows_in(tmp_path) == 7 * 50 + 64 * 50
    assert_has_all(store, 7 * 50)
    assert_has_all(ParquetStore(str(tmp_path)), 7 * 50)


def test_merged_files_are_sorted_and_have_each_key_once(tmp_path: Path) -> None:
    store = ParquetStore(str(tmp_path))
    for _ in range(8):
        store.put("e", keys(3000), unit_vectors(3000))
    (path,) = files(tmp_path)
    stored = pq.read_table(path)["sha256"].to_pylist()
    assert stored == sorted(keys(3000))
    assert_has_all(store, 3000)


def test_large_files_are_not_merged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_store, "_MAX_ROWS", 1000)
    store = ParquetStore(str(tmp_path))
    put_parts(store, 9600, 96)
    assert max(pq.read_metadata(path).num_rows for path in files(tmp_path)) <= 1000
    assert rows_in(tmp_path) == 9600
    assert_has_all(store, 9600)


def test_a_lookup_of_a_few_keys_reads_a_few_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ParquetStore(str(tmp_path))
    store.put("e", keys(100_000), unit_vectors(100_000))
    read: list[int] = []
    plain = pq.ParquetFile.read_row_groups

    def counting(self: pq.ParquetFile, groups: list[int], *arguments: object, **options: object) -> object:
        read.extend(groups)
        return plain(self, groups, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", counting)
    chosen = [7, 50_000, 99_999]
    found, got = store.get("e", DIM, [keys(100_000)[row] for row in chosen])
    assert found.all()
    assert np.array_equal(got, unit_vectors(100_000)[chosen])
    assert len(read) <= 2 * len(chosen)


def test_a_reader_whose_files_are_merged_meanwhile_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = ParquetStore(str(tmp_path)), ParquetStore(str(tmp_path))
    put_parts(writer, 7 * 100, 7)
    plain, lookups = VectorFile.lookup, []

    def merging(self: VectorFile, wanted: np.ndarray) -> object:
        lookups.append(self.name)
        if len(lookups) == 3:
            writer.put("e", keys(100, seed=9), unit_vectors(100, seed=9))
        return plain(self, wanted)

    monkeypatch.setattr(VectorFile, "lookup", merging)
    assert_has_all(reader, 700)
    assert len(files(tmp_path)) == 1


def test_a_merge_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    store = ParquetStore(str(tmp_path))
    put_parts(store, 7 * 400, 7)
    program = (
        "import os; from artifacts.storage import Folder;"
        "Folder.remove = lambda *_: os.kill(os.getpid(), 9);"
        "from tests.features import *; from artifacts.features.parquet_store import ParquetStore;"
        f"ParquetStore({str(tmp_path)!r}).put('e', keys(400, seed=5), unit_vectors(400, seed=5))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert len(files(tmp_path)) == 9  # the merged file and its inputs
    assert_has_all(store, 2800)
    assert store.get("e", DIM, keys(400, seed=5))[0].all()


def test_temporary_files_of_killed_writers_are_never_read_and_removed_a_day_later(tmp_path: Path) -> None:
    store = ParquetStore(str(tmp_path))
    put_parts(store, 700, 7)
    folder = files(tmp_path)[0].parent
    old, new = (folder / f"{TEMPORARY}{name}-000000100-x.parquet" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * 86_400,) * 2)
    assert_has_all(store, 700)
    store.put("e", keys(100, seed=1), unit_vectors(100, seed=1))
    assert (old.exists(), new.exists()) == (False, True)


def test_a_damaged_file_is_named_left_alone_and_not_merged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ParquetStore(str(tmp_path))
    put_parts(store, 7 * 100, 7)
    damaged = files(tmp_path)[0]
    content = bytearray(damaged.read_bytes())
    content[2000] ^= 0xFF  # in a vector: only the page's checksum tells
    damaged.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        for turn in range(9):
            store.put("e", keys(100, seed=50 + turn), unit_vectors(100, seed=50 + turn))
    assert damaged.name in caplog.text
    assert damaged.exists()
    assert len(files(tmp_path)) < 10
    found, got = store.get("e", DIM, keys(700))
    assert found.sum() == 600
    assert np.array_equal(got[found], unit_vectors(700)[found])


def test_files_of_another_encoder_are_not_read(tmp_path: Path) -> None:
    store = ParquetStore(str(tmp_path))
    store.put("e", keys(5), unit_vectors(5))
    store.put("f", keys(5), unit_vectors(5, seed=1))
    of_e, of_f = sorted(files(tmp_path), key=lambda path: path.parent.name)
    (of_f.parent / of_e.name).write_bytes(of_e.read_bytes())
    found, got = ParquetStore(str(tmp_path)).get("f", DIM, keys(5))
    assert found.all()
    assert np.array_equal(got, unit_vectors(5, seed=1))


def test_an_object_store_that_fails_in_its_own_way_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(Exception):
        pass

    def refuse(*_: object, **__: object) -> None:
        raise Refused("no credentials")

    store = ParquetStore("memory://refused")
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "ls", refuse)
    with pytest.raises(EmbeddingStoreError, match="Refused: no credentials"):
        store.get("e", DIM, keys(1))


def test_vectors_can_be_read_as_any_parquet(tmp_path: Path) -> None:
    ParquetStore(str(tmp_path)).put("e", keys(3), unit_vectors(3))
    (path,) = files(tmp_path)
    table = pq.read_table(path)
    assert table.schema.metadata == {b"encoder_id": b"e"}
    values = dict(zip(table["sha256"].to_pylist(), table["vector"].to_pylist(), strict=True))
    assert np.array_equal(np.frombuffer(values[keys(3)[1]], "<f2"), unit_vectors(3)[1])
    assert Folder(path.parent).names() == [path.name]
