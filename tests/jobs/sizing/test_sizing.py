"""The sizing model: what it predicts from measurements, and the plan that follows from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from artifacts.config import IndexConfig
from artifacts.errors import InputError
from artifacts.index.choosing import resident
from artifacts.index.params import code_size, lists_for
from artifacts.index.training import comparisons
from jobs.sizing.measured import Measured, PartsRun, SearchCost, Usage, bundled_points, read_point
from jobs.sizing.model import Index, Model, Search
from jobs.sizing.plan import Demand, Sizing, left_out, points_of, sizing_of
from jobs.workspace.records import to_json
from lookalike import app

MB = 2**20


def search_ms(rows: int, lists: int, nprobe: int, coarse: float) -> float:
    return 0.1 + coarse + 6e-7 * nprobe * rows / lists * 64 + 1e-6 * 400 * 512


def point(rows: int, lists: int = 0) -> Measured:
    """What a machine would measure: its costs are written as those of the work, not of the model."""
    lists = lists or lists_for(rows)
    graph = lists >= 65_536
    train_rows, part_rows = min(rows, 64 * lists), rows // 4
    train = 3e-11 * train_rows * comparisons(lists) * 512 + 8
    parts = rows * 512 * (40e-9 + 3e-11 * lists)
    part_mb = 300 + (part_rows * 108 + min(part_rows, 131_072) * 512 * 7 + rows // 32 * 1000 + lists * 4096) / MB
    searches = [
        SearchCost(name, nprobe, 4, 0.96, search_ms(rows, lists, nprobe, 0.4 if graph else 1e-7 * lists * 512))
        for name, nprobe in {"image": 16, "text": 32}.items()
    ]
    disk = resident("pq", rows, 512, lists)[1] + 4 * lists * 512 * 4 + rows * (1024 + 300)
    return Measured(
        rows, 512, f"IVF{lists},PQ64", 4, "pq", lists, train_rows,
        train=Usage(train, train, 400 + lists / 10),
        runs=[PartsRun(1, parts, parts, rows / parts, 0.95 * part_mb),
              PartsRun(2, parts, 1.25 * parts, 1.6 * rows / parts, part_mb)],
        seal=Usage(rows * 2e-6, rows * 2e-6, 150 + 100 * rows / MB),
        resident_bytes=resident("pq", rows, 512, lists)[1] / rows,
        disk_bytes=disk / rows,
        searches=searches,
    )  # fmt: skip


POINTS = [point(100_000), point(300_000), point(1_000_000), point(3_000_000), point(5_000_000)]
GRAPH = Index(100_000_000, 512, "pq", 65_536, 64 * 65_536, 26, 3_906_250, 781_250)
HUGE = replace(GRAPH, rows=20_000_000, lists=16_384)


def sizing(products: int = 100_000_000, config: IndexConfig | None = None, **demand: float) -> Sizing:
    return sizing_of(replace(Demand(products), **demand), config or IndexConfig(), POINTS)


def test_times_are_those_of_the_measured_machine() -> None:
    model = Model(POINTS)
    assert model.parts_core_seconds(HUGE) == pytest.approx(1.25 * 20e6 * 512 * (40e-9 + 3e-11 * 16_384), rel=0.01)
    assert model.seal_core_seconds(HUGE) == pytest.approx(20e6 * 2e-6, rel=0.01)
    searched = search_ms(20_000_000, 16_384, 32, 1e-7 * 16_384 * 512)
    assert model.search_core_ms((HUGE, Search(32, 4))) == pytest.approx(searched, rel=0.01)
    assert model.depth("text", HUGE) == Search(32, 4)


def test_memory_of_a_part_grows_with_part_and_shard_and_not_with_the_catalog() -> None:
    model = Model(POINTS)
    expected = 300 * MB + 3_906_250 * 108 + 131_072 * 512 * 7 + 781_250 * 1000 + 65_536 * 4096
    assert model.part_memory(GRAPH) == pytest.approx(expected, rel=0.05)
    assert model.part_memory(replace(GRAPH, rows=10**9)) == model.part_memory(GRAPH)
    assert model.part_memory(replace(GRAPH, shard_rows=6_250_000)) - model.part_memory(GRAPH) > 5e9


def test_memory_of_training_is_bounded_and_that_of_the_seal_grows_with_the_catalog() -> None:
    model = Model(POINTS)
    assert model.train_memory(replace(GRAPH, train_rows=2 * GRAPH.train_rows)) == model.train_memory(GRAPH)
    assert model.seal_memory(GRAPH) == pytest.approx(150 * MB + 1e8 * 100, rel=0.01)


def test_search_of_an_index_with_a_graph_includes_the_graph() -> None:
    unmeasured = Model(POINTS)
    for nprobe, graph in ((16, 0.4), (64, 0.4), (256, 1.6)):
        expected = search_ms(10**8, 65_536, nprobe, graph)
        assert unmeasured.search_core_ms((GRAPH, Search(nprobe, 4))) == pytest.approx(expected, rel=0.01)
    measured = Model([*POINTS, point(5_000_000, 65_536)])
    assert measured.search_core_ms((GRAPH, Search(32, 4))) == pytest.approx(search_ms(10**8, 65_536, 32, 0.4), rel=0.01)


def test_comparison_with_all_centroids_that_was_never_measured_is_refused() -> None:
    model = Model([point(3_000_000, 65_536), point(5_000_000, 65_536)])
    assert model.search_core_ms((GRAPH, Search(32, 4))) > 0
    with pytest.raises(InputError, match="a search: no measurement tells"):
        model.search_core_ms((HUGE, Search(32, 4)))


def test_error_is_that_of_the_largest_point_left_out_of_the_fit() -> None:
    wrong = replace(POINTS[-1], seal=Usage(1, 5.0, 100), resident_bytes=2 * POINTS[-1].resident_bytes)
    largest, model = left_out([wrong, *POINTS[:-1]])
    errors = model.errors(largest)
    assert largest is wrong
    assert errors["seal time"] == pytest.approx(1, abs=0.01)
    assert errors["resident"] == pytest.approx(-0.5, abs=0.01)
    assert errors["seal memory"] > 4
    others = set(errors) - {"seal time", "resident", "seal memory"}
    assert {"training time", "training memory", "parts time", "part memory", "disk", "text search"} <= others
    assert all(abs(errors[name]) < 0.1 for name in others - {"training memory"})


def test_parts_are_those_that_a_build_makes_of_the_shards() -> None:
    assert sizing(shards=16).index.parts == 16
    assert sizing(shards=16).index.part_rows == sizing(shards=16).index.shard_rows == 6_250_000
    assert sizing(shards=64).index.parts == 32
    few = sizing(1_000_000, IndexConfig(rows_per_index=10_000, flat_max_rows=50_000), shards=1000)
    assert few.index.parts == 20


def test_shards_are_enough_for_parts_of_equal_size() -> None:
    chosen = sizing()
    assert chosen.shards == 128
    assert 4 * chosen.index.shard_rows <= chosen.index.part_rows <= IndexConfig().rows_per_index
    assert sizing(1_000_000).shards == 16


def test_parts_take_rounds_of_tasks() -> None:
    enough, fewer, many = (sizing(build_cores=cores) for cores in (26, 25, 64))
    assert enough.index.parts == 26
    assert (enough.tasks, enough.rounds, fewer.rounds) == (26, 1, 2)
    assert fewer.parts_hours == pytest.approx(2 * enough.parts_hours)
    assert (many.tasks, many.parts_hours) == (26, enough.parts_hours)


def test_slowdown_of_several_tasks_counts() -> None:
    slow = [replace(p, runs=[p.runs[0], replace(p.runs[1], core_seconds=2 * p.runs[1].core_seconds)]) for p in POINTS]
    assert sizing_of(Demand(10**8), IndexConfig(), slow).parts_hours == pytest.approx(2 * sizing().parts_hours)


def test_training_of_the_codec_takes_as_long_on_many_cores() -> None:
    one, many = (sizing(cores=cores).train_hours * 3600 for cores in (1, 1_000_000))
    assert many == pytest.approx(8, rel=0.05)
    assert one > 100 * many


def test_servers_follow_the_load_and_gpus_embed_only() -> None:
    for qps in (1000, 10_000):
        plan = sizing(qps=qps)
        cores = qps * plan.core_ms / 1000 / 0.5
        assert 16 * (plan.replicas - 2) < cores <= 16 * (plan.replicas - 1)
    on_gpus = sizing(qps=10_000, gpus=8, pictures_per_second=1000)
    assert on_gpus.embed_hours == pytest.approx(100e6 / 8000 / 3600)
    assert on_gpus.replicas == sizing(qps=10_000).replicas


def test_ground_truth_follows_rows_and_queries_and_its_decoding_takes_one_core() -> None:
    assert sizing(200_000_000).truth_hours == pytest.approx(2 * sizing().truth_hours)
    one, many = sizing(cores=1).truth_hours, sizing(cores=10**6).truth_hours
    more = sizing(cores=1, evaluation_queries=800).truth_hours
    assert many < one < more
    assert (more - one) / (one - many) == pytest.approx(500 / 500, rel=0.01)  # 300 and 200 under filters, and 500 more
    assert sizing(200_000_000).truth_memory_bytes < 4e9


def test_sizes_are_those_of_the_chosen_index() -> None:
    plan = sizing()
    assert plan.choice.factory == "IVF65536_HNSW32,PQ64"
    assert plan.index.resident_bytes == plan.choice.resident_bytes
    assert plan.server_memory_bytes == pytest.approx(plan.choice.resident_bytes + 16 * 1.2e9)
    quantizers = 27 * 65_536 * 512 * 4
    assert plan.segment_bytes == pytest.approx(1e8 * (1024 + 300 + code_size("pq", 512) + 12) + quantizers, rel=0.02)


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


def test_model_has_the_memory_and_disk_of_the_bundled_points() -> None:
    points = points_of("pq")
    model = Model(points)
    for measured in points:
        errors = model.errors(measured)
        assert abs(errors["resident"]) < 0.01, measured.rows
        assert abs(errors["disk"]) < 0.1, measured.rows
        assert all(abs(errors[f"{stage} memory"]) < 0.4 for stage in ("training", "part", "seal")), measured.rows


def test_command_prints_the_plan_and_its_error(tmp_path: Path) -> None:
    json_file = tmp_path / "size.json"
    arguments = ["size", "--products", "100000000", "--qps", "10000", "--json", str(json_file)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "IVF65536_HNSW32,PQ64" in result.output
    assert "128 of 781,250 pictures" in result.output
    assert "in 1 round of 26 tasks" in result.output
    assert "to seal" in result.output
    assert "minutes on 16 cores for 1,000 queries of the gate with 102 GB of vectors" in result.output
    assert "Error of the model on the largest measurement" in result.output
    assert json.loads(json_file.read_text())["index"]["rows"] == 100_000_000


def test_command_tells_when_more_shards_would_make_smaller_parts() -> None:
    result = CliRunner().invoke(app, ["size", "--products", "100000000", "--shards", "16"], env={"COLUMNS": "200"})
    assert "more shards make smaller parts" in result.output


def test_command_takes_measurements_of_ones_own(tmp_path: Path) -> None:
    arguments = ["size", "--products", "20000000"]
    for number, measured in enumerate(POINTS[:2]):
        path = tmp_path / f"{number}.json"
        path.write_text(to_json(measured))
        assert read_point(path) == measured
        arguments += ["--points", str(path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "The error of the model is not known" in result.output
    (tmp_path / "other.json").write_text("{}")
    result = CliRunner().invoke(app, [*arguments, "--points", str(tmp_path / "other.json")])
    assert isinstance(result.exception, InputError)
    assert "is not of `lookalike bench build --json`: rows: Field required" in str(result.exception)
