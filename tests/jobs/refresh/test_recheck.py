"""Refreshes ask for old pictures again, and apply those that servers have replaced behind the same URL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.catalog.step import run_catalog
from jobs.download import http, shard
from jobs.download.output import ShardOutput
from jobs.download.step import download_shard
from jobs.refresh import step as refresh_step
from tests.pipeline import draw
from tests.servers import PictureServer
from tests.shop import Rows, Shop, assert_same, event


class Later(datetime):
    """A clock that is ten days ahead."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.now(UTC) + timedelta(days=10)


PATHS = [f"/editable/{number}.jpg" for number in range(4)]


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with PictureServer() as server:
        yield server


@pytest.fixture
def shop(tmp_path: Path, server: PictureServer) -> Shop:
    """Four of its pictures are a server's, and are asked for again after a week."""

    def urls(rows: Rows) -> None:
        for number, path in enumerate(PATHS):
            rows[f"p{number:03}"]["image_url"] = server.url(path)

    return Shop(tmp_path, prepare=urls, recheck_days=7.0, allow_private_addresses=True, shards=1)


def wait_ten_days(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (refresh_step, shard):
        monkeypatch.setattr(module, "datetime", Later)


def kill_after_recheck(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refresh, and be killed before the catalog is read."""
    with monkeypatch.context() as killed:
        killed.setattr(refresh_step, "find_changes", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            shop.refresh()


def vector(shop: Shop) -> np.ndarray:
    release = shop.open()
    try:
        found = release.product_vectors("p001")
    finally:
        release.close()
    assert found is not None
    return found


def test_refresh_applies_a_picture_that_was_replaced_behind_its_url(
    shop: Shop, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = vector(shop)
    server.edit(PATHS[1])
    server.reset()
    assert not shop.refresh().changed  # too early to ask
    assert not server.requests
    with monkeypatch.context() as later:
        wait_ten_days(later)
        assert shop.refresh().report.obtained.fetched == 1
        assert server.conditional == dict.fromkeys(PATHS, 1)
    assert (vector(shop) != before).any()
    assert_same(shop)


def test_recheck_that_was_killed_before_it_was_published_is_taken_up(
    shop: Shop, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = vector(shop)
    server.edit(PATHS[1])
    wait_ten_days(monkeypatch)
    kill_after_recheck(shop, monkeypatch)
    assert (vector(shop) == before).all()
    assert shop.refresh().changed
    assert (vector(shop) != before).any()
    assert not shop.refresh().changed


def test_recheck_of_a_killed_refresh_is_not_forgotten_by_a_change_file(
    shop: Shop, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workspace has the picture by then, and would not ask for it again."""
    before = vector(shop)
    server.edit(PATHS[1])
    wait_ten_days(monkeypatch)
    monkeypatch.setattr(http, "datetime", Later)
    kill_after_recheck(shop, monkeypatch)
    shop.apply_changes([event("p020", shop.rows, price=7)])
    assert (vector(shop) == before).all()
    assert shop.refresh().changed
    assert (vector(shop) != before).any()


def test_recheck_does_not_overwrite_what_a_build_has_fetched_meanwhile(
    shop: Shop, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_ten_days(monkeypatch)
    fetch, built = ShardOutput.fetch, threading.Event()

    def fetch_of_a_build() -> None:
        draw(shop.images / "new.jpg", "green", "circle", 99)
        shop.edit(lambda rows: rows["p010"].update(image_url="images/new.jpg"))
        context = shop.context()
        run_catalog(context)
        download_shard(context.workspace, 0, context.config.download)

    async def overtaken(self: ShardOutput, *args: Any) -> None:
        if not built.is_set():
            built.set()
            build = threading.Thread(target=fetch_of_a_build)
            build.start()
            build.join()
        await fetch(self, *args)

    with monkeypatch.context() as during:
        during.setattr(ShardOutput, "fetch", overtaken)
        during.setattr(refresh_step, "find_changes", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            shop.refresh()
    with shop.context().workspace.images.open(0) as file:
        images = pq.read_table(file, columns=["product_id", "url"]).to_pylist()
    assert {"product_id": "p010", "url": "images/new.jpg"} in images


def test_nothing_is_rechecked_while_a_build_is_under_way(
    shop: Shop, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.edit(lambda rows: rows["p030"].update(price="99"))
    run_catalog(shop.context())
    wait_ten_days(monkeypatch)
    server.reset()
    assert shop.refresh().changed
    assert not server.requests
