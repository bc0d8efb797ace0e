"""Refreshing again and again from one source: only what is new is read, and what is the same is not read at all."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import CatalogError
from jobs.refresh import step
from jobs.refresh.report import RefreshReport
from jobs.refresh.step import run_refresh
from jobs.steps import StepResult
from tests.servers import PictureServer
from tests.shop import Shop, event

pytestmark = pytest.mark.usefixtures("quick")


def refresh_from(shop: Shop, source: str, **options: Any) -> StepResult[RefreshReport]:
    return run_refresh(replace(shop.context(), catalog=source), **options)


# ── databases ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Database:
    """A SQLite file with a table of changed products, whose pictures are on a server."""

    def __init__(self, path: Path, server: PictureServer) -> None:
        self._path, self._server = path, server
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE changed (product_id, image_url, price, updated_at DATETIME, deleted)")
        connection.close()

    @property
    def source(self) -> str:
        return f"sqlite:///{self._path}#changed"

    def add(self, *rows: tuple[str, float, int, bool]) -> None:
        """Add rows: product, price, day of the update, deleted."""
        values = [
            (key, self._server.url(f"/n/{key[1:]}.jpg"), price, f"2026-11-{number:02} 00:00:00.000000", deleted)
            for key, price, number, deleted in rows
        ]
        with sqlite3.connect(self._path) as connection:
            connection.executemany("INSERT INTO changed VALUES (?, ?, ?, ?, ?)", values)
        connection.close()


def read_rows_at(shop: Shop, database: Database, monkeypatch: pytest.MonkeyPatch, now: datetime) -> int:
    """Refresh from a database at a time; returns the rows that were read."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return now.astimezone(tz)

    monkeypatch.setattr(step, "datetime", Clock)
    return read(shop, database)


@pytest.fixture
def web_shop(published: Shop, tmp_path: Path) -> Shop:
    return Shop(
        tmp_path, copy_of=published, allow_private_addresses=True, download_retries=0, watermark_overlap_seconds=0
    )


@pytest.fixture
def database(server: PictureServer, tmp_path: Path) -> Database:
    return Database(tmp_path / "shop.db", server)


def read(shop: Shop, database: Database) -> int:
    """Refresh from the changed products; return the number of rows that were read."""
    return refresh_from(shop, database.source, changes_only=True).report.changes.input_rows


def prices(shop: Shop) -> dict[str, float]:
    """The prices of the database's products."""
    return {key: results[0]["price"] for key, results in shop.products().items() if key.startswith("n")}


def test_database_is_read_from_its_watermark_on(web_shop: Shop, database: Database) -> None:
    database.add(("n1", 1, 1, False), ("n2", 2, 2, False))
    assert read(web_shop, database) == 2
    assert read(web_shop, database) == 0
    database.add(("n2", 2.5, 3, False), ("n3", 3, 4, False), ("n1", 1, 5, True))
    assert read(web_shop, database) == 3
    assert prices(web_shop) == {"n2": 2.5, "n3": 3}


def test_watermark_is_not_moved_by_a_refresh_that_publishes_nothing(
    web_shop: Shop, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.add(("n1", 1, 1, False))
    read(web_shop, database)
    database.add(("n2", 2, 2, False))
    with monkeypatch.context() as patch:
        patch.setattr("jobs.refresh.publication.run_publish", _fail)
        with pytest.raises(OSError, match="disk is full"):
            read(web_shop, database)
    assert read(web_shop, database) == 1
    assert prices(web_shop) == {"n1": 1, "n2": 2}


def _fail(*_: object) -> None:
    raise OSError("the disk is full")


def test_rows_that_a_rollback_took_back_are_read_again(web_shop: Shop, database: Database) -> None:
    database.add(("n1", 1, 1, False))
    read(web_shop, database)
    database.add(("n2", 2, 2, False))
    read(web_shop, database)
    web_shop.store.rollback()
    assert prices(web_shop) == {"n1": 1}
    assert read(web_shop, database) == 1
    assert prices(web_shop) == {"n1": 1, "n2": 2}


def test_watermark_survives_what_others_publish_and_what_is_pruned(
    web_shop: Shop, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.add(("n1", 1, 1, False))
    read(web_shop, database)
    published = web_shop.store.current()
    monkeypatch.setattr("artifacts.store.store.VERSION_GRACE_SECONDS", -1)
    shutil.rmtree(web_shop.workspace)
    for price in range(4):  # keep_releases is 3
        web_shop.apply_changes([event("p001", web_shop.rows, price=100 + price)])
    web_shop.compact()
    assert published not in web_shop.store.versions()
    assert read(web_shop, database) == 0


def test_rows_that_change_nothing_are_not_read_again(web_shop: Shop, database: Database) -> None:
    database.add(("n1", 1, 1, False))
    read(web_shop, database)
    database.add(("n1", -1, 2, False))  # it is rejected
    version = web_shop.store.current()
    assert [read(web_shop, database), read(web_shop, database)] == [1, 0]
    assert web_shop.store.current() == version
    web_shop.apply_changes([{"product_id": "p001", "deleted": True}])
    assert read(web_shop, database) == 0


def test_picture_that_failed_for_a_while_is_retried_although_its_row_is_old(
    web_shop: Shop, database: Database, server: PictureServer
) -> None:
    database.add(("n1", 1, 1, False))
    server.down = True
    read(web_shop, database)
    assert prices(web_shop) == {}
    server.down = False
    web_shop.settings = web_shop.settings.model_copy(update={"retry_minutes": 0})
    read(web_shop, database)
    assert prices(web_shop) == {"n1": 1}
    assert read(web_shop, database) == 0


def test_source_of_changes_is_read_as_a_whole_less_and_less_often_while_pictures_fail(
    web_shop: Shop, database: Database, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = datetime.now(UTC)
    database.add(("n1", 1, 1, False), ("n2", 1, 1, False))
    server.down = True

    def retries_at(*hours: int) -> list[int]:
        """Refresh at these hours; returns those at which all rows were read again."""
        return [hour for hour in hours if read_rows_at(web_shop, database, monkeypatch, began + timedelta(hours=hour))]

    assert retries_at(0, 1, 2, 3, 6, 7, 14, 15, 30, 31) == [0, 1, 3, 7, 15, 31]
    assert retries_at(54, 55, 78, 79) == [55, 79]  # at most a day
    server.down = False
    assert retries_at(102, 103, 200) == [103]
    server.down = True
    database.add(("n3", 1, 2, False))
    assert retries_at(201, 202, 203, 204) == [201, 202, 204]  # the former failures are made good


# ── whole catalogs ───────────────────────────────────────────────────────────────────────────────────────────────────


def write_web_catalog(path: Path, server: PictureServer, numbers: Sequence[int], price: float = 1) -> str:
    lines = [f"n{number},{server.url(f'/n/{number}.jpg')},{price}" for number in numbers]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("product_id,image_url,price\n" + "\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def shrinking_shop(web_shop: Shop) -> Shop:
    """A shop that may lose its products."""
    web_shop.settings = web_shop.settings.model_copy(update={"max_shrink": 1.0})
    return web_shop


def test_catalog_that_is_the_same_is_not_read(shrinking_shop: Shop, server: PictureServer, tmp_path: Path) -> None:
    shop = shrinking_shop
    source = write_web_catalog(tmp_path / "web.csv", server, range(20))
    assert refresh_from(shop, source).changed
    again = refresh_from(shop, source)
    assert (again.changed, again.report.changes.input_rows) == (False, 0)
    # It is read if something else is served.
    shop.store.rollback()
    assert refresh_from(shop, source).report.changes.input_rows == 20
    assert shop.products().keys() == {f"n{number}" for number in range(20)}


def test_newest_partition_is_read_and_an_older_one_on_request(
    shrinking_shop: Shop, server: PictureServer, tmp_path: Path
) -> None:
    shop, source = shrinking_shop, str(tmp_path / "exports/{date}/catalog.csv")
    for number in (1, 2):
        write_web_catalog(tmp_path / f"exports/2026-11-0{number}/catalog.csv", server, range(20), price=number)
    refresh_from(shop, source)
    assert set(prices(shop).values()) == {2}
    assert not refresh_from(shop, source).changed
    refresh_from(shop, source, day=date(2026, 11, 1))
    assert set(prices(shop).values()) == {1}
    write_web_catalog(tmp_path / "exports/2026-11-03/catalog.csv", server, range(21), price=3)
    assert refresh_from(shop, source).report.obtained.fetched == 1  # the others have the same pictures
    assert set(prices(shop).values()) == {3}
    with pytest.raises(CatalogError, match="2026-11-09"):
        refresh_from(shop, source, day=date(2026, 11, 9))


def test_folder_of_another_day_has_other_pictures(shop: Shop, tmp_path: Path) -> None:
    """Pictures beside the catalog are told by their sizes and times, so a copied folder has the same."""
    for number in (1, 2):
        shutil.copytree(shop.catalog.parent, tmp_path / f"exports/2026-11-0{number}")
    source = str(tmp_path / "exports/{date}/catalog.csv")
    assert not refresh_from(shop, source).changed
