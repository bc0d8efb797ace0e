"""Thumbnails of a segment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from artifacts.segments.delta_writer import DeltaWriter
from artifacts.segments.segment import Segment
from artifacts.segments.thumbnails import THUMBNAILS_FILE, Thumbnails
from tests.artifacts.building import product_table, unit_vectors, write_delta, write_segment

JPEGS = [b"jpeg %d" % row if row % 3 else None for row in range(200)]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The row groups that were read, of any Parquet file, in that order."""
    groups: list[int] = []
    read_row_group = pq.ParquetFile.read_row_group

    def record(self: pq.ParquetFile, group: int, *rest: Any, **options: Any) -> Any:
        groups.append(group)
        return read_row_group(self, group, *rest, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", record)
    return groups


@pytest.fixture
def thumbnails(tmp_path: Path) -> Thumbnails:
    write_segment(tmp_path / "s", unit_vectors(200), thumbnails=JPEGS)
    return Thumbnails(tmp_path / "s/part-00000" / THUMBNAILS_FILE)


def test_thumbnails_are_read_by_row(thumbnails: Thumbnails):
    rows = np.random.default_rng(0).permutation(200).tolist()
    assert [thumbnails.get(row) for row in rows] == [JPEGS[row] for row in rows]
    assert thumbnails.get(10**6) is None


def test_take_reads_every_row_group_once(thumbnails: Thumbnails, reads: list[int]):
    rows = np.random.default_rng(0).permutation(250)
    assert thumbnails.take(rows) == [JPEGS[row] if row < 200 else None for row in rows]
    assert reads == sorted(set(reads))
    assert len(reads) > 1
    assert thumbnails.take(np.array([4, 4, 3])) == [b"jpeg 4", b"jpeg 4", None]
    assert thumbnails.take(np.empty(0, np.int64)) == []


def test_carrying_rows_reads_every_row_group_once(tmp_path: Path, reads: list[int]):
    write_segment(tmp_path / "base", unit_vectors(3))
    products = product_table([f"n{row}" for row in range(200)])
    write_delta(tmp_path / "last", tmp_path / "base", unit_vectors(200), products, thumbnails=JPEGS)
    base = Segment(tmp_path / "base")
    last = Segment(tmp_path / "last", base)
    rows = np.arange(0, 200, 2)
    writer = DeltaWriter(tmp_path / "next", base, last.products.schema)
    writer.carry(last, rows)
    writer.finish("next")
    assert 1 < len(reads) == len(set(reads))
    written = Segment(tmp_path / "next", base)
    assert written.thumbnails is not None
    assert written.thumbnails.take(np.arange(100)) == [JPEGS[row] for row in rows]
    for segment in (written, last, base):
        segment.close()


def test_a_segment_without_thumbnails_has_no_file_for_them(tmp_path: Path):
    info = write_segment(tmp_path / "s", unit_vectors(3), thumbnails=[None] * 3)
    assert not any("thumbnails" in name for name in info.files)
