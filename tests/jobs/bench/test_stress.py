"""`lookalike bench stress`: a short run goes through every phase, and no answer in it is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from artifacts.settings import Settings
from jobs.bench.show.stress import resources_table, stress_plot, stress_table
from jobs.bench.stress import StressBench, measure_stress

ROOT = Path(__file__).parents[3]
PHASES = ["calm", "reloads", "killed", "events", "overload", "after"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> StressBench:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # the encoder is one of the tests'
        return measure_stress(
            10_000, Settings(codec="sq8", deadline_seconds=2), tmp_path_factory.mktemp("bench"),
            workers=2, seconds=2, reloads=2, times=3, spec="python:tests.encoders:ColourWords",
        )  # fmt: skip


def test_every_phase_is_lived_through(measured: StressBench) -> None:
    assert [each.name for each in measured.phases] == PHASES
    for each in measured.phases:
        assert each.wrong == 0
        assert 0 <= each.stolen < 1
        assert each.answered > 0
        if each.name != "killed":  # what the killed worker had in hand is lost
            assert each.failed == 0
        else:
            assert each.failed < each.answered
        if each.name != "overload":
            asked = each.answered + each.refused + each.failed
            assert asked >= 0.9 * each.offered * 2
    assert measured.swap_p99_ms > 0
    assert measured.pause_p99_ms > 0


def test_reloads_leave_nothing_behind(measured: StressBench) -> None:
    assert [each.pid for each in measured.before] == [each.pid for each in measured.after]
    for before, after in zip(measured.before, measured.after, strict=True):
        assert after.maps <= 1.1 * before.maps
        assert after.files <= before.files + 20  # connections come and go
        with pytest.raises(ProcessLookupError):
            os.kill(after.pid, 0)


def test_tables_and_plot(measured: StressBench, tmp_path: Path) -> None:
    table = stress_table(measured)
    assert table.row_count == len(PHASES)
    assert f"{measured.swap_p99_ms:.1f} ms, in the pauses between {measured.pause_p99_ms:.1f}" in str(table.caption)
    assert resources_table(measured).row_count == 2
    stress_plot(measured, tmp_path / "out" / "s.png")
    with Image.open(tmp_path / "out" / "s.png") as picture:
        assert picture.width > 1000
