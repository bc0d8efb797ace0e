"""Catalogs in PostgreSQL: types, time zones, and changes from the watermark on."""

from __future__ import annotations

# ruff: noqa: S608 — the queries under test
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from artifacts.errors import CatalogError
from jobs.catalog.changes import CatalogChanges, find_changes
from jobs.catalog.compare.state import StateFiles
from tests.jobs.catalog.validating import assert_refused, validate
from tests.postgres import PostgresServer
from tests.states import write_state

pytestmark = pytest.mark.postgres

START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def db(server: PostgresServer) -> Iterator[psycopg.Connection]:
    """A connection to a database without tables."""
    with server.connect() as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
        yield connection


def create_products(db: psycopg.Connection, rows: int = 0, updated_at: str = "timestamptz") -> None:
    """Create a table of products p0, p1, …; each was updated an hour after the one before."""
    db.execute(
        "CREATE TABLE products (product_id text PRIMARY KEY, image_url text, price numeric, deleted boolean, "  # type: ignore[arg-type]
        f"updated_at {updated_at})"
    )
    db.execute("SET TIME ZONE 'UTC'")
    db.execute(
        "INSERT INTO products SELECT 'p' || n, 'https://x.example/' || n || '.jpg', n, false, %s::timestamptz "
        "+ n * interval '1 hour' FROM generate_series(0, %s - 1) n",
        [START, rows],
    )


def update(db: psycopg.Connection, product: str, price: float, updated_at: datetime, *, deleted: bool = False) -> None:
    db.execute(
        "UPDATE products SET price = %s, updated_at = %s, deleted = %s WHERE product_id = %s",
        [price, updated_at, deleted, product],
    )


def changed(changes: CatalogChanges) -> list[str]:
    return pq.read_table(changes.changed)["product_id"].to_pylist()


def test_types_of_postgres_are_kept(server: PostgresServer, db: psycopg.Connection, tmp_path: Path) -> None:
    db.execute(
        """CREATE TABLE items AS SELECT 7 AS product_id, ARRAY['a.jpg', 'b.jpg'] AS image_url, 9.90::numeric AS price,
            true AS flag, 3::smallint AS small, 1.5::real AS weight, '{"w": 1}'::jsonb AS size, '00123' AS code,
            DATE '2025-01-31' AS day, TIMESTAMP '2025-01-31 12:00' AS naive,
            TIMESTAMPTZ '2025-01-31 12:00+02' AS aware, '8b5a7e1c-0000-0000-0000-000000000001'::uuid AS key,
            ARRAY[1, 2] AS numbers, TIMESTAMPTZ '2026-11-01 00:00+00' AS updated_at, 'Größe 100% :x' AS note"""
    )
    report, products, _ = validate(f"{server.url}#public.items", tmp_path)
    time = "timestamp[us, tz=UTC]"
    assert report.attributes == {
        "flag": "bool", "small": "int64", "weight": "double", "size": "string", "code": "string", "day": time,
        "naive": time, "aware": time, "key": "string", "numbers": "string", "note": "string",
    }  # fmt: skip
    row = products["7"]
    assert (row["image_url"], row["price"], row["updated_at"]) == (["a.jpg", "b.jpg"], 9.9, START)
    assert row["naive"] == datetime(2025, 1, 31, 12, tzinfo=UTC)  # though the server's zone is another
    assert row["aware"] == datetime(2025, 1, 31, 10, tzinfo=UTC)
    assert (row["size"], row["code"], row["numbers"], row["note"]) == ('{"w": 1}', "00123", "[1, 2]", "Größe 100% :x")
    assert "s3cret" not in report.source


@pytest.mark.parametrize("updated_at", ["timestamptz", "timestamp"])
@pytest.mark.parametrize(
    "selection",
    ["products", "SELECT *, '100% :x'::text AS note FROM products WHERE updated_at > :watermark AND price::int >= 0"],
)
def test_changes_are_read_from_the_watermark_on(
    server: PostgresServer, db: psycopg.Connection, tmp_path: Path, updated_at: str, selection: str
) -> None:
    create_products(db, 20, updated_at)
    source = f"{server.url}#{selection}"
    first = find_changes(source, None, 0, tmp_path / "1", changes_only=True)
    assert first.counts.new == 20
    assert first.watermark == START + timedelta(hours=19)
    state = StateFiles(write_state(first, tmp_path / "base.parquet"))

    now = START + timedelta(hours=30)
    update(db, "p3", 99, now)
    update(db, "p4", 4, now, deleted=True)
    update(db, "p5", 5, START + timedelta(hours=19, minutes=-4))  # committed late, and within the overlap
    update(db, "p6", 6.5, START + timedelta(hours=19, minutes=-6))  # too late
    second = find_changes(source, state, 0, tmp_path / "2", changes_only=True, since=first.watermark)
    assert changed(second) == ["p3", "p5"]
    assert pq.read_table(second.deleted).to_pylist() == [{"product_id": "p4", "updated_at": now}]
    assert second.counts.input_rows == 4  # and p19, which is read twice
    assert second.watermark == now


def test_unusable_selections_are_refused(server: PostgresServer, db: psycopg.Connection, tmp_path: Path) -> None:
    create_products(db, 2, "text")
    query = "SELECT * FROM products WHERE updated_at > :watermark"
    assert_refused(f"{server.url}#{query}", tmp_path, "the database reports: operator does not exist")
    assert_refused(f"{server.url}#nothing", tmp_path, "there is no table 'nothing'")
    assert_refused(f"{server.url}#DELETE FROM products", tmp_path, "the database reports: syntax error")
    assert_refused(f"{server.url}#SELECT 'a' AS product_id", tmp_path, "no column 'image_url'")
    db.execute("UPDATE products SET updated_at = 'infinity'")
    assert_refused(
        f"{server.url}#SELECT product_id, image_url, updated_at::timestamptz FROM products", tmp_path, "too large"
    )
    assert db.execute("SELECT count(*) FROM products").fetchone() == (2,)


def test_server_that_does_not_answer_is_named(server: PostgresServer, tmp_path: Path) -> None:
    source = server.url.replace(str(server.port), "1") + "?connect_timeout=2&password=s3cret#products"
    with pytest.raises(CatalogError, match=r"127\.0\.0\.1.*the database reports") as error:
        find_changes(source, None, 0, tmp_path / "scratch")
    assert "s3cret" not in str(error.value)


def test_many_rows_are_streamed_in_order(server: PostgresServer, db: psycopg.Connection, tmp_path: Path) -> None:
    create_products(db, 25_000)
    report, products, _ = validate(f"{server.url}#SELECT * FROM products ORDER BY price DESC", tmp_path)
    assert (report.ok, products["p24999"]["price"]) == (25_000, 24_999)
