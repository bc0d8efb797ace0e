"""Positions: the names of sources, and which partitions are read from a position on."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from artifacts.errors import CatalogError
from artifacts.store.manifest import Position
from jobs.catalog.sources.positions import moved, partitions_from, source_name

NOON = datetime(2026, 11, 5, 12, tzinfo=UTC)
READ_AT = datetime(2026, 11, 6, tzinfo=UTC)


def at(day: int) -> date:
    return date(2026, 11, day)


def add(root: Path, *days: int, marked: bool = False) -> None:
    for day in days:
        folder = root / f"2026-11-{day:02}"
        folder.mkdir(exist_ok=True)
        (folder / "changes.csv").touch()
        if marked:
            (folder / "_SUCCESS").touch()


@pytest.fixture
def source(tmp_path: Path) -> str:
    return f"{tmp_path}/{{date}}/"


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_name_holds_the_query_and_no_password() -> None:
    database = "postgresql+psycopg://shop:s3cret@db.example/shop"
    assert source_name(f"{database}# SELECT 1;") == "postgresql+psycopg://***@db.example/shop#SELECT 1"
    assert source_name(f"{database}#a") != source_name(f"{database}#b")
    assert source_name("s3://key:s3cret@bucket/{date}/") == "s3://***@bucket/{date}/"


def test_name_of_a_file_is_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = f"{tmp_path}/changes.jsonl"
    for same in ("changes.jsonl", "./a/../changes.jsonl", file, f"file://{file}", f"{tmp_path}/a/../changes.jsonl"):
        assert source_name(same) == file
    assert source_name("feed/") == source_name("feed") == source_name(f"file://{tmp_path}/feed/")
    monkeypatch.chdir(tmp_path.parent)
    assert source_name("changes.jsonl") != file


# ── which partitions are read ────────────────────────────────────────────────────────────────────────────────────────


def test_first_partition_is_the_newest(tmp_path: Path, source: str) -> None:
    add(tmp_path, 1, 2)
    assert partitions_from(source, None) == (at(2),)
    assert partitions_from("changes.jsonl", Position(parts={"changes.jsonl": "a"})) == (None,)


def test_partitions_follow_the_last_that_was_applied(tmp_path: Path, source: str) -> None:
    add(tmp_path, 1, 2, 5, 7)
    (tmp_path / "2026-11-06").mkdir()  # without files
    assert partitions_from(source, Position(partition=at(2))) == [at(2), at(5), at(7)]
    assert partitions_from(source, Position(partition=at(3))) == [at(5), at(7)]  # it was removed
    assert partitions_from(source, Position(partition=at(9))) == []


def test_partition_that_is_not_complete_is_waited_for(tmp_path: Path, source: str) -> None:
    add(tmp_path, 1, 2, 4, marked=True)
    add(tmp_path, 3, 5)
    assert partitions_from(source, Position(partition=at(1))) == [at(1), at(2)]
    with pytest.raises(CatalogError, match="2026-11-03 is not complete"):
        partitions_from(source, Position(partition=at(2)))
    add(tmp_path, 3, marked=True)
    assert partitions_from(source, Position(partition=at(2))) == [at(2), at(3), at(4)]


# ── where a position moves ───────────────────────────────────────────────────────────────────────────────────────────


def test_named_partition_moves_the_position_only_where_none_is_left_out(tmp_path: Path, source: str) -> None:
    add(tmp_path, 1, 2, 4, 5)

    def after(before: Position | None, day: date | None) -> date | None:
        position = moved(source, before, READ_AT, watermark=None, day=day, parts={})
        return position.partition if position is not None else None

    assert after(None, at(2)) == at(2)
    assert after(None, None) is None
    assert after(Position(partition=at(2)), at(4)) == at(4)
    assert after(Position(partition=at(2)), at(2)) == at(2)
    for day in (at(1), at(5), None):
        assert after(Position(partition=at(2)), day) == at(2)


def test_watermark_never_goes_back() -> None:
    source, before = "sqlite:///shop.db#products", Position(watermark=NOON)
    for earlier in (None, NOON - timedelta(days=1)):
        assert moved(source, before, READ_AT, watermark=earlier, day=None, parts={}) == Position(
            read_at=READ_AT, watermark=NOON
        )
    later = NOON + timedelta(days=1)
    assert moved(source, before, READ_AT, watermark=later, day=None, parts={}) == Position(
        read_at=READ_AT, watermark=later
    )
    assert moved(source, None, READ_AT, watermark=None, day=None, parts={}) is None
