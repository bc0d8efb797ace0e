"""`lookalike bench serve`: a small run starts a server, measures every workload, and stops the server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from artifacts.config import EncoderConfig, GateConfig, IndexConfig
from jobs.bench.serve import ServeReport, measure_serving
from jobs.bench.show.serve import memory_table, plot_serve, serve_table

pytestmark = pytest.mark.server


ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ServeReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # the server imports the tests' encoder
        return measure_serving(
            10_000,
            EncoderConfig("python:tests.encoders:ColourWords"),
            IndexConfig(codec="sq8"),
            GateConfig(),
            tmp_path_factory.mktemp("bench"),
            workers=2,
            clients=4,
            seconds=1,
        )


def test_every_workload_is_measured(report: ServeReport) -> None:
    workloads = [rate.workload for rate in report.rates]
    assert workloads == ["faiss", "search", "vector", "ranked", "text", *["offered"] * 8]
    assert report.recall_at_100 >= 0.95
    for rate in report.rates:
        assert rate.per_second > 0
        assert 0 < rate.p50_ms <= rate.p95_ms <= rate.p99_ms
        assert rate.failed == 0
        assert 0 < rate.core_ms < 10_000
        assert 0 <= rate.stolen < 1
    offered = [rate.offered for rate in report.rates if rate.workload == "offered"]
    assert offered == sorted(offered)


def test_first_four_workloads_take_five_turns_each(report: ServeReport) -> None:
    for workload in ("faiss", "search", "vector", "ranked"):
        turns = report.rate_of(workload).turns
        assert len(turns) == 5
        assert min(turns) <= report.rate_of(workload).per_second <= max(turns)
    for workload in ("faiss", "search"):  # which is faster, so short a test cannot say
        assert 0 < report.ratio(workload) < 2
    assert report.ratio("vector") == 1


def test_memory_of_each_worker_is_measured_and_no_worker_is_left(report: ServeReport) -> None:
    assert len({memory.pid for memory in report.memory}) == 2
    for memory in report.memory:
        assert memory.private_mb > 10
        assert memory.private_mb <= memory.proportional_mb + 1 <= memory.private_mb + memory.shared_mb + 1
        with pytest.raises(ProcessLookupError):
            os.kill(memory.pid, 0)


def test_tables_and_plot_show_every_measurement(report: ServeReport, tmp_path: Path) -> None:
    assert serve_table(report).row_count == 13
    assert memory_table(report).row_count == 2
    plot_serve(report, tmp_path / "out" / "s.png")
    with Image.open(tmp_path / "out" / "s.png") as picture:
        assert picture.width > 1000
