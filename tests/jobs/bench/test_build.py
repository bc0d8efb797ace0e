"""`lookalike bench build`: builds a real segment of drawn vectors, with each number of tasks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from artifacts.segments.segment import Segment
from artifacts.settings import Settings
from artifacts.store.store import Store
from jobs.bench.build.measure import measure_build
from lookalike import app

pytestmark = pytest.mark.slow


def test_build_is_measured_with_each_number_of_tasks(tmp_path: Path) -> None:
    config = Settings(shards=8, rows_per_index=1000, cache=tmp_path / "cache").pipeline
    config = replace(config, index=replace(config.index, flat_max_rows=0))
    report = measure_build(config, tmp_path, rows=3000, dim=16, tasks=[1, 2])
    assert report.parts == 4
    assert [run.tasks for run in report.runs] == [1, 2]
    assert all(run.peak_mb > 10 and run.vectors_per_second > 0 for run in report.runs)
    assert report.disk_bytes > 2 * 16 + report.resident_bytes
    assert [search.modality for search in report.searches] == ["image", "text"]
    assert all(search.recall_at_100 >= 0.9 and search.core_ms > 0 for search in report.searches)
    (folder,) = [path for path in (tmp_path / "build-3000x16/releases/segments").iterdir() if path.name[0] != "."]
    segment = Segment(folder)
    assert segment.info.rows == segment.info.products == 3000
    assert segment.ivf
    assert 2500 in segment.ivf.candidates(segment.vectors.take(np.array([2500])), 20, segment.ivf.lists)[0]
    segment.close()
    assert Store(str(tmp_path / "build-3000x16/releases"), tmp_path / "cache").versions() == []


def test_command_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    arguments = ["--rows", "10000", "--dim", "16", "--shards", "2", "--tasks", "1", "--folder", str(tmp_path)]
    result = CliRunner().invoke(app, ["bench", "build", *arguments, "--json", str(tmp_path / "report.json")])
    assert result.exit_code == 0, result.output
    assert "parts, 1 task" in result.output
    assert json.loads((tmp_path / "report.json").read_text())["rows"] == 10000


def test_wrong_tasks_are_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "build", "--tasks", "two"])
    assert result.exit_code == 2
    assert "'two' is not like 1,2" in result.output
