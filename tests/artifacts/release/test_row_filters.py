"""Row filters of a release: prepared once, small in memory, without deleted rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.index import planner
from artifacts.products.filters import Condition
from artifacts.release.row_filters import RowFilterCache, find_deleted_rows
from tests.artifacts.building import DIM, open_release, product_table, unit_vectors, write_segment
from tests.artifacts.release.release_building import DEEP, Catalog


def test_a_newer_segment_deletes_and_replaces_rows_of_older_ones(tmp_path: Path):
    segments = (("ab", ""), ("c", "a"), ("a", "b"))
    for number, (ids, deleted) in enumerate(segments):
        write_segment(
            tmp_path / str(number), unit_vectors(len(ids), seed=number), product_table(list(ids)),
            segment_id=f"s{number}", tombstones=list(deleted),
        )  # fmt: skip
    release = open_release(*(tmp_path / str(number) for number in range(3)))
    deleted_rows = find_deleted_rows(release.segments)
    assert [None if rows is None else rows.tolist() for rows in deleted_rows] == [[0, 1], None, None]
    hits = release.search(np.eye(1, DIM), 9, DEEP)[0][0]
    assert dict(zip(release.product_ids(hits), (hit.segment for hit in hits), strict=True)) == {"a": 2, "c": 1}
    assert (release.count(()), release.pictures) == (2, 2)
    locations = [release.locate(product_id) for product_id in "abc"]
    assert [location and location[0] for location in locations] == [2, None, 1]
    release.close()


def test_a_segment_may_only_delete(tmp_path: Path):
    write_segment(tmp_path / "0", unit_vectors(3), segment_id="s0")
    write_segment(tmp_path / "1", unit_vectors(0), product_table([]), segment_id="s1", tombstones=["p1"])
    release = open_release(tmp_path / "0", tmp_path / "1")
    assert set(release.product_ids(release.search(np.eye(1, DIM), 9, DEEP)[0][0])) == {"p0", "p2"}
    assert release.count(()) == 2
    release.close()


def test_a_row_filter_takes_one_bit_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """At 100 million rows, row numbers would take 800 MB for each filter."""
    monkeypatch.setattr(planner, "MAX_EXACT_ROWS", 100)
    write_segment(tmp_path / "0", unit_vectors(8000), segment_id="s0")
    write_segment(tmp_path / "1", unit_vectors(0), product_table([]), segment_id="s1", tombstones=["p1"])
    release = open_release(tmp_path / "0", tmp_path / "1")
    for conditions in ((), (Condition("price", minimum=5.0),)):
        row_filters = release.row_filters(conditions)
        assert release.row_filters(conditions) is row_filters
        assert row_filters[0] is not None
        assert row_filters[0].nbytes <= 8000 / 8 + 100
    release.close()


def test_filters_larger_than_the_cache_are_prepared_each_time(flat: Catalog):
    segments = flat.release.segments
    row_filters = RowFilterCache(segments, find_deleted_rows(segments), max_bytes=0)
    conditions = (Condition("price", maximum=1.0),)
    first, second = row_filters.get(conditions), row_filters.get(conditions)
    assert first is not second
    expected = sum(len(product.vectors) for product in flat.passing(conditions))
    for prepared in (first, second):
        assert sum(row_filter.count for row_filter in prepared if row_filter) == expected
