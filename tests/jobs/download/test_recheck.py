"""Re-checks: pictures fetched long ago are asked for again, conditionally, and stay unless there is another one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from artifacts.schema import IMAGES, OK, Reason
from artifacts.settings import Settings
from jobs.download.refetch import Refetch
from jobs.download.step import download_shard, plan_download, run_download
from jobs.embed.step import embed_shard
from jobs.workspace.shards import ShardReport
from jobs.workspace.workspace import Workspace
from tests.catalogs import read_shards, write_catalog
from tests.pipeline import context_on
from tests.servers import PictureServer, jpeg

SETTINGS = Settings(shards=1, allow_private_addresses=True, download_retries=0)
WEEKLY = SETTINGS.model_copy(update={"recheck_days": 7.0})


def run(workspace: Path, settings: Settings = WEEKLY, **options: Any) -> ShardReport:
    """Download the only shard of a workspace."""
    return download_shard(Workspace(str(workspace), 1), 0, settings.pipeline.download, **options)


def rows(workspace: Path) -> list[dict[str, Any]]:
    return read_shards(workspace, "images").to_pylist()


def age(workspace: Path, days: float) -> None:
    """Have the pictures of the only shard fetched some days earlier than they were."""
    path, report = (workspace / "images" / f"shard-00000.{suffix}" for suffix in ("parquet", "json"))
    table = pq.read_table(path)
    shift = timedelta(days=days)
    times = [time and time - shift for time in table["fetched_at"].to_pylist()]
    index = table.schema.get_field_index("fetched_at")
    values = json.loads(report.read_text())
    if values["oldest_fetched_at"]:
        oldest = datetime.fromisoformat(values["oldest_fetched_at"]) - shift
        report.write_text(json.dumps(values | {"oldest_fetched_at": oldest.isoformat()}))
    pq.write_table(table.set_column(index, IMAGES.field(index), [times]), path)


def test_time_and_validators_of_pictures_are_kept(tmp_path: Path, server: PictureServer) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "local.jpg").write_bytes(jpeg())
    urls = [server.url(path) for path in ("/editable/kept.jpg", "/ok.jpg", "/status/404")]
    write_catalog(
        tmp_path,
        {"p": [*urls, server.url("/redirect?to=/editable/kept.jpg"), "local.jpg"]},
        base=str(tmp_path / "shop"),
    )
    began = datetime.now(UTC)
    report = run(tmp_path, SETTINGS)
    found = [(row["etag"], row["last_modified"], row["fetched_at"] is None) for row in rows(tmp_path)]
    assert found == [
        ('"v0"', "Thu, 01 Jan 2026 00:00:00 GMT", False),
        (None, None, False),
        (None, None, True),
        ('"v0"', None, False),  # the time of one picture says nothing of another that the redirect may lead to
        (None, None, True),
    ]
    times = [row["fetched_at"] for row in rows(tmp_path) if row["fetched_at"]]
    assert report.oldest_fetched_at == min(times)
    assert all(began <= time <= datetime.now(UTC) for time in times)


@pytest.mark.parametrize("validators", ["etag", "modified", "etag modified", "none"])
def test_unchanged_picture_is_kept_and_its_time_renewed(tmp_path: Path, server: PictureServer, validators: str) -> None:
    url = server.url(f"/editable/same-{validators.replace(' ', '-')}.jpg?validators={validators}")
    write_catalog(tmp_path, {"p": [url], "q": [url]})
    first = run(tmp_path)
    embed = {
        "config": Settings(encoder="python:tests.encoders:MeanColor").pipeline.encoder,
        "cache": tmp_path / "cache",
    }
    embed_shard(Workspace(str(tmp_path), 1), 0, **embed)
    age(tmp_path, 6)
    server.reset()
    assert run(tmp_path).skipped
    age(tmp_path, 2)
    before = rows(tmp_path)
    report = run(tmp_path)
    assert sum(server.requests.values()) == 1
    assert sum(server.conditional.values()) == (validators != "none")
    assert (report.ok, report.reused, report.recheck_failed) == (2, 2, 0)
    after = rows(tmp_path)
    assert [row | {"fetched_at": None} for row in after] == [row | {"fetched_at": None} for row in before]
    assert all(
        row["fetched_at"] > old["fetched_at"] + timedelta(days=7) for row, old in zip(after, before, strict=True)
    )
    assert run(tmp_path).skipped
    # nothing that depends on the pictures is done again
    assert report.digest == first.digest
    assert report.sha256 != first.sha256
    assert embed_shard(Workspace(str(tmp_path), 1), 0, **embed).skipped


@pytest.mark.parametrize("validators", ["etag", "modified", "none"])
@pytest.mark.parametrize("through", ["", "/redirect?to="])
def test_replaced_picture_is_noticed(tmp_path: Path, server: PictureServer, validators: str, through: str) -> None:
    path = f"/editable/new-{validators}-{len(through)}.jpg"
    write_catalog(tmp_path, {"p": [server.url(f"{through}{path}?validators={validators}")]})
    first = run(tmp_path)
    age(tmp_path, 8)
    server.edit(path)
    report = run(tmp_path)
    assert (report.ok, report.done) == (1, 1)
    assert report.digest != first.digest
    (row,) = rows(tmp_path)
    assert row["etag"] == ('"v1"' if validators == "etag" else None)
    assert datetime.now(UTC) - row["fetched_at"] < timedelta(days=1)
    assert run(tmp_path).skipped


def test_picture_behind_a_redirect_is_not_sent_again(tmp_path: Path, server: PictureServer) -> None:
    write_catalog(tmp_path, {"p": [server.url("/redirect?to=/editable/behind.jpg")]})
    run(tmp_path)
    age(tmp_path, 8)
    server.reset()
    assert run(tmp_path).reused == 1
    assert server.conditional == {"/redirect": 1, "/editable/behind.jpg": 1}


@pytest.mark.parametrize("status", [404, 503, 204])
def test_failed_recheck_keeps_the_picture_and_is_tried_again(
    tmp_path: Path, server: PictureServer, status: int
) -> None:
    path = f"/editable/failing-{status}.jpg"
    write_catalog(tmp_path, {"p": [server.url(f"{path}?failing={status}")], "q": [server.url("/ok.jpg")]})
    run(tmp_path)
    age(tmp_path, 8)
    before = rows(tmp_path)
    server.edit(path)
    report = run(tmp_path)
    assert (report.ok, report.failed, report.reused, report.recheck_failed) == (2, {}, 2, 1)
    assert rows(tmp_path)[0] == before[0]
    server.reset()
    context = context_on(Workspace(str(tmp_path), 1), WEEKLY, in_process=True)
    result = run_download(context)
    assert dict(server.requests) == {path: 1}  # the other one is not due
    assert result.note == "0 pictures fetched, 2 kept from before, 1 of them after a failed re-check"


def test_a_batch_of_old_pictures_is_asked_for_in_each_run(tmp_path: Path, server: PictureServer) -> None:
    write_catalog(tmp_path, {f"p{n}": [server.url(f"/n/{n}.jpg")] for n in range(10)})
    run(tmp_path)
    age(tmp_path, 8)
    settings = WEEKLY.model_copy(update={"recheck_batch": 4})
    for requests in (4, 8, 10):
        server.reset() if requests == 4 else None
        run(tmp_path, settings)
        assert sum(server.requests.values()) == requests
        assert max(server.requests.values()) == 1
    assert run(tmp_path, settings).skipped


def test_pictures_are_not_asked_for_without_the_setting_and_local_ones_never(
    tmp_path: Path, server: PictureServer, shop: Path
) -> None:
    write_catalog(tmp_path, {"p": [server.url("/n/1.jpg"), "0.jpg"]}, base=str(shop))
    run(tmp_path)
    age(tmp_path, 1000)
    server.reset()
    assert run(tmp_path, SETTINGS).skipped
    write_catalog(tmp_path, {"p": ["0.jpg"]}, base=str(shop))
    assert run(tmp_path).reused == 1
    assert run(tmp_path, WEEKLY.model_copy(update={"recheck_days": 1e-9})).skipped
    assert not server.requests


def test_file_of_an_older_version_is_read_and_its_pictures_are_due(tmp_path: Path, server: PictureServer) -> None:
    products = {f"p{n}": [server.url(f"/n/{n}.jpg")] for n in range(3)}
    write_catalog(tmp_path, products)
    run(tmp_path)
    path, report = (tmp_path / "images" / f"shard-00000.{suffix}" for suffix in ("parquet", "json"))
    pq.write_table(pq.read_table(path).drop_columns(["etag", "last_modified", "fetched_at"]), path)
    new = ("content", "recheck_failed", "oldest_fetched_at")
    report.write_text(
        json.dumps({name: value for name, value in json.loads(report.read_text()).items() if name not in new})
    )
    server.reset()
    assert run(tmp_path, SETTINGS).skipped
    products["new"] = [server.url("/n/9.jpg")]
    write_catalog(tmp_path, products)
    assert run(tmp_path, SETTINGS).reused == 3
    assert dict(server.requests) == {"/n/9.jpg": 1}
    assert [row["fetched_at"] is None for row in rows(tmp_path)] == [False, True, True, True]
    server.reset()
    assert run(tmp_path).reused == 4
    assert sum(server.requests.values()) == 3
    assert all(row["fetched_at"] for row in rows(tmp_path))
    assert run(tmp_path).skipped


def test_shards_without_a_due_picture_do_not_reach_spark(tmp_path: Path, server: PictureServer) -> None:
    workspace = write_catalog(tmp_path, {f"p{n}": [server.url(f"/n/{n}.jpg")] for n in range(8)}, shards=2)
    context = context_on(workspace, WEEKLY.model_copy(update={"shards": 2}), in_process=True)
    run_download(context)
    assert plan_download(context).changed == []
    age(tmp_path, 8)
    assert plan_download(context).changed == [0]


@pytest.mark.parametrize(("status", "kept"), [(503, True), (404, False)])
def test_refetch_keeps_a_picture_only_if_the_failure_may_pass(
    tmp_path: Path, server: PictureServer, status: int, kept: bool
) -> None:
    path = f"/editable/refetched-{status}.jpg"
    write_catalog(tmp_path, {"p": [server.url(f"{path}?failing={status}")]})
    run(tmp_path, SETTINGS)
    server.edit(path)
    report = run(tmp_path, SETTINGS, refetch=Refetch(all=True))
    assert report.failed == ({} if kept else {Reason.HTTP_CLIENT_ERROR: 1})
    assert (report.ok, report.recheck_failed) == (int(kept), int(kept))


@pytest.mark.parametrize("shared", [False, True])
def test_later_download_of_a_refresh_replaces_the_picture(tmp_path: Path, server: PictureServer, shared: bool) -> None:
    """A refresh may refetch a picture: a build must not bring back the one from before."""
    path = f"/editable/later-{shared}.jpg"
    products = {"p": [server.url(path)], "q": [server.url(path if shared else "/ok.jpg")]}
    main = write_catalog(tmp_path, products)
    first = run(tmp_path, SETTINGS)
    server.edit(path)
    refresh = main.refresh("1", 1)
    write_catalog(Path(refresh.url), {"p": products["p"]})
    run(Path(refresh.url), SETTINGS)
    server.reset()
    report = run(tmp_path, SETTINGS)
    assert (report.ok, report.reused) == (2, 2)
    assert report.digest != first.digest
    assert not server.requests
    (expected,) = rows(Path(refresh.url))
    assert rows(tmp_path)[0] == expected
    assert rows(tmp_path)[1]["status"] == OK
    assert run(tmp_path, SETTINGS).skipped
