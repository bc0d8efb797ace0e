"""Refreshes ask for old pictures again, and apply those that servers have replaced behind the same URL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from jobs.download import shard
from jobs.refresh import step as refresh_step
from tests.servers import PictureServer
from tests.shop import Rows, Shop, assert_same


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
    with monkeypatch.context() as killed:
        killed.setattr(refresh_step, "find_changes", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            shop.refresh()
    assert (vector(shop) == before).all()
    assert shop.refresh().changed
    assert (vector(shop) != before).any()
    assert not shop.refresh().changed
