"""Thumbnails of a segment."""

from __future__ import annotations

from pathlib import Path

from artifacts.segments.segment import Segment
from tests.artifacts.building import unit_vectors, write_segment


def test_thumbnails_are_read_by_row(tmp_path: Path):
    jpegs = [b"jpeg %d" % row if row % 3 else None for row in range(200)]
    write_segment(tmp_path / "s", unit_vectors(200), thumbnails=jpegs)
    segment = Segment(tmp_path / "s")
    assert segment.thumbnails
    assert [segment.thumbnails.get(row) for row in range(200)] == jpegs
    assert segment.thumbnails.get(10**6) is None
    segment.close()


def test_a_segment_without_thumbnails_has_no_file_for_them(tmp_path: Path):
    info = write_segment(tmp_path / "s", unit_vectors(3), thumbnails=[None] * 3)
    assert "thumbnails.parquet" not in info.files
