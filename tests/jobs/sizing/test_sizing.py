"""The sizing model: it recovers costs from measurements, and a plan follows from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from artifacts.config import IndexConfig
from artifacts.errors import InputError
from artifacts.index.params import code_size, lists_for
from jobs.sizing.measured import Measured, PartsRun, SearchCost, Usage, bundled_points, read_point
from jobs.sizing.model import Index, Model, Search
from jobs.sizing.plan import Demand, left_out, points_of, sizing_of
from jobs.workspace.records import to_json
from lookalike import app


def point(rows: int, dim: int = 512, noise: float = 1.0) -> Measured:
    """What a machine with known costs would measure."""
    lists, code = lists_for(rows), code_size("pq", dim)
    train_rows = min(rows, 64 * lists)
    train = 1e-9 * train_rows * lists * dim + 0.05 * dim
    parts = rows * dim * (40e-9 + 0.1e-9 * lists)
    probes = {"image": 16, "text": 32}
    searches = [
        SearchCost(
            name, nprobe, 4, 0.96,
            0.1 + 1e-7 * lists * dim + 6e-7 * nprobe * rows / lists * code + 1e-6 * 400 * dim,
        )
        for name, nprobe in probes.items()
    ]  # fmt: skip
    run = PartsRun(1, parts, noise * parts, rows / parts, 500.0)
    return Measured(
        rows, dim, f"IVF{lists},PQ{code}", 4, "pq", lists, train_rows, Usage(train, noise * train, 400.0), [run],
        Usage(rows * 2e-6, noise * rows * 2e-6, 300.0), code + 12.0, 2 * dim + code + 12.0 + 300.0, searches,
    )  # fmt: skip


POINTS = [point(100_000), point(1_000_000), point(3_000_000), point(5_000_000)]
HUGE = Index(20_000_000, 512, 16_384, 64, 64 * 16_384)


def test_model_recovers_the_costs_it_was_measured_with() -> None:
    model = Model(POINTS, code_size)
    expected = point(20_000_000)
    assert model.train_core_seconds(HUGE) == pytest.approx(1e-9 * HUGE.train_rows * 16_384 * 512 + 0.05 * 512, rel=0.01)
    assert model.parts_core_seconds(HUGE) == pytest.approx(20e6 * 512 * (40e-9 + 0.1e-9 * 16_384), rel=0.01)
    assert model.seal_core_seconds(HUGE) == pytest.approx(expected.seal.core_seconds, rel=0.01)
    assert model.disk_bytes(HUGE, 76 * 20e6) == pytest.approx(20e6 * (1024 + 76 + 300), rel=0.01)
    depth = model.depth("text", HUGE)
    assert depth == Search(32, 4)
    searched = 0.1 + 1e-7 * 16_384 * 512 + 6e-7 * 32 * 20e6 / 16_384 * 64 + 1e-6 * 400 * 512
    assert model.search_core_ms(HUGE, depth) == pytest.approx(searched, rel=0.01)


def test_no_cost_is_negative_however_noisy_the_measurements() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        noisy = [replace(p, train=replace(p.train, core_seconds=p.train.core_seconds * random.uniform(0.3, 3)),
                         runs=[replace(p.runs[0], core_seconds=p.runs[0].core_seconds * random.uniform(0.3, 3))])
                 for p in POINTS]  # fmt: skip
        model = Model(noisy, code_size)
        for index in (HUGE, replace(HUGE, rows=100, lists=64, train_rows=100)):
            assert model.train_core_seconds(index) >= 0
            assert model.parts_core_seconds(index) >= 0


def test_error_is_that_of_a_point_left_out_of_the_fit() -> None:
    chosen, model = left_out([*POINTS[:2], replace(POINTS[2], train=Usage(1, 10.0, 1)), POINTS[3]])
    errors = model.errors(chosen, code_size)
    assert chosen.rows == 3_000_000
    assert errors["parts"] == pytest.approx(0, abs=0.01)
    assert errors["train"] == pytest.approx(point(3_000_000).train.core_seconds / 10 - 1, rel=0.02)


def test_plan_grows_with_what_is_asked_for() -> None:
    config = IndexConfig()
    small = sizing_of(Demand(10_000_000, qps=100), config, POINTS)
    large = sizing_of(Demand(100_000_000, qps=10_000), config, POINTS)
    assert large.rows == 100_000_000
    assert large.choice.factory == "IVF65536_HNSW32,PQ64"
    assert large.parts == 25
    assert large.choice.resident_bytes > 9 * small.choice.resident_bytes
    assert large.segment_bytes > 9 * small.segment_bytes
    assert large.replicas > 50 * small.replicas / 10 > 0
    assert small.part_memory_bytes == pytest.approx(large.part_memory_bytes, rel=0.5)
    on_gpus = sizing_of(Demand(100_000_000, qps=10_000, gpus=8, pictures_per_second=1000), config, POINTS)
    assert on_gpus.embed_hours == pytest.approx(100e6 / 8000 / 3600)
    assert on_gpus.replicas < large.replicas


def test_what_cannot_be_sized_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to size"):
        sizing_of(Demand(1000), IndexConfig(), POINTS)
    with pytest.raises(InputError, match=r"there are 0 measurements of codec sq8.*bench build --codec sq8"):
        sizing_of(Demand(1_000_000), IndexConfig(codec="sq8"), POINTS)


def test_bundled_points_are_of_the_default_codec_and_reach_far() -> None:
    points = points_of("pq")
    assert len(points) >= 4
    assert min(p.rows for p in points) <= 100_000
    assert max(p.rows for p in points) >= 5_000_000
    assert len(bundled_points()) >= len(points)


def test_command_prints_the_plan_and_its_error(tmp_path: Path) -> None:
    json_file = tmp_path / "size.json"
    arguments = ["size", "--products", "100000000", "--qps", "10000", "--json", str(json_file)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "IVF65536_HNSW32,PQ64" in result.output
    assert "servers" in result.output
    assert "Error on a measurement left out of the fit" in result.output
    assert json.loads(json_file.read_text())["rows"] == 100_000_000


def test_command_takes_measurements_of_ones_own(tmp_path: Path) -> None:
    arguments = ["size", "--products", "20000000"]
    for number, measured in enumerate(POINTS):
        path = tmp_path / f"{number}.json"
        path.write_text(to_json(measured))
        assert read_point(path) == measured
        arguments += ["--points", str(path)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    (tmp_path / "other.json").write_text("{}")
    result = CliRunner().invoke(app, [*arguments, "--points", str(tmp_path / "other.json")])
    assert isinstance(result.exception, InputError)
    assert "is not of `lookalike bench build --json`: rows: Field required" in str(result.exception)
