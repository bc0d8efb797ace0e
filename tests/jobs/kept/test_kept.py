"""What refreshes leave in a workspace: merged and removed so that a later build finds all that it found before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from artifacts.schema import OK, Reason
from artifacts.settings import Settings
from artifacts.storage import Folder
from jobs.download.earlier import newest_fetches, open_refreshed
from jobs.download.step import download_shard
from jobs.embed.cache import read_refreshed
from jobs.embed.step import embed_shard
from jobs.kept import step
from jobs.kept.step import tidy_refreshes
from jobs.workspace.refreshes import KILLED_AFTER, NEWEST, earlier_refreshes
from jobs.workspace.shards import ShardReport
from jobs.workspace.workspace import Workspace
from tests.catalogs import read_shards, write_catalog
from tests.encoders import MeanColor
from tests.servers import PictureServer, jpeg

SETTINGS = Settings(
    shards=2,
    allow_private_addresses=True,
    download_retries=0,
    encoder="python:tests.encoders:MeanColor",
)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
Products = Mapping[str, list[str | None]]


@pytest.fixture(autouse=True)
def _few_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "MANY", 4)
    monkeypatch.setattr(step, "_ROWS_PER_SHARD", 3)


def build(main: Workspace) -> list[ShardReport]:
    """Download and embed all shards; return the reports of both steps."""
    config, shards = SETTINGS.pipeline, range(main.shards)
    downloaded = [download_shard(main, shard, config.download) for shard in shards]
    cache = Path(main.url) / "cache"
    return downloaded + [embed_shard(main, shard, config.encoder, cache=cache) for shard in shards]


def refresh(
    main: Workspace, name: str, products: Products, *, ended: bool = True, base: str | None = None
) -> Workspace:
    """Download and embed pictures as a refresh does."""
    workspace = main.refresh(name, 1, newest=0)
    write_catalog(Path(workspace.url), products, base=base)
    build(workspace)
    workspace.mark(ended=ended)
    return workspace


def add_newest(main: Workspace) -> None:
    """Begin refreshes after which those that are there are no longer among the newest."""
    for number in range(NEWEST):
        main.refresh(f"29991231-{number}", 1)


def names(main: Workspace) -> list[str]:
    return [refresh.name for refresh in list(earlier_refreshes(main))[::-1] if not refresh.name.startswith("29991231")]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.jpg").write_bytes(jpeg(60, 60, (number * 20, 10, 99)))
    return folder


def with_refreshes(folder: Path, pictures: Path, count: int) -> Workspace:
    """A workspace with so many refreshes of one product each."""
    main = write_catalog(folder, {}, shards=2, base=str(pictures))
    build(main)
    for number in range(count):
        refresh(main, f"20260101T0{number}-x", {f"p{number}": [f"{number}.jpg"]}, base=str(pictures))
    add_newest(main)
    return main


def everything(main: Workspace) -> tuple[set[tuple[str, str | None, str]], set[str]]:
    """Source and status of each picture that a build would find, and the pictures of which it would find a vector."""
    found = {
        (*source, str(images.status(source)))
        for images in open_refreshed(main, [f"p{number}" for number in range(10)])
        for source in images.sources()
    }
    keys = set()
    for path in Path(main.url).rglob("images/*.parquet"):
        keys.update(pq.read_table(path, columns=["sha256"])["sha256"].drop_null().to_pylist())
    slug = main.folder.names("embeddings")[0]
    vectors = [table["sha256"].to_pylist() for table in read_refreshed(main, slug, 4, keys)]
    return found, {key for each in vectors for key in each}


def test_build_takes_everything_from_merged_refreshes(tmp_path: Path, pictures: Path) -> None:
    main = with_refreshes(tmp_path / "work", pictures, 5)
    before = everything(main)
    tidy_refreshes(main, LONG_AGO)
    (merged,) = names(main)
    assert merged.startswith("20260101T04-")  # as old as its newest part
    assert everything(main) == before

    write_catalog(
        Path(main.url), {f"p{number}": [f"{number}.jpg"] for number in range(6)}, shards=2, base=str(pictures)
    )
    MeanColor.calls.clear()
    reports = build(main)
    assert sum(report.done for report in reports[:2]) == sum(MeanColor.calls) == 1  # p5 alone
    rows = read_shards(Path(main.url), "images", 2).to_pylist()
    assert sorted(row["product_id"] for row in rows if row["status"] == OK) == [f"p{number}" for number in range(6)]


def test_few_refreshes_are_left_as_they_are(tmp_path: Path, pictures: Path) -> None:
    main = with_refreshes(tmp_path, pictures, 3)
    tidy_refreshes(main, LONG_AGO)
    assert names(main) == ["20260101T00-x", "20260101T01-x", "20260101T02-x"]


def test_merged_refreshes_are_merged_again_until_they_are_large(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = with_refreshes(tmp_path, pictures, 4)
    tidy_refreshes(main, LONG_AGO)
    before = everything(main)
    for number in range(4, 8):
        refresh(main, f"20260101T0{number}-x", {f"p{number}": [f"{number}.jpg"]}, base=str(pictures))
    large = shutil.copytree(main.url, tmp_path / "large")
    tidy_refreshes(main, LONG_AGO)
    assert len(names(main)) == 1
    assert everything(main)[0] > before[0]

    main = Workspace.existing(str(large))  # as before that
    monkeypatch.setattr(step, "SMALL_BYTES", 1)
    kept = names(main)
    tidy_refreshes(main, LONG_AGO)
    assert names(main) == kept


def test_refreshes_that_run_and_the_newest_are_neither_merged_nor_removed(tmp_path: Path, pictures: Path) -> None:
    main = with_refreshes(tmp_path, pictures, 4)
    running = refresh(main, "20260101T02-running", {"p8": ["8.jpg"]}, ended=False, base=str(pictures))
    tidy_refreshes(main, datetime(2026, 1, 1, 3, tzinfo=UTC))
    assert running.name in names(main)
    assert running.images.exists(0)
    for number in range(4):
        refresh(main, f"20260101T0{number + 4}-x", {f"p{number}": [f"{number}.jpg"]}, base=str(pictures))
    tidy_refreshes(main, LONG_AGO)
    assert running.name in names(main)
    assert len(names(main)) == 2
    assert len(list(earlier_refreshes(main))[::-1]) == 2 + NEWEST

    silent = (datetime.now(UTC) - KILLED_AFTER - timedelta(seconds=9)).timestamp()
    for path in Path(running.url).rglob("*"):
        os.utime(path, (silent, silent))
    for number in range(3):
        refresh(main, f"20260101T0{number + 4}-y", {f"p{number}": [f"{number}.jpg"]}, base=str(pictures))
    before = everything(main)
    tidy_refreshes(main, LONG_AGO)
    assert running.name not in names(main)  # it was killed
    assert everything(main) == before


def test_newest_result_of_a_picture_is_kept_unless_it_is_a_failure_that_may_pass(
    tmp_path: Path, server: PictureServer
) -> None:
    main = write_catalog(tmp_path, {}, shards=2)
    build(main)
    urls = {name: server.url(f"/{path}") for name, path in (("a", "n/1.jpg"), ("b", "n/2.jpg"), ("c", "n/3.jpg"))}
    refresh(main, "20260101T01", {"p1": [urls["a"]], "p2": [urls["b"]], "p3": [urls["c"]]})
    first = newest_fetches(main)
    refresh(main, "20260101T02", {"p1": [urls["a"]], "p2": [server.url("/status/404")]})
    refresh(main, "20260101T03", {"p4": [server.url("/status/503")]})
    refresh(main, "20260101T04", {"p3": [urls["c"]]})
    add_newest(main)
    fetches = newest_fetches(main)
    assert fetches["p1", urls["a"]] > first["p1", urls["a"]]
    tidy_refreshes(main, LONG_AGO)
    (merged,) = (main.find_refresh(name) for name in names(main))
    assert merged
    assert merged.shards == 2  # as many as it needs, and no more than the workspace has
    assert newest_fetches(main) == fetches
    rows = read_shards(Path(merged.url), "images", 2).to_pylist()
    assert sorted((row["product_id"], row["status"]) for row in rows) == [
        ("p1", OK),
        ("p2", Reason.HTTP_CLIENT_ERROR),
        ("p2", OK),
        ("p3", OK),
        ("p4", Reason.HTTP_SERVER_ERROR),
    ]


def fail(table: Any, status: str) -> Any:
    """The rows of an images shard, as if their pictures had not been fetched."""
    rows = [row | dict.fromkeys(("sha256", "jpeg", "fetched_at")) | {"status": status} for row in table.to_pylist()]
    return table.from_pylist(rows, schema=table.schema)


@pytest.mark.parametrize(
    ("status", "kept"), [(Reason.TIMEOUT, OK), (Reason.HTTP_CLIENT_ERROR, Reason.HTTP_CLIENT_ERROR)]
)
def test_later_failure_replaces_a_picture_only_if_it_will_not_pass(
    tmp_path: Path, server: PictureServer, status: Reason, kept: str
) -> None:
    main = write_catalog(tmp_path, {}, shards=2)
    build(main)
    products: Products = {"p1": [server.url("/n/1.jpg")]}
    refresh(main, "20260101T01", products)
    path = Path(refresh(main, "20260101T02", products).images.path(0))
    pq.write_table(fail(pq.read_table(path), status), path)
    for number in (3, 4):
        refresh(main, f"20260101T0{number}", {f"p{number}": [server.url("/n/1.jpg")]})
    add_newest(main)
    tidy_refreshes(main, LONG_AGO)
    (merged,) = (main.find_refresh(name) for name in names(main))
    assert merged
    rows = read_shards(Path(merged.url), "images", merged.shards).to_pylist()
    assert [row["status"] for row in rows if row["product_id"] == "p1"] == [kept]


def test_pictures_of_other_catalog_folders_stay_apart(tmp_path: Path, pictures: Path, server: PictureServer) -> None:
    main = with_refreshes(tmp_path / "work", pictures, 2)
    other = tmp_path / "other"
    shutil.copytree(pictures, other)
    (other / "1.jpg").write_bytes(jpeg(60, 60, (7, 7, 7)))
    for hour in ("04", "05"):
        refresh(main, f"20260101T{hour}-x", {"p1": ["1.jpg"]}, base=str(other))
        # the folder says nothing of a picture of the web
        refresh(main, f"20260101T{hour}-y", {"p2": [server.url("/n/1.jpg")]}, base=str(tmp_path / hour))
    before = everything(main)
    tidy_refreshes(main, LONG_AGO)
    assert len(names(main)) == 3
    assert everything(main) == before
    bases = {dict(images.metadata)["base"] for images in open_refreshed(main, ["p0", "p1", "p2"])}
    assert bases == {str(pictures), str(other), ""}


def test_refreshes_of_different_days_stay_apart(tmp_path: Path, pictures: Path) -> None:
    main = with_refreshes(tmp_path, pictures, 4)
    for day in (2, 3, 3):
        name = f"2026010{day}T0{len(names(main))}-x"
        refresh(main, name, {f"p{day}": [f"{day}.jpg"]}, base=str(pictures))
    before = everything(main)
    tidy_refreshes(main, LONG_AGO)
    assert [name.partition("-")[0] for name in names(main)] == ["20260101T03", "20260102T04", "20260103T06"]
    assert everything(main) == before
    tidy_refreshes(main, datetime(2026, 1, 3, tzinfo=UTC))
    assert [name.partition("-")[0] for name in names(main)] == ["20260103T06"]


def test_refreshes_that_cannot_be_merged_are_left_as_they_are(tmp_path: Path, pictures: Path) -> None:
    main = with_refreshes(tmp_path / "work", pictures, 1)
    for number in range(4):
        refresh(main, f"20260102T0{number}-x", {"p1": ["1.jpg"]}, base=str(tmp_path / f"{number}"))
    kept = names(main)
    tidy_refreshes(main, LONG_AGO)
    assert names(main) == kept


def test_damaged_refresh_costs_a_merge_only_its_pictures(tmp_path: Path, pictures: Path) -> None:
    main = with_refreshes(tmp_path, pictures, 5)
    bits = Path(list(earlier_refreshes(main))[::-1][1].images.path(0))
    content = bytearray(bits.read_bytes())
    content[content.index(b"\xff\xd8\xff") + 200] ^= 1
    bits.write_bytes(content)
    Path(list(earlier_refreshes(main))[::-1][2].images.path(0)).write_bytes(b"garbage")
    tidy_refreshes(main, LONG_AGO)
    assert [name[:11] for name in names(main)] == ["20260101T02", "20260101T04"]
    found = open_refreshed(main, [f"p{number}" for number in range(5)])
    assert {source for images in found for source, _ in images.sources()} == {"0.jpg", "3.jpg", "4.jpg"}


def test_files_that_are_merged_while_a_build_reads_them_are_found(tmp_path: Path, pictures: Path) -> None:
    main = with_refreshes(tmp_path, pictures, 5)
    expected = {source for source, _, _ in everything(main)[0]}
    found = set()
    for number, images in enumerate(open_refreshed(main, [f"p{number}" for number in range(5)])):
        found.update(source for source, _ in images.sources())
        if number == 0:
            tidy_refreshes(main, LONG_AGO)
    assert found == expected


def test_two_processes_that_merge_at_once_lose_nothing(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = with_refreshes(tmp_path, pictures, 4)
    before = everything(main)
    write, other = step.write_merged, []

    def overtaken(*args: Any) -> Any:
        if not other:
            other.append(1)
            tidy_refreshes(main, LONG_AGO)  # the other process is done before this one has read anything
        return write(*args)

    monkeypatch.setattr(step, "write_merged", overtaken)
    tidy_refreshes(main, LONG_AGO)
    assert len(names(main)) == 1
    assert everything(main) == before


def test_merge_that_is_killed_anywhere_loses_nothing_and_is_completed(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    folder, start = tmp_path / "work", tmp_path / "start"
    main = with_refreshes(folder, pictures, 4)
    before = everything(main)
    shutil.copytree(folder, start)
    later = [refresh(main, f"20260101T0{number}-x", {"p1": ["1.jpg"]}, base=str(pictures)) for number in range(4, 8)]
    for each in later:
        shutil.copytree(each.url, tmp_path / each.name)
    kills = 0
    while True:
        remaining = [kills + 1]

        def deadly(call: Callable[..., Any], remaining: list[int] = remaining) -> Callable[..., Any]:
            def counted(*args: Any, **options: Any) -> Any:
                remaining[0] -= 1
                if remaining[0] == 0:
                    raise Killed
                return call(*args, **options)

            return counted

        shutil.rmtree(folder)
        shutil.copytree(start, folder)
        main = Workspace.existing(str(folder))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", deadly(Path.replace))
            patch.setattr(Folder, "remove", deadly(Folder.remove))
            try:
                tidy_refreshes(main, LONG_AGO)
            except Killed:
                kills += 1
            else:
                break
        assert everything(main) == before, kills
        for each in later:  # enough for the next merge, whatever the killed one has removed
            shutil.copytree(tmp_path / each.name, each.url)
        tidy_refreshes(main, LONG_AGO)
        assert everything(main) == before, kills
        assert len(names(main)) <= 5, kills
    assert kills > 20


def test_one_process_merges_at_a_time(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = with_refreshes(tmp_path / "work", pictures, 4)
    merge = step._merge

    def merge_twice(*args: Any) -> None:
        monkeypatch.setattr(step, "_merge", merge)
        tidy_refreshes(main, LONG_AGO)  # another process, which leaves it to the first
        assert len(names(main)) == 4
        merge(*args)

    monkeypatch.setattr(step, "_merge", merge_twice)
    tidy_refreshes(main, LONG_AGO)
    assert len(names(main)) == 1
