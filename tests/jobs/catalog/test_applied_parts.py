"""Files of changes that a release has applied: only the others are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from jobs.catalog.changes import CatalogChanges, ChangeCounts, find_changes
from jobs.catalog.compare.selection import Selection
from tests.jobs.catalog.changing import Row, Shop, kinds, product


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_file_of_changes_that_is_applied_is_skipped_unless_products_are_forced(shop: Shop) -> None:
    rows = [product(0), product(1)]
    shop.serve(rows)
    applied = shop.find(rows, changes_only=True).parts
    assert applied.keys() == {"shop.jsonl"}
    skipped = shop.find(rows, changes_only=True, applied=applied)
    assert (skipped.skipped, skipped.parts, skipped.counts) == (True, applied, ChangeCounts())
    assert shop.find(rows, changes_only=True, applied=applied, force=Selection()).counts.pictures == 2
    assert shop.find(rows, changes_only=True, applied=applied, retry_due=True).counts.unchanged == 2
    changed = shop.find([product(0, price=7), product(1)], changes_only=True, applied=applied)
    assert (changed.counts.attributes, changed.counts.unchanged) == (1, 1)
    assert changed.parts != applied


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_only_files_of_changes_that_are_new_or_changed_are_read(shop: Shop, suffix: str) -> None:
    feed = shop.folder / "feed"

    def write(name: str, *rows: Row) -> None:
        path = feed / f"{name}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == "csv":
            pyarrow.csv.write_csv(pa.Table.from_pylist([dict(row) for row in rows]), path)
        else:
            Path(shop.write(rows, suffix)).rename(path)

    def find(applied: Mapping[str, str] | None) -> CatalogChanges:
        scratch = shop.folder / f"scratch-{len(list(shop.folder.glob('scratch-*')))}"
        return find_changes(str(feed), shop.state, 1, scratch, changes_only=True, applied=applied)

    write("size=1/1", product(1))
    write("size=2/2", product(2), product(3))
    applied = find(None).parts
    assert list(applied) == [f"size=1/1.{suffix}", f"size=2/2.{suffix}"]
    assert find(applied).skipped
    write("size=2/2", product(2), product(3), product(4, price=-1))
    (feed / f"size=1/1.{suffix}").unlink()
    changes = find(applied)
    assert kinds(changes) == {"p2": "new", "p3": "new"}
    assert "size" in changes.attributes
    assert changes.parts.keys() == {f"size=2/2.{suffix}"}
    write("size=1/3", product(5, price=-1))
    changes = find(changes.parts)  # it is one of several, so the reject names it
    (reject,) = pq.read_table(changes.rejects).to_pylist()
    assert reject["detail"] == f"size=1/3.{suffix}, row 1: price: -1 is below 0"


def test_folder_of_changes_that_was_emptied_changes_nothing(shop: Shop) -> None:
    feed = shop.folder / "feed"
    feed.mkdir()
    for retry_due in (False, True):
        scratch = shop.folder / f"scratch-{retry_due}"
        applied = {"1.jsonl": "digest"}
        changes = find_changes(
            str(feed), shop.state, 1, scratch, changes_only=True, applied=applied, retry_due=retry_due
        )
        assert (changes.skipped, changes.retried, changes.parts) == (True, False, {})
