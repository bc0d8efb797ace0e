"""Shared by the tests of the download."""

from __future__ import annotations

from pathlib import Path

import pytest
from tenacity import wait_fixed

from jobs.download import http
from tests.servers import jpeg


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BACKOFF", wait_fixed(0.01))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Create a catalog's folder with 6 pictures, 0.jpg to 5.jpg."""
    (tmp_path / "shop").mkdir()
    for number in range(6):
        (tmp_path / "shop" / f"{number}.jpg").write_bytes(jpeg(color=(number * 40, 0, 0)))
    return tmp_path / "shop"
