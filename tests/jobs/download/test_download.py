"""The download step: one row for each picture, sorted; only changed pictures are fetched again."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from artifacts.errors import StepFailed
from artifacts.schema import IMAGES, OK, Reason
from artifacts.settings import Settings
from jobs.download import images_file, spool
from jobs.download.refetch import Refetch
from jobs.download.step import download_shard, run_download
from jobs.workspace.shards import ShardReport
from jobs.workspace.workspace import Workspace
from tests.catalogs import read_shards, write_catalog
from tests.pipeline import context_on
from tests.servers import PictureServer, jpeg

SETTINGS = Settings(shards=1, allow_private_addresses=True, download_retries=1)


def run(workspace: Path, settings: Settings = SETTINGS, **options: Any) -> ShardReport:
    """Download the only shard of a workspace."""
    return download_shard(Workspace(str(workspace), 1), 0, settings.pipeline.download, **options)


def rows(workspace: Path) -> list[dict]:
    """Return the rows of the images shard."""
    return read_shards(workspace, "images").to_pylist()


def assert_same_rows(left: Path, right: Path) -> None:
    """Compare two images shards in all but the times at which pictures were fetched."""
    tables = [read_shards(workspace, "images").drop_columns(["fetched_at"]) for workspace in (left, right)]
    assert tables[0].equals(tables[1])


def test_each_picture_is_one_row_in_sorted_order(tmp_path: Path, server: PictureServer) -> None:
    paths = ["/n/{}.jpg", "/status/404?{}", "/page.jpg?{}", "/fail-once.jpg", "/ok.jpg", "/truncated.jpg?{}"]
    numbers = list(range(700))
    random.Random(1).shuffle(numbers)
    products = {
        f"p{number}": [server.url(paths[(number + k) % len(paths)].format(number)) for k in range(number % 3)]
        for number in numbers
    }
    products["ü"] = ["", "nonsense", "../../etc/hostname"]
    write_catalog(tmp_path, products)
    report = run(tmp_path)

    images = rows(tmp_path)
    expected = [(p, k, url) for p in sorted(products) for k, url in enumerate(products[p])]
    assert [(row["product_id"], row["picture"], row["url"]) for row in images] == expected
    assert report.rows == len(expected) == report.ok + sum(report.failed.values())
    assert report.reused == 0
    assert server.requests["/ok.jpg"] == 1  # named by many products, requested once
    for row in images:
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


def test_null_pictures_are_left_out_and_the_others_keep_their_numbers(tmp_path: Path, shop: Path) -> None:
    write_catalog(tmp_path, {"a": [None, "1.jpg", None, "2.jpg"], "b": [None]}, base=str(shop))
    report = run(tmp_path)
    assert (report.rows, report.ok) == (2, 2)
    assert [(row["product_id"], row["picture"], row["url"]) for row in rows(tmp_path)] == [
        ("a", 1, "1.jpg"),
        ("a", 3, "2.jpg"),
    ]
    assert run(tmp_path).skipped
    write_catalog(tmp_path, {"a": ["1.jpg", None, "2.jpg"], "b": [None]}, base=str(shop))
    report = run(tmp_path)
    assert (report.skipped, report.reused) == (False, 2)
    assert [row["picture"] for row in rows(tmp_path)] == [0, 2]


def test_shard_with_unchanged_pictures_is_skipped(tmp_path: Path, server: PictureServer) -> None:
    products = {"a": [server.url("/ok.jpg")], "b": [server.url("/status/404")]}
    write_catalog(tmp_path, products)
    run(tmp_path)
    server.reset()
    write_catalog(tmp_path, products, price=2.0)
    report = run(tmp_path)
    assert report.skipped
    assert (report.rows, report.ok, report.failed) == (2, 1, {Reason.HTTP_CLIENT_ERROR: 1})
    assert not server.requests


def test_only_new_pictures_are_fetched(tmp_path: Path, server: PictureServer) -> None:
    products = {f"p{n}": [server.url(f"/n/{n}.jpg")] for n in range(600)} | {"gone": [server.url("/status/404")]}
    write_catalog(tmp_path, products)
    run(tmp_path)
    before = {row["url"]: row for row in rows(tmp_path)}
    server.reset()

    del products["p1"], products["p2"]
    products["p3"] = [server.url("/n/1000.jpg"), *products["p3"]]  # its first picture becomes its second
    products["new"] = [server.url("/n/1001.jpg")]
    write_catalog(tmp_path, products)
    report = run(tmp_path)

    assert dict(server.requests) == {"/n/1000.jpg": 1, "/n/1001.jpg": 1}
    assert (report.rows, report.ok, report.reused) == (601, 600, 598)
    for row in rows(tmp_path):
        if row["url"] in before:
            earlier = before[row["url"]]
            assert {**row, "product_id": 0, "picture": 0} == {**earlier, "product_id": 0, "picture": 0}


def test_only_transient_failures_are_retried_by_default(tmp_path: Path, server: PictureServer) -> None:
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


def test_refetch_downloads_unchanged_urls_again(tmp_path: Path, server: PictureServer) -> None:
    write_catalog(tmp_path, {"a": [server.url("/n/1.jpg")], "b": [server.url("/n/2.jpg")]})
    run(tmp_path)
    server.reset()
    report = run(tmp_path, refetch=Refetch(frozenset({"b"})))
    assert (report.ok, report.reused) == (2, 1)
    assert dict(server.requests) == {"/n/2.jpg": 1}


def test_changed_limits_retry_failures_and_a_changed_size_refetches_all(tmp_path: Path, server: PictureServer) -> None:
    products = {"a": [server.url("/n/1.jpg")], "b": [server.url("/status/404")], "c": [server.url("/huge.png")]}
    write_catalog(tmp_path, products)
    run(tmp_path)
    server.reset()
    run(tmp_path, SETTINGS.model_copy(update={"max_pixels": 1_000_000}))  # other limits: failures are retried
    assert dict(server.requests) == {"/status/404": 1, "/huge.png": 1}
    server.reset()
    assert run(tmp_path, SETTINGS.model_copy(update={"max_pixels": 1_000_000, "download_concurrency": 2})).skipped
    run(tmp_path, SETTINGS.model_copy(update={"picture_side": 100}))  # another size: all pictures are fetched again
    assert len(server.requests) == 3
    assert [row["width"] for row in rows(tmp_path)] == [100, None, None]


def test_edited_added_and_removed_local_files_are_noticed(tmp_path: Path, shop: Path) -> None:
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
    changed = [row["url"] for earlier, row in zip(before, after, strict=True) if earlier != row]
    assert changed == ["0.jpg", "5.jpg", "6.jpg"]


def test_same_paths_in_another_folder_are_other_pictures(tmp_path: Path, shop: Path) -> None:
    write_catalog(tmp_path, {"a": ["0.jpg"]}, base=str(shop))
    run(tmp_path)
    (tmp_path / "next").mkdir()
    # same size and time: only the folder differs
    content = jpeg(color=(1, 0, 0))
    (tmp_path / "next" / "0.jpg").write_bytes(content)
    stamp = (shop / "0.jpg").stat()
    os.utime(tmp_path / "next" / "0.jpg", ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))
    assert len(content) == stamp.st_size
    write_catalog(tmp_path, {"a": ["0.jpg"]}, base=str(tmp_path / "next"))
    run(tmp_path)
    assert rows(tmp_path)[0]["source_sha256"] == hashlib.sha256(content).hexdigest()


def test_killed_shard_leaves_no_file_and_its_rerun_writes_the_same_rows(
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

    def die(self: images_file.ImagesWriter, *arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == 280:  # after a row group has been written
            raise Killed
        add(self, *arguments)

    monkeypatch.setattr(images_file.ImagesWriter, "add", die)
    with pytest.raises(Killed):
        run(killed)
    assert not list((killed / "images").iterdir())
    report = run(killed)
    assert report.content == expected.content
    assert_same_rows(whole, killed)


def test_slow_picture_does_not_delay_the_others(
    tmp_path: Path, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first row is ready last: all others wait in the spool, on disk, and are read back whole."""
    monkeypatch.setattr(spool, "SPOOL_BYTES", 10_000)
    products = {"a": [server.url("/after-others/400")]} | {f"p{n:03}": [server.url(f"/n/{n}.jpg")] for n in range(400)}
    write_catalog(tmp_path, products)
    report = run(tmp_path, SETTINGS.model_copy(update={"download_concurrency": 4}))
    assert report.ok == 401
    assert all(hashlib.sha256(row["jpeg"]).hexdigest() == row["sha256"] for row in rows(tmp_path))


def test_missing_catalog_fails_and_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="the catalog step has not been run"):
        run(tmp_path)


def test_empty_shard_has_no_rows_and_is_skipped_later(tmp_path: Path) -> None:
    write_catalog(tmp_path, {})
    assert run(tmp_path).rows == 0
    assert rows(tmp_path) == []
    assert run(tmp_path).skipped


@pytest.mark.parametrize("damage", ["one bit", "truncated", "garbage"])
def test_damaged_earlier_file_is_written_anew(tmp_path: Path, server: PictureServer, damage: str) -> None:
    write_catalog(tmp_path, {"a": [server.url("/n/1.jpg")]})
    run(tmp_path)
    path = tmp_path / "images" / "shard-00000.parquet"
    content = bytearray(path.read_bytes())
    if damage == "one bit":
        content[content.index(b"\xff\xd8\xff") + 200] ^= 1
    path.write_bytes({"one bit": content, "truncated": content[:-100], "garbage": b"garbage"}[damage])
    write_catalog(tmp_path, {"a": [server.url("/n/1.jpg")], "b": [server.url("/n/2.jpg")]})
    server.reset()
    report = run(tmp_path)
    assert (report.ok, report.reused) == (2, 0)
    assert server.requests["/n/1.jpg"] == 1


@pytest.mark.spark
def test_spark_runs_one_task_for_each_changed_shard(tmp_path: Path, server: PictureServer, spark: object) -> None:
    products = {f"p{n}": [server.url(f"/n/{n}.jpg")] for n in range(40)} | {"missing": [server.url("/status/404")]}
    workspace = write_catalog(tmp_path, products, shards=4)
    reported: list[int] = []
    context = context_on(
        workspace, SETTINGS, spark=lambda: spark, on_shard=lambda report: reported.append(report.shard)
    )
    reports = run_download(context).report.reports
    assert [report.shard for report in reports] == [0, 1, 2, 3]
    assert sorted(reported) == [0, 1, 2, 3]
    assert sum(report.ok for report in reports) == 40
    assert read_shards(tmp_path, "images", 4).num_rows == 41
    rerun = run_download(context, [1, 3])
    assert [(report.shard, report.skipped) for report in rerun.report.reports] == [(1, True), (3, True)]
    assert not rerun.changed
