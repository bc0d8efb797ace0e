"""Databases that are read for changes: from the watermark on."""

from __future__ import annotations

# ruff: noqa: S608 — the queries under test
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from artifacts.errors import CatalogError
from jobs.catalog.changes import CatalogChanges, find_changes
from jobs.catalog.step import validate_catalog
from jobs.workspace.workspace import Workspace

SINCE = datetime(2026, 11, 5, 12, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(str(tmp_path / "ws"), 1)


@pytest.fixture
def shop(tmp_path: Path) -> str:
    """A database of products that were updated at 10:00 on the first days of November."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as db:
        db.execute("CREATE TABLE products (product_id TEXT, image_url TEXT, Updated_At TIMESTAMP, day DATE, note TEXT)")
        db.executemany(
            "INSERT INTO products VALUES (?, 'u.jpg', ?, ?, 'x')",
            [(f"p{day}", f"2026-11-{day:02} 10:00:00.000000", f"2026-11-{day:02}") for day in range(1, 10)]
            + [("undated", None, None)],
        )
        db.commit()
    return f"sqlite:///{tmp_path}/shop.db"


def find(source: str, folder: Path, since: datetime | None = None, **options: float) -> CatalogChanges:
    """Return the changes that a source makes where nothing is served."""
    scratch = folder / f"scratch-{len(list(folder.iterdir()))}"
    return find_changes(source, None, 0, scratch, changes_only=True, since=since, **options)


def ids(changes: CatalogChanges) -> list[str]:
    return pq.read_table(changes.changed)["product_id"].to_pylist()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT product_id, image_url, updated_at FROM products WHERE updated_at > :watermark",
        'SELECT *, \'10:30 :watermark\' AS a, ":watermark" AS b FROM (SELECT *, 1 AS ":watermark" FROM products) '
        "-- :watermark\nWHERE :watermark < updated_at /* :watermark\n */ AND note <> ':watermark' ;",
    ],
)
def test_query_is_given_the_watermark(shop: str, tmp_path: Path, query: str) -> None:
    source = f"{shop}#{query}"
    assert ids(find(source, tmp_path)) == [f"p{day}" for day in range(1, 10)]
    changes = find(source, tmp_path, SINCE)
    assert ids(changes) == ["p6", "p7", "p8", "p9"]
    assert changes.watermark == datetime(2026, 11, 9, 10, tzinfo=UTC)


def test_table_is_read_from_the_watermark_on(shop: str, tmp_path: Path) -> None:
    everything = [*(f"p{day}" for day in range(1, 10)), "undated"]
    assert ids(find(f"{shop}#products", tmp_path)) == everything
    changes = find(f"{shop}#products", tmp_path, SINCE.astimezone(timezone(timedelta(hours=-5))))
    assert ids(changes) == ["p6", "p7", "p8", "p9"]
    scratch = tmp_path / "full"  # a full catalog is read whole
    assert ids(find_changes(f"{shop}#products", None, 0, scratch, since=SINCE)) == everything


def test_reading_begins_before_the_watermark(shop: str, tmp_path: Path) -> None:
    since = datetime(2026, 11, 9, 10, 4, 59, tzinfo=UTC)
    assert ids(find(f"{shop}#products", tmp_path, since)) == ["p9"]
    assert ids(find(f"{shop}#products", tmp_path, since, overlap_seconds=200)) == []
    assert ids(find(f"{shop}#products", tmp_path, since, overlap_seconds=86_400)) == ["p9"]
    assert ids(find(f"{shop}#products", tmp_path, since, overlap_seconds=90_000)) == ["p8", "p9"]


def test_reading_without_new_rows_keeps_the_watermark(shop: str, tmp_path: Path) -> None:
    since = datetime(2026, 11, 20, tzinfo=UTC)
    changes = find(f"{shop}#products", tmp_path, since)
    assert (ids(changes), changes.watermark, changes.counts.input_rows) == ([], since, 0)


def test_table_without_times_is_read_whole(shop: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(shop.removeprefix("sqlite:///"))) as db:
        db.execute("CREATE TABLE plain AS SELECT product_id, image_url FROM products")
        db.execute("CREATE TABLE texts (product_id TEXT, image_url TEXT, updated_at TEXT)")
        db.execute("INSERT INTO texts VALUES ('a', 'u', '2026-11-01')")
        db.execute("CREATE TABLE days (product_id TEXT, image_url TEXT, updated_at DATE)")
        db.execute("INSERT INTO days SELECT product_id, image_url, day FROM products")
        db.commit()
    assert len(ids(find(f"{shop}#plain", tmp_path, SINCE))) == 10
    assert ids(find(f"{shop}#texts", tmp_path, SINCE)) == ["a"]
    assert ids(find(f"{shop}#days", tmp_path, SINCE)) == ["p6", "p7", "p8", "p9"]


def test_query_with_watermark_needs_the_column_that_it_compares(shop: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="uses :watermark: select the column that it compares, as updated_at"):
        find(f"{shop}#SELECT product_id, image_url FROM products WHERE updated_at > :watermark", tmp_path)


def test_build_reads_a_query_with_watermark_from_the_earliest_time(shop: str, workspace: Workspace) -> None:
    source = f"{shop}#SELECT * FROM products WHERE updated_at > :watermark"
    assert validate_catalog(source, workspace, 0).ok == 9


def test_deletions_are_rows_of_the_database(shop: str, tmp_path: Path) -> None:
    source = f"{shop}#SELECT *, product_id = 'p9' AS deleted FROM products WHERE updated_at > :watermark"
    changes = find(source, tmp_path, SINCE)
    assert ids(changes) == ["p6", "p7", "p8"]
    assert pq.read_table(changes.deleted).to_pylist() == [
        {"product_id": "p9", "updated_at": datetime(2026, 11, 9, 10, tzinfo=UTC)}
    ]
