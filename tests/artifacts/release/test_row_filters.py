"""Row filters of a release: prepared once, small in memory, without deleted rows, kept with the base."""

from __future__ import annotations

import gc
import weakref
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from artifacts.index import planner
from artifacts.index.joined import Joined
from artifacts.products.filters import Condition
from artifacts.release.release import Release
from artifacts.segments.row_filter import RowFilter, RowFilterCache
from tests.artifacts.building import DIM, open_release, product_table, unit_vectors, write_delta, write_segment
from tests.artifacts.release.release_building import DEEP, FILTERS, Catalog


def test_a_delta_may_only_delete(tmp_path: Path):
    write_segment(tmp_path / "0", unit_vectors(3), segment_id="s0")
    write_delta(tmp_path / "1", tmp_path / "0", deleted=["p1"])
    release = open_release(tmp_path / "0", tmp_path / "1")
    assert set(release.product_ids(release.search(np.eye(1, DIM), 9, DEEP)[0][0])) == {"p0", "p2"}
    assert (release.count(()), release.pictures) == (2, 2)
    assert [release.locate(product_id) is None for product_id in ("p0", "p1", "p2")] == [False, True, False]
    release.close()


def test_a_delta_may_delete_everything(tmp_path: Path):
    write_segment(tmp_path / "0", unit_vectors(3), segment_id="s0")
    write_delta(tmp_path / "1", tmp_path / "0", deleted=["p0", "p1", "p2"])
    release = open_release(tmp_path / "0", tmp_path / "1")
    assert release.search(np.eye(1, DIM), 9, DEEP)[0] == [[]]
    assert (release.count(()), release.facet("price", ())) == (0, [])
    release.close()


def test_row_filters_hold_the_rows_of_the_products_that_pass(catalog: Catalog):
    for conditions in FILTERS.values():
        row_filter = catalog.release.row_filter(conditions)
        if row_filter is None:
            assert conditions == ()
            continue
        passing = catalog.passing(conditions)
        rows = [catalog.release.locate(product.id) for product in passing]
        expected = sorted(int(row) for found in rows if found is not None for row in found)
        assert row_filter.rows.tolist() == expected
        assert row_filter.count == len(expected)
        assert all(row in row_filter for row in expected)
        lists = [segment.lists for segment in catalog.release.segments if segment.lists is not None]
        if lists and row_filter.rows_per_list is not None:
            of_rows = Joined(*(part for each in lists for part in each.parts)).gather(row_filter.rows)
            assert (
                row_filter.rows_per_list.tolist()
                == np.bincount(of_rows, minlength=catalog.release.base.info.index.lists).tolist()
            )


def test_a_row_filter_takes_one_bit_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """At 100 million rows, row numbers would take 800 MB for each filter."""
    monkeypatch.setattr(planner, "MAX_EXACT_ROWS", 100)
    write_segment(tmp_path / "0", unit_vectors(8000), segment_id="s0")
    write_delta(tmp_path / "1", tmp_path / "0", deleted=["p1"])
    release = open_release(tmp_path / "0", tmp_path / "1")
    conditions = (Condition("price", minimum=5.0),)
    row_filter = release.row_filter(conditions)
    assert row_filter is not None
    assert release.row_filter(conditions) is row_filter
    assert row_filter.nbytes <= 8000 / 8 + 100
    release.close()


def test_a_base_keeps_what_filters_let_pass_for_the_next_delta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_segment(tmp_path / "0", unit_vectors(50), segment_id="s0")
    write_delta(tmp_path / "1", tmp_path / "0", deleted=["p1"])
    write_delta(tmp_path / "2", tmp_path / "0", unit_vectors(1), product_table(["new"], price=[7.0]), deleted=["p2"])
    conditions = (Condition("price", maximum=9.0),)
    old = open_release(tmp_path / "0", tmp_path / "1")
    assert old.count(conditions) == 9
    assert old.base.database is not None

    def fail(conditions: object) -> None:
        raise AssertionError("the base was asked again")

    new = open_release(tmp_path / "0", tmp_path / "2", opened=old.segments)
    monkeypatch.setattr(new.base.database, "matching_rows", fail)
    assert new.count(conditions) == 10
    new.close_unshared(old.segments)
    old.close()


def test_releases_of_a_base_share_one_memory_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A server keeps the releases that searches page through, and a stream publishes one every half minute."""
    limit = 40_000
    monkeypatch.setattr("artifacts.segments.segment.RowFilterCache", partial(RowFilterCache, max_bytes=limit))
    write_segment(tmp_path / "base", unit_vectors(4000), segment_id="base")
    releases: list[Release] = []
    kept: list[weakref.ref[RowFilter]] = []
    for number in range(4):
        folder = tmp_path / f"delta{number}"
        write_delta(folder, tmp_path / "base", deleted=[f"p{number}"], segment_id=folder.name)
        opened = [segment for release in releases for segment in release.segments]
        releases.append(open_release(tmp_path / "base", folder, opened=opened))
        for price in range(1000, 1030):
            row_filter = releases[-1].row_filter((Condition("price", maximum=float(price)),))
            assert row_filter is not None
            assert row_filter.count == price  # one product is deleted
            kept.append(weakref.ref(row_filter))
        del row_filter
        gc.collect()
        sizes = [row_filter.nbytes for reference in kept if (row_filter := reference()) is not None]
        del row_filter
        assert 0 < sum(sizes) <= limit
    # The same filter of two deltas is not mistaken for one another.
    conditions = (Condition("price", maximum=3.0),)
    rows = [row_filter.rows.tolist() for release in releases if (row_filter := release.row_filter(conditions))]
    assert rows == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    for release in releases:
        release.close()


def test_filters_larger_than_the_cache_are_prepared_each_time(flat: Catalog):
    cache, made = RowFilterCache(max_bytes=0), []
    row_filter = flat.release.row_filter(FILTERS["price"])
    assert row_filter is not None
    for _ in range(2):
        assert cache.get(FILTERS["price"], lambda: made.append(1) or row_filter) is row_filter
    assert len(made) == 2
