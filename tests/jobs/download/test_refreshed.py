"""The download step finds the pictures that refreshes have downloaded, and does not fetch them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from artifacts.schema import OK, Reason
from artifacts.settings import Settings
from jobs.download.refetch import Refetch
from jobs.download.step import download_shard
from jobs.workspace.shards import ShardReport
from jobs.workspace.workspace import Workspace
from tests.catalogs import read_shards, write_catalog
from tests.servers import PictureServer, jpeg

SETTINGS = Settings(shards=1, allow_private_addresses=True, download_retries=0)


def run(workspace: Workspace, settings: Settings = SETTINGS, **options: Any) -> list[ShardReport]:
    """Download all shards of a workspace."""
    shards = range(workspace.shards)
    return [download_shard(workspace, shard, settings.pipeline.download, **options) for shard in shards]


def refresh(
    main: Workspace,
    name: str,
    products: dict[str, list[str | None]],
    *,
    shards: int = 1,
    base: str | None = None,
    settings: Settings = SETTINGS,
) -> Workspace:
    """Download pictures as a refresh does."""
    workspace = main.refresh(name, shards)
    write_catalog(Path(workspace.url), products, shards=shards, base=base)
    run(workspace, settings)
    return workspace


def rows(workspace: Workspace) -> dict[str, dict[str, Any]]:
    return {row["url"]: row for row in read_shards(Path(workspace.url), "images", workspace.shards).to_pylist()}


def test_pictures_of_refreshes_are_not_fetched_again(tmp_path: Path, server: PictureServer) -> None:
    products: dict[str, list[str | None]] = {f"p{n:03}": [server.url(f"/n/{n}.jpg")] for n in range(400)}
    main = write_catalog(tmp_path, products, shards=2)
    run(main)
    before = rows(main)
    new: dict[str, list[str | None]] = {f"q{n}": [server.url(f"/n/{400 + n}.jpg")] for n in range(10)}
    first = refresh(main, "1", dict(list(new.items())[:6]), shards=3)
    # a refresh names the pictures that need no download as null
    second = refresh(main, "2", dict(list(new.items())[6:]) | {"p007": [None, server.url("/n/900.jpg")]})
    products["p007"].append(server.url("/n/900.jpg"))
    products["late"] = [server.url("/n/901.jpg")]
    server.reset()

    write_catalog(tmp_path, products | new, shards=2)
    reports = run(main)
    assert dict(server.requests) == {"/n/901.jpg": 1}
    assert (sum(r.ok for r in reports), sum(r.reused for r in reports)) == (412, 411)
    assert sum(report.done for report in reports) == 1
    after = rows(main)
    for expected in (before, rows(first), rows(second)):
        assert {url: row | {"picture": 0} for url, row in expected.items()} == {
            url: after[url] | {"picture": 0} for url in expected
        }
    assert all(report.skipped for report in run(main))


def test_shard_that_needs_no_picture_is_skipped_in_spite_of_refreshes(tmp_path: Path, server: PictureServer) -> None:
    main = write_catalog(tmp_path, {"a": [server.url("/n/1.jpg")]})
    run(main)
    refresh(main, "1", {"b": [server.url("/n/2.jpg")]})
    assert run(main)[0].skipped


def test_newest_refresh_decides_and_its_passing_failures_do_not(tmp_path: Path, shop: Path) -> None:
    main = write_catalog(tmp_path / "work", {}, base=str(shop))
    run(main)
    both = {"a": ["0.jpg"], "b": ["1.jpg"]}
    refresh(main, "20260102", both, base=str(shop))
    picture = (shop / "0.jpg").read_bytes()
    (shop / "0.jpg").unlink()
    refresh(main, "20260103", {"a": ["0.jpg"]}, base=str(shop))
    write_catalog(tmp_path / "work", both, base=str(shop))
    (shop / "1.jpg").rename(shop / "moved.jpg")
    report = run(main)[0]
    # 1.jpg is now another source: a missing file has a stamp of its own
    assert (report.ok, report.reused, report.failed) == (0, 0, {Reason.FILE_NOT_FOUND: 2})
    (shop / "moved.jpg").rename(shop / "1.jpg")
    (shop / "0.jpg").write_bytes(picture)
    report = run(main)[0]
    assert (report.ok, report.reused) == (2, 1)  # 0.jpg was written again, so its stamp is new


def test_transient_failure_of_a_refresh_is_tried_again_and_a_lasting_one_is_not(
    tmp_path: Path, server: PictureServer
) -> None:
    products = {"down": [server.url("/status/503")], "gone": [server.url("/status/404")]}
    main = write_catalog(tmp_path, {})
    run(main)
    refresh(main, "1", products)
    write_catalog(tmp_path, products)
    server.reset()
    report = run(main)[0]
    assert report.failed == {Reason.HTTP_SERVER_ERROR: 1, Reason.HTTP_CLIENT_ERROR: 1}
    assert dict(server.requests) == {"/status/503": 1}


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        ({"picture_side": 100}, {"/n/1.jpg": 1, "/status/404": 1}),  # makes other JPEGs
        ({"max_pixels": 1_000_000}, {"/status/404": 1}),  # may turn a failure into a picture
    ],
)
def test_results_of_refreshes_are_valid_as_those_of_the_shard_are(
    tmp_path: Path, server: PictureServer, change: dict[str, int], paths: dict[str, int]
) -> None:
    products = {"a": [server.url("/n/1.jpg")], "b": [server.url("/status/404")]}
    main = write_catalog(tmp_path, {})
    refresh(main, "1", products)
    write_catalog(tmp_path, products)
    server.reset()
    run(main, SETTINGS.model_copy(update=change))
    assert dict(server.requests) == paths


def test_refresh_of_another_catalog_folder_is_of_no_use(tmp_path: Path, shop: Path) -> None:
    main = write_catalog(tmp_path / "work", {"a": ["0.jpg"]}, base=str(shop))
    (tmp_path / "other").mkdir()
    content = jpeg(color=(0, 99, 0))
    (tmp_path / "other" / "0.jpg").write_bytes(content)
    refresh(main, "1", {"a": ["0.jpg"]}, base=str(tmp_path / "other"))
    assert run(main)[0].reused == 0


def test_damaged_refresh_costs_only_its_pictures(tmp_path: Path, server: PictureServer) -> None:
    products: dict[str, list[str | None]] = {f"p{n}": [server.url(f"/n/{n}.jpg")] for n in range(5)}
    main = write_catalog(tmp_path, {})
    bits = refresh(main, "1", {"p0": products["p0"]})
    rest = refresh(main, "2", {"p1": products["p1"]})
    refresh(main, "3", {"p2": products["p2"]})
    path = Path(bits.images.path(0))
    content = bytearray(path.read_bytes())
    content[content.index(b"\xff\xd8\xff") + 200] ^= 1
    path.write_bytes(content)
    Path(rest.images.path(0)).write_bytes(b"garbage")
    write_catalog(tmp_path, products)
    server.reset()
    report = run(main)[0]
    assert (report.ok, report.reused) == (5, 1)
    assert set(server.requests) == {f"/n/{n}.jpg" for n in (0, 1, 3, 4)}


def test_refetched_pictures_are_not_taken_from_refreshes(tmp_path: Path, server: PictureServer) -> None:
    products = {"a": [server.url("/n/1.jpg")], "b": [server.url("/n/2.jpg"), server.url("/n/1.jpg")]}
    main = write_catalog(tmp_path, {})
    refresh(main, "1", products)
    write_catalog(tmp_path, products)
    server.reset()
    report = run(main, refetch=Refetch(frozenset({"a"})))[0]
    assert dict(server.requests) == {"/n/1.jpg": 1}  # for both rows that name it
    assert (report.ok, report.reused) == (3, 1)


def test_a_refresh_finds_the_pictures_of_the_others(tmp_path: Path, server: PictureServer) -> None:
    """So that one whose release failed the gate, or that was killed, costs the next one nothing."""
    main = write_catalog(tmp_path, {})
    failed = refresh(main, "1", {"a": [server.url("/n/1.jpg")]})
    server.reset()
    refreshed = refresh(main, "2", {"a": [server.url("/n/1.jpg")], "b": [server.url("/n/2.jpg")]})
    assert dict(server.requests) == {"/n/2.jpg": 1}
    assert {row["status"] for row in rows(refreshed).values()} == {OK}
    assert rows(failed).items() <= rows(refreshed).items()
