"""The drawn catalog of a benchmark is kept for later runs with the same arguments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from artifacts.config import IndexConfig
from jobs.bench.catalog import drawn_catalog

pytestmark = pytest.mark.server


def test_drawn_index_is_kept_until_its_configuration_changes(tmp_path: Path) -> None:
    def modified() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}

    def draw(config: IndexConfig) -> None:
        drawn_catalog(1000, 16, 20, config, tmp_path).segment.close()

    draw(IndexConfig())
    before = modified()
    draw(IndexConfig())
    assert modified() == before
    draw(replace(IndexConfig(), seed=1))
    assert modified() != before
