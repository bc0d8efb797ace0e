"""`lookalike bench stress`: a short run goes through every phase without a wrong answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from artifacts.config import EncoderConfig, IndexConfig
from jobs.bench.show.stress import plot_stress, resources_table, stress_table
from jobs.bench.stress import StressReport, measure_stress

pytestmark = pytest.mark.server


ROOT = Path(__file__).parents[3]
PHASES = ["calm", "reloads", "killed", "events", "overload", "after"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> StressReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # the server imports the tests' encoder
        return measure_stress(
            10_000,
            EncoderConfig("python:tests.encoders:ColourWords"),
            IndexConfig(codec="sq8"),
            tmp_path_factory.mktemp("bench"),
            workers=2,
            seconds=2,
            reloads=2,
            overload=3,
            deadline_seconds=2,
        )


def test_no_phase_has_wrong_answers_or_unexpected_failures(report: StressReport) -> None:
    assert [phase.name for phase in report.phases] == PHASES
    for phase in report.phases:
        assert phase.wrong == 0
        assert 0 <= phase.stolen < 1
        assert phase.answered > 0
        if phase.name != "killed":
            assert phase.failed == 0
        else:
            assert phase.failed < phase.answered  # the requests of the killed worker are lost
        if phase.name != "overload":
            assert phase.answered + phase.refused + phase.failed >= 0.9 * phase.offered * 2
    assert report.swap_p99_ms > 0
    assert report.pause_p99_ms > 0


def test_reloads_leak_neither_maps_nor_files(report: StressReport) -> None:
    assert [worker.pid for worker in report.before] == [worker.pid for worker in report.after]
    for before, after in zip(report.before, report.after, strict=True):
        assert after.maps <= 1.1 * before.maps
        assert after.files <= before.files + 20  # connections open and close
        with pytest.raises(ProcessLookupError):
            os.kill(after.pid, 0)


def test_tables_and_plot_show_every_phase(report: StressReport, tmp_path: Path) -> None:
    table = stress_table(report)
    assert table.row_count == len(PHASES)
    assert f"{report.swap_p99_ms:.1f} ms, in the pauses between {report.pause_p99_ms:.1f}" in str(table.caption)
    assert resources_table(report).row_count == 2
    plot_stress(report, tmp_path / "out" / "s.png")
    with Image.open(tmp_path / "out" / "s.png") as picture:
        assert picture.width > 1000
