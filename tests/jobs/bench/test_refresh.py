"""`lookalike bench refresh`: small runs measure every operation, and hold what they refresh against a full build."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import lookalike
from artifacts.config import IndexConfig
from artifacts.errors import LookalikeError
from artifacts.segments.segment import Segment
from jobs.bench.catalog import drawn_catalog
from jobs.bench.load.proc import CpuMeter
from jobs.bench.refresh.changes import draw_changes, write_delta, write_deltas
from jobs.bench.refresh.rebuild import RebuildReport, measure_rebuild
from jobs.bench.refresh.shop import Shop, draw_shop
from jobs.bench.show.refresh import parts_table, rebuild_table
from jobs.progress import QUIET
from tests.pipeline import small_settings

pytestmark = pytest.mark.server


def no_progress(done: int, total: int | None = None) -> None:
    pass


# ── refreshes beside a full build ────────────────────────────────────────────────────────────────────────────────────


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["product_id"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that keeps the pictures of a shop of 100 products."""
    folder = tmp_path_factory.mktemp("shop")
    draw_shop(100, 0.08, folder, progress=no_progress)
    return folder


@pytest.fixture(scope="module")
def report(drawn: Path) -> RebuildReport:
    config = small_settings(drawn).pipeline
    return measure_rebuild(100, 0.08, config, drawn, QUIET, in_process=True)


def test_shop_changes_two_products_of_each_kind(drawn: Path) -> None:
    shop = draw_shop(100, 0.08, drawn, progress=no_progress)
    assert shop == Shop(shop.first, shop.changed, shop.repriced, each=2, prices=8)
    first, changed, repriced = (rows_of(path) for path in (shop.first, shop.changed, shop.repriced))
    assert len(first) == 100
    assert (len(changed.keys() - first.keys()), len(first.keys() - changed.keys())) == (2, 2)
    differences = [
        {name for name in row if row[name] != first[product_id][name]}
        for product_id, row in changed.items()
        if product_id in first and row != first[product_id]
    ]
    assert sorted(map(sorted, differences)) == 2 * [["image_url", "updated_at"]] + 2 * [["price", "updated_at"]]
    assert changed.keys() == repriced.keys()
    differing = [product_id for product_id, row in repriced.items() if row != changed[product_id]]
    assert len(differing) == 8
    kept = {"price": "", "updated_at": ""}
    assert all(repriced[product_id] | kept == changed[product_id] | kept for product_id in differing)


def test_refresh_gets_exactly_the_changed_pictures(report: RebuildReport) -> None:
    refresh, prices, build = report.refresh, report.price_refresh, report.rebuild
    assert (refresh.downloaded, refresh.embedded, refresh.needed) == (4, 4, 4)
    assert (prices.downloaded, prices.embedded, prices.needed) == (0, 0, 0)
    assert build.downloaded == build.embedded == build.needed > 90
    for work in (refresh, prices, build):
        assert work.seconds > 0
        assert work.core_seconds > 0
        assert sum(work.parts.values()) <= work.seconds + 0.1
    assert {"download", "embed", "index"} <= build.parts.keys()
    assert {"changes", "pictures", "delta", "evaluate", "publish"} == refresh.parts.keys()


def test_tables_show_every_work_and_step(report: RebuildReport) -> None:
    assert rebuild_table(report).row_count == 3
    assert parts_table(report).row_count >= len(report.refresh.parts)


def test_pictures_are_drawn_once_and_runs_leave_nothing_else(drawn: Path, report: RebuildReport) -> None:
    pictures = {path: path.stat().st_mtime_ns for path in drawn.rglob("*.jpg")}
    draw_shop(100, 0.08, drawn, progress=no_progress)
    assert {path: path.stat().st_mtime_ns for path in drawn.rglob("*.jpg")} == pictures
    assert not (drawn / "refresh-run").exists()


def test_work_that_gets_other_pictures_than_it_needs_fails(report: RebuildReport) -> None:
    work = replace(report.refresh, downloaded=5)
    with pytest.raises(LookalikeError, match="4 pictures are new or changed, and the refresh downloaded 5 and embedd"):
        work.require_needed("refresh")


def test_cpu_meter_counts_the_processes_of_processes() -> None:
    burn = "import time\nwhile time.process_time() < 1: pass"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    with CpuMeter() as meter:
        subprocess.run([sys.executable, "-c", start], check=True)
    assert 0.7 < meter.seconds < 3


# ── the cost of a delta ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Segment:
    return drawn_catalog(2000, 16, 20, IndexConfig(), tmp_path_factory.mktemp("base")).segment


def test_deltas_in_sequence_say_what_one_delta_says(base: Segment, tmp_path: Path) -> None:
    changes = draw_changes(base, 0.08, seed=0)
    assert changes.products == 160
    write_delta(tmp_path / "once", base, changes)
    last, seconds = write_deltas(tmp_path / "many", base, list(changes.split(7)), no_progress)
    assert len(seconds) == 7
    assert [path.name for path in (tmp_path / "many").iterdir()] == [last.name]
    once, many = (Segment(folder, base) for folder in (tmp_path / "once", last))
    try:
        assert once.info.rows == many.info.rows == 80
        assert once.info.base == many.info.base
        assert (once.deleted == many.deleted).all()
        assert (once.updated_rows == many.updated_rows).all()
        assert once.updates is not None
        assert many.updates is not None
        assert once.updates.table.equals(many.updates.table)
        order = [np.argsort(segment.product_ids(np.arange(80))) for segment in (once, many)]
        assert (once.vectors.gather(order[0]) == many.vectors.gather(order[1])).all()
        assert once.lists is not None
        assert many.lists is not None
        assert (once.lists.gather(order[0]) == many.lists.gather(order[1])).all()
    finally:
        once.close()
        many.close()


def test_run_of_the_command_measures_every_operation(tmp_path: Path) -> None:
    arguments = [
        "--only",
        "delta",
        "--rows",
        "10000",
        "--dim",
        "16",
        "--refreshes",
        "3",
        "--share",
        "0.02",
        "--turns",
        "20",
    ]
    files = ["--folder", str(tmp_path / "kept"), "--json", str(tmp_path / "b.json"), "--plot", str(tmp_path / "b.png")]
    result = CliRunner().invoke(lookalike.app, ["bench", "refresh", *arguments, *files], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "b.json").read_text())
    assert report["rebuild"] is None
    delta = report["delta"]
    assert (delta["changes"], delta["delta_rows"], len(delta["refresh_seconds"])) == (200, 100, 3)
    assert min(delta["recall_at_100"].values()) >= 0.95
    assert len(delta["costs"]) == 7
    for cost in delta["costs"]:
        assert cost["p50_ms"].keys() == cost["p95_ms"].keys() == {"base", "delta", "last of many"}
        assert cost["ratio"].keys() == {"delta", "last of many"}
        assert all(0 < cost["p50_ms"][name] <= cost["p95_ms"][name] for name in cost["p50_ms"])
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["pq-10000x16"]
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.width > 1000
