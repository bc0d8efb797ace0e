"""Refreshes ask for old pictures again, and apply those that servers have replaced behind the same URL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

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


def test_refresh_applies_a_picture_that_was_replaced_behind_its_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PictureServer() as server:
        paths = [f"/editable/{number}.jpg" for number in range(4)]

        def urls(rows: Rows) -> None:
            for number, path in enumerate(paths):
                rows[f"p{number:03}"]["image_url"] = server.url(path)

        shop = Shop(tmp_path, prepare=urls, recheck_days=7.0, allow_private_addresses=True, shards=1)
        before = shop.open().product_vectors("p001")
        server.edit(paths[1])
        server.reset()
        assert not shop.refresh().changed  # too early to ask
        assert not server.requests
        for module in (refresh_step, shard):
            monkeypatch.setattr(module, "datetime", Later)
        result = shop.refresh()
        assert result.report.obtained.fetched == 1
        assert server.conditional == dict.fromkeys(paths, 1)
        after = shop.open().product_vectors("p001")
        assert before is not None
        assert after is not None
        assert (before != after).any()
        monkeypatch.undo()
        assert_same(shop)
