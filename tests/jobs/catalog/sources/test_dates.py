"""Sources with a partition for each date: which one is read, and what is said if it is missing."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from artifacts.errors import CatalogError
from artifacts.storage import Folder
from jobs.catalog.changes import find_changes
from jobs.catalog.sources.dates import MARKED, resolve_date, resolve_dates
from jobs.catalog.step import validate_catalog
from jobs.workspace.workspace import Workspace
from tests.jobs.catalog.validating import write_part


def add(root: Path | str, day: int, name: str = "part-0.csv", *, marked: bool = False) -> None:
    """Write a partition with one product, p<day>."""
    folder = Folder(root) / f"date=2026-11-{day:02}"
    line = f"p{day},u.jpg" if name.endswith(".csv") else json.dumps({"product_id": f"p{day}", "image_url": "u"})
    folder.write_text(name, f"{'product_id,image_url' * name.endswith('.csv')}\n{line}\n")
    if marked:
        folder.write_text("_SUCCESS", "")


def at(day: int) -> date:
    return date(2026, 11, day)


def test_date_replaces_the_placeholder(tmp_path: Path) -> None:
    for day in (1, 2, 5):
        add(tmp_path, day)
        add(tmp_path, day, f"changes-2026-11-{day:02}.jsonl")
    for template in ("/date={date}", "/date={date}/", "/date={date}/part-*.csv", "/date={date}/changes-{date}.jsonl"):
        source = f"{tmp_path}{template}"
        assert resolve_date(source, at(2)) == source.replace("{date}", "2026-11-02")
        assert resolve_date(source) == source.replace("{date}", "2026-11-05")
    assert resolve_dates(f"{tmp_path}/date={{date}}", at(1), at(2)) == [
        f"{tmp_path}/date=2026-11-01", f"{tmp_path}/date=2026-11-02",
    ]  # fmt: skip


def test_files_may_be_dated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (3, 4):
        (tmp_path / f"2026-11-0{day}.csv").write_text("product_id,image_url\n")
    (tmp_path / "2026-11-09.jsonl").touch()
    (tmp_path / "2026-11-31.csv").touch()  # no such day
    monkeypatch.chdir(tmp_path)
    assert resolve_date("{date}.csv") == "2026-11-04.csv"
    assert resolve_date(f"{tmp_path}/{{date}}.csv*", at(3)) == f"{tmp_path}/2026-11-03.csv*"


def test_source_without_placeholder_is_returned(tmp_path: Path) -> None:
    database = "sqlite:///shop.db#SELECT '{date}' AS x"
    for source in ("shop.csv", database):
        assert resolve_date(source) == source
        with pytest.raises(CatalogError, match=r"has no {date} that the date 2026-11-01 could replace"):
            resolve_date(source, at(1))
        with pytest.raises(CatalogError, match=r"has no {date} that dates could replace"):
            resolve_dates(source, at(1), at(2))


def test_newest_complete_partition_is_read(tmp_path: Path) -> None:
    source = f"{tmp_path}/date={{date}}"
    add(tmp_path, 1)
    add(tmp_path, 2)
    (tmp_path / "date=2026-11-03").mkdir()
    (tmp_path / "date=2026-11-04").mkdir()
    (tmp_path / "date=2026-11-04/_temporary").touch()
    (tmp_path / "date=soon").mkdir()
    assert resolve_date(source).endswith("-02")
    (tmp_path / "date=2026-11-01/_SUCCESS").touch()
    assert resolve_date(source).endswith("-01")
    add(tmp_path, 5, marked=True)
    add(tmp_path, 6)
    assert resolve_date(source).endswith("-05")
    assert resolve_date(source, at(1)).endswith("-01")
    with pytest.raises(CatalogError, match="partition for 2026-11-06 is not complete: it has no _SUCCESS"):
        resolve_date(source, at(6))
    with pytest.raises(CatalogError, match="partition for 2026-11-06 is not complete"):
        resolve_dates(source, at(5), at(6))


def test_marker_of_an_old_partition_says_nothing(tmp_path: Path) -> None:
    add(tmp_path, 1, marked=True)
    for day in range(MARKED):
        (tmp_path / f"date=2027-01-{day + 1:02}").mkdir()
        (tmp_path / f"date=2027-01-{day + 1:02}/x.csv").touch()
    assert resolve_date(f"{tmp_path}/date={{date}}").endswith("2027-01-30")


def test_missing_partition_is_named_with_the_nearest(tmp_path: Path) -> None:
    source = f"{tmp_path}/x/date={{date}}/part-*.csv"
    with pytest.raises(CatalogError, match=r"there is no folder .*/x"):
        resolve_date(source)
    (tmp_path / "x").mkdir()
    with pytest.raises(CatalogError, match=r"has no partition: .*/x holds nothing of that name with a date"):
        resolve_date(source)
    with pytest.raises(CatalogError, match="no partition for 2026-11-04; there is none at all"):
        resolve_date(source, at(4))
    for day in (2, 3, 7, 9):
        add(tmp_path / "x", day, "part-0.csv" if day != 3 else "other.csv")
    with pytest.raises(CatalogError, match="for 2026-11-04; the nearest that exist: 2026-11-02, 2026-11-07"):
        resolve_date(source, at(4))
    with pytest.raises(CatalogError, match="for 2026-11-01; the nearest that exist: 2026-11-02"):
        resolve_date(source, at(1))
    with pytest.raises(CatalogError, match="for 2026-11-03, 2026-11-04, 2026-11-05, 2026-11-06, 2026-11-08 and 3 more"):
        resolve_dates(source, at(2), at(12))
    with pytest.raises(CatalogError, match="ends on 2026-11-01, before it begins on 2026-11-02"):
        resolve_dates(source, at(2), at(1))
    with pytest.raises(CatalogError, match=r"no wildcard before {date}"):
        resolve_date(f"{tmp_path}/*/date={{date}}")


def test_partitions_on_a_store_are_found(tmp_path: Path) -> None:
    root = f"memory://{tmp_path.name}"
    source = f"{root}/date={{date}}/"
    add(root, 1, "part-0.jsonl")
    assert resolve_date(source) == f"{root}/date=2026-11-01/"
    add(root, 2, "part-0.jsonl")
    assert resolve_date(source) == f"{root}/date=2026-11-02/"
    with pytest.raises(CatalogError, match="the nearest that exist: 2026-11-02"):
        resolve_date(source, at(3))
    with pytest.raises(CatalogError, match="a web server does not list its files; give the date"):
        resolve_date("http://127.0.0.1:1/{date}.csv")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_catalog_of_a_date_is_built_and_compared(tmp_path: Path, suffix: str) -> None:
    for day in (1, 2):
        if suffix == "parquet":
            write_part(tmp_path / f"x/date=2026-11-0{day}/part-0.parquet", [f"p{day}"])
        else:
            add(tmp_path / "x", day, f"part-0.{suffix}")
    source = f"{tmp_path}/x/date={{date}}/"
    workspace = Workspace.open(str(tmp_path / "ws"), 1)
    report = validate_catalog(source, workspace, 0, day=at(1))
    assert (report.source, report.attributes) == (f"{tmp_path}/x/date=2026-11-01/", {})  # the date is no attribute
    assert report.base == f"{tmp_path}/x/date=2026-11-01"
    assert validate_catalog(source, workspace, 0).source == f"{tmp_path}/x/date=2026-11-02/"
    changes = find_changes(source, None, 0, tmp_path / "scratch", day=at(1))
    assert (changes.source, changes.counts.new) == (report.source, 1)
    with pytest.raises(CatalogError, match="the nearest that exist: 2026-11-02"):
        validate_catalog(source, workspace, 0, day=at(3))
