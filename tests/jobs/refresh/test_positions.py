"""Sources of changes that are read again and again: all that they say is applied, once and in order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import CatalogError, StepFailed
from artifacts.store.manifest import Position
from jobs.catalog.changes import CatalogChanges
from jobs.refresh import step
from jobs.refresh.report import RefreshReport
from jobs.refresh.step import run_refresh
from jobs.steps import StepResult
from tests.servers import PictureServer
from tests.shop import Shop, event

pytestmark = pytest.mark.usefixtures("quick")

Row = dict[str, Any]


def read(shop: Shop, source: str, **options: Any) -> StepResult[RefreshReport]:
    """Refresh from a source of changes, whose pictures are the catalog's."""
    context = shop.context(picture_base=str(shop.catalog.parent))
    return run_refresh(replace(context, catalog=source), changes_only=True, **options)


def write(path: Path, rows: Sequence[Row]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def priced(shop: Shop, product_id: str, price: float) -> Row:
    """A change of a price, without updated_at."""
    return event(product_id, shop.rows, price=price)


def applied(shop: Shop, source: str) -> dict[str, str]:
    parts = shop.store.manifest().sources[source].parts
    assert parts is not None
    return parts


def price(shop: Shop, product_id: str) -> float:
    return shop.products()[product_id][0]["price"]


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_file_that_is_the_same_does_not_overwrite_newer_changes(shop: Shop, tmp_path: Path) -> None:
    source = write(tmp_path / "feed.jsonl", [priced(shop, "p001", 50)])
    assert read(shop, source).changed
    shop.apply_changes([priced(shop, "p001", 60)])
    again = read(shop, source)
    assert (again.changed, again.note, again.report.changes.input_rows) == (False, "nothing has changed", 0)
    assert price(shop, "p001") == 60
    write(tmp_path / "feed.jsonl", [priced(shop, "p001", 70)])
    assert read(shop, source).changed
    assert price(shop, "p001") == 70


def test_file_that_is_added_to_a_glob_does_not_apply_the_others_again(shop: Shop, tmp_path: Path) -> None:
    source = f"{tmp_path}/feed/*.jsonl"
    write(tmp_path / "feed/1.jsonl", [priced(shop, "p001", 50)])
    assert [read(shop, source).changed, read(shop, source).changed] == [True, False]
    shop.apply_changes([priced(shop, "p001", 60)])
    write(tmp_path / "feed/3.jsonl", [priced(shop, "p002", 53)])
    write(tmp_path / "feed/2.jsonl", [priced(shop, "p002", 52)])
    assert read(shop, source).report.changes.input_rows == 2
    assert (price(shop, "p001"), price(shop, "p002")) == (60, 53)  # in the order of their names
    shop.apply_changes([priced(shop, "p002", 61)])
    write(tmp_path / "feed/1.jsonl", [priced(shop, "p001", 70)])
    assert read(shop, source).report.changes.input_rows == 1
    assert (price(shop, "p001"), price(shop, "p002")) == (70, 61)


def test_position_has_the_files_that_are_there(shop: Shop, tmp_path: Path) -> None:
    source = str(tmp_path / "feed")
    write(tmp_path / "feed/1.jsonl", [priced(shop, "p001", 50)])
    write(tmp_path / "feed/2.jsonl", [priced(shop, "p002", 51)])
    read(shop, source)
    assert applied(shop, source).keys() == {"1.jsonl", "2.jsonl"}
    (tmp_path / "feed/1.jsonl").rename(tmp_path / "1.jsonl")
    assert not read(shop, source).changed
    write(tmp_path / "feed/3.jsonl", [priced(shop, "p003", 52)])
    read(shop, source)
    assert applied(shop, source).keys() == {"2.jsonl", "3.jsonl"}
    assert {len(digest) for digest in applied(shop, source).values()} == {16}


def test_file_that_changes_nothing_is_not_read_again_when_others_publish(shop: Shop, tmp_path: Path) -> None:
    source = write(tmp_path / "feed.jsonl", [priced(shop, "p001", float(shop.rows["p001"]["price"]))])
    assert read(shop, source).report.changes.unchanged == 1
    assert shop.store.manifest().sources == {}
    shop.apply_changes([priced(shop, "p001", 60)])  # from the same workspace: it publishes the position
    assert not read(shop, source).changed
    assert price(shop, "p001") == 60


def test_position_goes_back_with_a_rollback(shop: Shop, tmp_path: Path) -> None:
    source = write(tmp_path / "feed.jsonl", [priced(shop, "p001", 50)])
    read(shop, source)
    shop.store.rollback()
    assert price(shop, "p001") != 50
    assert read(shop, source).changed
    assert price(shop, "p001") == 50


@pytest.mark.parametrize("publish", ["compact", "build"])
def test_compaction_and_build_keep_positions(shop: Shop, tmp_path: Path, publish: str) -> None:
    source = write(tmp_path / "feed.jsonl", [priced(shop, "p001", 50)])
    read(shop, source)
    sources = shop.store.manifest().sources
    assert sources.keys() == {source}
    shop.edit(lambda rows: rows["p001"].update(price="60"))
    assert getattr(shop, publish)().version if publish == "build" else shop.compact().changed
    assert shop.store.manifest().sources == sources
    assert not read(shop, source).changed


def test_file_is_read_again_for_products_that_are_named(shop: Shop, tmp_path: Path) -> None:
    from jobs.download.refetch import Refetch

    source = write(tmp_path / "feed.jsonl", [priced(shop, "p001", 50)])
    read(shop, source)
    assert read(shop, source, refetch=Refetch(frozenset({"p001"}))).report.changes.pictures == 1


def test_file_that_is_not_remembered_reports_its_failures_each_time(shop: Shop, tmp_path: Path) -> None:
    rows = [event("p001", shop.rows, image_url="images/none.jpg"), event("p002", shop.rows, price="cheap")]
    source = write(shop.catalog.with_name("batch.jsonl"), rows)
    first, second = (read(shop, source, remember=False).report for _ in range(2))
    assert first.rejects == second.rejects != []
    assert source not in shop.store.manifest().sources


def test_refused_file_is_read_again(shop: Shop, tmp_path: Path) -> None:
    source = write(tmp_path / "feed.jsonl", [priced(shop, f"p{number:03}", -1) for number in range(25)])
    for _ in range(2):
        with pytest.raises(StepFailed, match="25 of 25 rows are rejected"):
            read(shop, source)


# ── sources that are read no more ────────────────────────────────────────────────────────────────────────────────────


def test_positions_and_records_of_sources_that_are_not_read_are_dropped(shop: Shop, tmp_path: Path) -> None:
    first, second = (write(tmp_path / f"{number}.jsonl", [priced(shop, "p001", number)]) for number in (1, 2))
    read(shop, first)
    read(shop, second)
    shop.refresh()
    assert shop.store.manifest().sources.keys() == {first, second}
    assert len(list((shop.workspace / "sources").iterdir())) == 3
    shop.settings = shop.settings.model_copy(update={"tombstone_days": 0})
    write(Path(second), [priced(shop, "p001", 3)])
    read(shop, second)
    assert shop.store.manifest().sources.keys() == {second}
    assert len(list((shop.workspace / "sources").iterdir())) == 1


def test_position_of_a_source_that_is_read_and_does_not_change_is_kept(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "feed.jsonl", [priced(shop, "p001", 50)])
    began = datetime.now(UTC)

    def is_read_after(days: int, price: int) -> bool:
        """Read the source, while another one changes the price; returns whether the source changed anything."""

        class Clock(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:
                return (began + timedelta(days=days)).astimezone(tz)

        def find_changes(*args: Any, **options: Any) -> CatalogChanges:
            monkeypatch.setattr(step, "find_changes", find)
            shop.apply_changes([priced(shop, "p001", price)])
            return find(*args, **options)

        find = step.find_changes
        monkeypatch.setattr(step, "datetime", Clock)
        monkeypatch.setattr(step, "find_changes", find_changes)
        return read(shop, source).changed

    assert is_read_after(0, 51)
    assert not is_read_after(5, 52)
    assert not is_read_after(10, 53)
    assert not is_read_after(15, 54)


# ── pictures that failed for a while ─────────────────────────────────────────────────────────────────────────────────


def test_pictures_of_an_applied_file_are_retried_where_nothing_newer_is_known(
    published: Shop, server: PictureServer, tmp_path: Path
) -> None:
    shop = Shop(tmp_path, copy_of=published, allow_private_addresses=True, download_retries=0, retry_minutes=0)
    rows = [{"product_id": f"n{number}", "image_url": server.url(f"/n/{number}.jpg"), "price": 1} for number in (1, 2)]
    source = write(tmp_path / "feed.jsonl", [*rows, priced(shop, "p001", 50)])
    server.down = True
    read(shop, source)
    shop.apply_changes([{**rows[1], "price": 2}, priced(shop, "p001", 60)])
    server.down = False
    report = read(shop, source).report
    assert (report.changes.new, report.changes.attributes) == (1, 0)
    products = shop.products()
    assert ("n1" in products, "n2" in products, products["p001"][0]["price"]) == (True, False, 60)


def test_retry_follows_new_files_and_applies_nothing_else_again(
    published: Shop, server: PictureServer, tmp_path: Path
) -> None:
    shop = Shop(tmp_path, copy_of=published, allow_private_addresses=True, download_retries=0, retry_minutes=0)
    source = f"{tmp_path}/feed/*.jsonl"
    row = {"product_id": "n1", "image_url": server.url("/n/1.jpg"), "price": 1}
    write(tmp_path / "feed/1.jsonl", [row, priced(shop, "p001", 50)])
    server.down = True
    read(shop, source)
    shop.apply_changes([priced(shop, "p001", 60)])
    server.down = False
    shop.settings = shop.settings.model_copy(update={"retry_minutes": 60})
    assert not read(shop, source).changed
    write(tmp_path / "feed/2.jsonl", [priced(shop, "p002", 51)])
    shop.settings = shop.settings.model_copy(update={"retry_minutes": 0})
    changes = read(shop, source).report.changes
    assert (changes.input_rows, changes.new) == (1 + 3, 1)  # the new file, and then all of them
    assert ("n1" in shop.products(), price(shop, "p001"), price(shop, "p002")) == (True, 60, 51)


# ── partitions ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Partitions:
    """Change files of days, each with a price of one product and one of a product of its own."""

    def __init__(self, shop: Shop, folder: Path) -> None:
        self._shop, self._folder = shop, folder
        self.source = f"{folder}/{{date}}.jsonl"

    def add(self, *days: int, more: Sequence[Row] = ()) -> None:
        for day in days:
            rows = [priced(self._shop, "p000", day), priced(self._shop, f"p{day:03}", 100 + day), *more]
            write(self._folder / f"2026-11-{day:02}.jsonl", rows)

    def applied(self) -> set[int]:
        """The days whose own product has been changed."""
        products = self._shop.products()
        return {day for day in range(1, 30) if products[f"p{day:03}"][0]["price"] == 100 + day}

    def position(self) -> date | None:
        return self._shop.store.manifest().sources[self.source].partition


@pytest.fixture
def partitions(shop: Shop, tmp_path: Path) -> Partitions:
    return Partitions(shop, tmp_path / "exports")


def test_partitions_are_applied_in_order_and_once(shop: Shop, partitions: Partitions) -> None:
    partitions.add(1, 2)
    read(shop, partitions.source)
    assert partitions.applied() == {2}  # a first run begins with the newest
    partitions.add(3, 5, 6)
    result = read(shop, partitions.source)
    assert (result.changed, result.report.changes.attributes, result.report.version) == (
        True, 6, shop.store.current(),
    )  # fmt: skip
    assert partitions.applied() == {2, 3, 5, 6}
    assert price(shop, "p000") == 6
    assert partitions.position() == date(2026, 11, 6)
    shop.apply_changes([priced(shop, "p000", 77)])
    assert not read(shop, partitions.source).changed
    assert price(shop, "p000") == 77


def test_last_partition_is_read_again_when_its_file_has_grown(shop: Shop, partitions: Partitions) -> None:
    partitions.add(1)
    read(shop, partitions.source)
    partitions.add(1, more=[priced(shop, "p020", 50)])
    partitions.add(2)
    read(shop, partitions.source)
    assert (price(shop, "p020"), price(shop, "p000")) == (50, 2)


def test_only_what_is_new_in_the_last_partition_is_read(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "exports/2026-11-01"
    write(folder / "1.jsonl", [priced(shop, "p001", 50)])
    read(shop, f"{tmp_path}/exports/{{date}}/")
    shop.apply_changes([priced(shop, "p001", 60)])
    write(folder / "2.jsonl", [priced(shop, "p002", 51)])
    assert read(shop, f"{tmp_path}/exports/{{date}}/").changed
    assert (price(shop, "p001"), price(shop, "p002")) == (60, 51)


def test_retry_does_not_hold_up_the_partitions_that_wait(
    published: Shop, server: PictureServer, tmp_path: Path
) -> None:
    shop = Shop(tmp_path, copy_of=published, allow_private_addresses=True, download_retries=0, retry_minutes=0)
    partitions = Partitions(shop, tmp_path / "exports")
    partitions.add(1, more=[{"product_id": "n1", "image_url": server.url("/n/1.jpg"), "price": 1}])
    server.down = True
    read(shop, partitions.source)
    partitions.add(2, 3)
    read(shop, partitions.source)
    assert (partitions.applied(), price(shop, "p000")) == ({1, 2, 3}, 3)


def test_partition_that_is_named_is_read_and_those_that_wait_are_not_left_out(
    shop: Shop, partitions: Partitions
) -> None:
    partitions.add(1)
    read(shop, partitions.source)
    partitions.add(2, 3)
    for _ in range(2):
        shop.apply_changes([priced(shop, "p000", 77)])
        assert read(shop, partitions.source, day=date(2026, 11, 3)).changed
        assert (partitions.position(), price(shop, "p000")) == (date(2026, 11, 1), 3)
    read(shop, partitions.source)
    assert (partitions.applied(), price(shop, "p000")) == ({1, 2, 3}, 3)


def test_failure_of_a_later_partition_keeps_the_earlier_ones(shop: Shop, partitions: Partitions) -> None:
    partitions.add(1)
    read(shop, partitions.source)
    partitions.add(2)
    broken = Path(partitions.source.replace("{date}", "2026-11-03"))
    broken.write_text('{"product_id": "p003"}\n')
    partitions.add(4)
    with pytest.raises(CatalogError, match="no column 'image_url'"):
        read(shop, partitions.source)
    assert (partitions.applied(), partitions.position()) == ({1, 2}, date(2026, 11, 2))
    partitions.add(3)
    read(shop, partitions.source)
    assert partitions.applied() == {1, 2, 3, 4}


def test_partition_that_changes_nothing_is_passed(shop: Shop, partitions: Partitions) -> None:
    partitions.add(1)
    read(shop, partitions.source)
    write(Path(partitions.source.replace("{date}", "2026-11-02")), [])
    assert not read(shop, partitions.source).changed
    partitions.add(3)
    assert read(shop, partitions.source).report.changes.attributes == 2
    assert partitions.position() == date(2026, 11, 3)


# ── the manifest ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_positions_are_no_part_of_the_content(shop: Shop) -> None:
    manifest = shop.store.manifest()
    other = manifest.model_copy(update={"sources": {"feed": Position(partition=date(2026, 11, 1))}})
    assert other.content_id == manifest.content_id
