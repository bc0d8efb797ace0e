"""The download step: one row for each picture, sorted; done again only where something changed."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from artifacts.errors import StepFailed
from artifacts.schema import IMAGES, OK, Reason
from artifacts.settings import Settings
from jobs.download import http as fetch_http
from jobs.download import images_file
from jobs.download import spool as spool_module
from jobs.download.fetch import Fetched
from jobs.download.step import download_shard, run_download
from jobs.workspace.shards import ShardReport
from jobs.workspace.workspace import Workspace
from tests.catalogs import read_shards, write_catalog
from tests.pipeline import context_on
from tests.servers import PictureServer, jpeg

SETTINGS = Settings(shards=1, allow_private_addresses=True, download_retries=1)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_http, "_backoff", lambda state: 0.01)


def run(workspace: Path, settings: Settings = SETTINGS, **options: object) -> ShardReport:
    return download_shard(Workspace(str(workspace), 1), 0, settings.pipeline.download, **options)  # type: ignore[arg-type]


def rows(workspace: Path) -> list[dict]:
    return read_shards(workspace, "images").to_pylist()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with 6 pictures beside a catalog."""
    (tmp_path / "shop").mkdir()
    for number in range(6):
        (tmp_path / "shop" / f"{number}.jpg").write_bytes(jpeg(color=(number * 40, 0, 0)))
    return tmp_path / "shop"


def test_every_picture_is_one_row_in_order(tmp_path: Path, server: PictureServer) -> None:
    kinds = ["/n/{}.jpg", "/status/404?{}", "/page.jpg?{}", "/second-try.jpg", "/ok.jpg", "/truncated.jpg?{}"]
    numbers = list(range(700))
    random.Random(1).shuffle(numbers)
    products = {
        f"p{number}": [server.url(kinds[(number + k) % len(kinds)].format(number)) for k in range(number % 3)]
        for number in numbers
    }
    products["ü"] = [None, "", "nonsense", "../../etc/hostname"]
    write_catalog(tmp_path, products)
    report = run(tmp_path)

    got = rows(tmp_path)
    expected = [(p, k, url or "") for p in sorted(products) for k, url in enumerate(products[p])]
    assert [(row["product_id"], row["picture"], row["url"]) for row in got] == expected
    assert report.rows == len(expected) == report.ok + sum(report.failed.values())
    assert report.reused == 0
    assert server.requests["/ok.jpg"] == 1  # named by many products, asked for once
    for row in got:
        if row["status"] == OK:
            assert hashlib.sha256(row["jpeg"]).hexdigest() == row["sha256"]
            assert row["detail"] is None
            assert row["width"] == 120
        else:
            assert row["status"] in set(Reason)
            assert row["detail"]
            assert row["jpeg"] is row["sha256"] is None

    file = pq.ParquetFile(tmp_path / "images" / "shard-00000.parquet")
    assert file.schema_arrow.equals(IMAGES)
    assert max(file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)) <= images_file.GROUP_ROWS
    column = file.metadata.row_group(0).column(IMAGES.get_field_index("jpeg"))
    assert column.compression == "UNCOMPRESSED"


def test_a_finished_shard_is_skipped_and_a_new_price_changes_nothing(tmp_path: Path, server: PictureServer) -> None:
    products = {"a": [server.url("/ok.jpg")], "b": [server.url("/status/404")]}
    write_catalog(tmp_path, products)
    run(tmp_path)
    server.reset()
    write_catalog(tmp_path, products, price=2.0)
    report = run(tmp_path)
    assert report.skipped
    assert (report.rows, report.ok, report.failed) == (2, 1, {Reason.HTTP_CLIENT_ERROR: 1})
    assert not server.requests


def test_only_what_is_new_is_fetched(tmp_path: Path, server: PictureServer) -> None:
    products = {f"p{n}": [server.url(f"/n/{n}.jpg")] for n in range(600)} | {"gone": [server.url("/status/404")]}
    write_catalog(tmp_path, products)
    run(tmp_path)
    before = {row["url"]: row for row in rows(tmp_path)}
    server.reset()

    del products["p1"], products["p2"]
    products["p3"] = [server.url("/n/1000.jpg"), *products["p3"]]  # what was its first picture is now its second
    products["new"] = [server.url("/n/1001.jpg")]
    write_catalog(tmp_path, products)
    report = run(tmp_path)

    assert dict(server.requests) == {"/n/1000.jpg": 1, "/n/1001.jpg": 1}
    assert (report.rows, report.ok, report.reused) == (601, 600, 598)
    for row in rows(tmp_path):
        if row["url"] in before:
            old = before[row["url"]]
            assert {**row, "product_id": 0, "picture": 0} == {**old, "product_id": 0, "picture": 0}


def test_failures_that_may_pass_are_tried_again_and_no_others(tmp_path: Path, server: PictureServer) -> None:
    products = {f"p{n}": [server.url(f"/n/{n}.jpg")] for n in range(5)} | {"gone": [server.url("/status/404")]}
    write_catalog(tmp_path, products)
    run(tmp_path)
    products["q"] = [server.url("/n/9.jpg")]
    write_catalog(tmp_path, products)
    server.reset()
    server.down = True
    assert run(tmp_path).failed == {Reason.HTTP_CLIENT_ERROR: 1, Reason.HTTP_SERVER_ERROR: 1}
    server.reset()
    assert run(tmp_path, retry="none").skipped
    assert not server.requests
    report = run(tmp_path)
    assert (report.ok, report.reused, report.failed) == (6, 5, {Reason.HTTP_CLIENT_ERROR: 1})
    assert dict(server.requests) == {"/n/9.jpg": 1}
    assert run(tmp_path).skipped
    server.reset()
    run(tmp_path, retry="all")
    assert dict(server.requests) == {"/status/404": 1}


def test_refetch_asks_for_unchanged_urls(tmp_path: Path, server: PictureServer) -> None:
    write_catalog(tmp_path, {"a": [server.url("/n/1.jpg")], "b": [server.url("/n/2.jpg")]})
    run(tmp_path)
    server.reset()
    report = run(tmp_path, refetch=frozenset({"b"}))
    assert (report.ok, report.reused) == (2, 1)
    assert dict(server.requests) == {"/n/2.jpg": 1}


def test_settings_that_matter(tmp_path: Path, server: PictureServer) -> None:
    products = {"a": [server.url("/n/1.jpg")], "b": [server.url("/status/404")], "c": [server.url("/huge.png")]}
    write_catalog(tmp_path, products)
    run(tmp_path)
    server.reset()
    run(tmp_path, SETTINGS.model_copy(update={"max_pixels": 1_000_000}))  # other limits: failures are judged again
    assert dict(server.requests) == {"/status/404": 1, "/huge.png": 1}
    server.reset()
    assert run(tmp_path, SETTINGS.model_copy(update={"max_pixels": 1_000_000, "download_concurrency": 2})).skipped
    run(tmp_path, SETTINGS.model_copy(update={"picture_side": 100}))  # other pictures: everything anew
    assert len(server.requests) == 3
    assert [row["width"] for row in rows(tmp_path)] == [100, None, None]


def test_local_files_edited_added_removed(tmp_path: Path, shop: Path) -> None:
    products = {f"p{number}": [f"{number}.jpg"] for number in range(8)}
    write_catalog(tmp_path, products, base=str(shop))
    report = run(tmp_path)
    assert (report.ok, report.failed) == (6, {Reason.FILE_NOT_FOUND: 2})
    assert run(tmp_path).skipped
    before = rows(tmp_path)

    (shop / "0.jpg").write_bytes(jpeg(color=(0, 255, 0)))
    (shop / "6.jpg").write_bytes(jpeg(color=(0, 0, 255)))
    (shop / "5.jpg").unlink()
    report = run(tmp_path)
    assert (report.ok, report.reused, report.failed) == (6, 4, {Reason.FILE_NOT_FOUND: 2})
    after = rows(tmp_path)
    changed = [old["url"] for old, new in zip(before, after, strict=True) if old != new]
    assert changed == ["0.jpg", "5.jpg", "6.jpg"]


def test_another_folder_of_the_same_names_is_other_pictures(tmp_path: Path, shop: Path) -> None:
    write_catalog(tmp_path, {"a": ["0.jpg"]}, base=str(shop))
    run(tmp_path)
    (tmp_path / "next").mkdir()
    # as many bytes, and the very same time: only the folder tells
    content = jpeg(color=(1, 0, 0))
    (tmp_path / "next" / "0.jpg").write_bytes(content)
    stamp = (shop / "0.jpg").stat()
    os.utime(tmp_path / "next" / "0.jpg", ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))
    assert len(content) == stamp.st_size
    write_catalog(tmp_path, {"a": ["0.jpg"]}, base=str(tmp_path / "next"))
    run(tmp_path)
    assert rows(tmp_path)[0]["source_sha256"] == hashlib.sha256(content).hexdigest()


def test_a_killed_task_leaves_nothing_and_a_rerun_converges(
    tmp_path: Path, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    products = {f"p{n:03}": [server.url(f"/n/{n}.jpg")] for n in range(300)}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    write_catalog(whole, products)
    write_catalog(killed, products)
    expected = run(whole)

    class Killed(BaseException):
        pass

    add = images_file.ImagesWriter.add
    count = 0

    def dies(self: images_file.ImagesWriter, *arguments: object) -> None:
        nonlocal count
        count += 1
        if count == 280:  # after a row group has been written
            raise Killed
        add(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(images_file.ImagesWriter, "add", dies)
    with pytest.raises(Killed):
        run(killed)
    assert not list((killed / "images").iterdir())
    report = run(killed)
    assert report.sha256 == expected.sha256


def test_slow_pictures_do_not_hold_up_the_others(
    tmp_path: Path, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first row comes last: all others wait on disk, in order, and come back whole."""
    monkeypatch.setattr(spool_module, "SPOOL_BYTES", 10_000)
    products = {"a": [server.url("/last/400")]} | {f"p{n:03}": [server.url(f"/n/{n}.jpg")] for n in range(400)}
    write_catalog(tmp_path, products)
    report = run(tmp_path, SETTINGS.model_copy(update={"download_concurrency": 4}))
    assert report.ok == 401
    assert all(hashlib.sha256(row["jpeg"]).hexdigest() == row["sha256"] for row in rows(tmp_path))


def test_the_spool_moves_to_disk_and_uses_its_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SPOOL_BYTES", 100)
    pictures = {position: Fetched(OK, jpeg=bytes([position]) * 40) for position in range(10)}
    with spool_module.Spool() as spool:
        for _ in range(3):
            for position, fetched in pictures.items():
                spool.put([position], fetched)
            spool.put([10, 11], Fetched(OK, jpeg=b"shared"))
            spool.put([12], Fetched(Reason.TIMEOUT, "late"))
            assert {position: spool.pop(position) for position in pictures} == pictures
            assert spool.pop(10) == spool.pop(11) == Fetched(OK, jpeg=b"shared")
            assert spool.pop(12) == Fetched(Reason.TIMEOUT, "late")
            assert spool.pop(0) is None
            assert (spool._in_memory, spool._on_disk, spool._end) == (0, 0, 0)


def test_without_a_catalog(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="the catalog step has not been run"):
        run(tmp_path)


def test_an_empty_shard(tmp_path: Path) -> None:
    write_catalog(tmp_path, {})
    assert run(tmp_path).rows == 0
    assert rows(tmp_path) == []
    assert run(tmp_path).skipped


@pytest.mark.parametrize("damage", ["one bit", "cut", "garbage"])
def test_a_damaged_earlier_file_is_made_anew(tmp_path: Path, server: PictureServer, damage: str) -> None:
    write_catalog(tmp_path, {"a": [server.url("/n/1.jpg")]})
    run(tmp_path)
    path = tmp_path / "images" / "shard-00000.parquet"
    content = bytearray(path.read_bytes())
    if damage == "one bit":
        content[content.index(b"\xff\xd8\xff") + 200] ^= 1
    path.write_bytes({"one bit": content, "cut": content[:-100], "garbage": b"garbage"}[damage])
    write_catalog(tmp_path, {"a": [server.url("/n/1.jpg")], "b": [server.url("/n/2.jpg")]})
    server.reset()
    report = run(tmp_path)
    assert (report.ok, report.reused) == (2, 0)
    assert server.requests["/n/1.jpg"] == 1


@pytest.mark.spark
def test_on_spark(tmp_path: Path, server: PictureServer, spark) -> None:
    products = {f"p{n}": [server.url(f"/n/{n}.jpg")] for n in range(40)} | {"gone": [server.url("/status/404")]}
    workspace = write_catalog(tmp_path, products, shards=4)
    seen: list[int] = []
    context = context_on(workspace, SETTINGS, spark=lambda: spark, on_shard=lambda report: seen.append(report.shard))
    reports = run_download(context).report.reports
    assert [report.shard for report in reports] == [0, 1, 2, 3]
    assert sorted(seen) == [0, 1, 2, 3]
    assert sum(report.ok for report in reports) == 40
    assert read_shards(tmp_path, "images", 4).num_rows == 41
    again = run_download(context, [1, 3])
    assert [(report.shard, report.skipped) for report in again.report.reports] == [(1, True), (3, True)]
    assert not again.changed
