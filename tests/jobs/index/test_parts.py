"""An index of several parts: the same segment however it is built, and nothing is lost where a build dies."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import StepFailed
from artifacts.segments.segment import Segment
from artifacts.storage import Folder
from artifacts.store.store import Store
from jobs.candidate import Candidate
from jobs.index import quantizers
from jobs.index.parts import run_parts
from jobs.index.plan import count_rows, read_plan, split_parts
from jobs.index.sample import draw_sample
from jobs.index.seal import run_seal
from jobs.index.step import run_index
from jobs.index.train import run_train
from jobs.steps import StepContext
from jobs.workspace.shards import report_name
from tests.dying import die_before_call
from tests.jobs.index.workspaces import copied, draw_catalog, embedded, settings_for
from tests.pipeline import prepared

#: DuckDB writes a random identifier into each file: its rows are compared.
DATABASE = "products.duckdb"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedded(tmp_path_factory.mktemp("embedded"))


@pytest.fixture
def context(workspace: Path, tmp_path: Path) -> StepContext:
    return replace(copied(workspace, tmp_path), in_process=True)


def content(context: StepContext, candidate: Candidate) -> dict[str, Any]:
    """Everything of a candidate and its segment that does not depend on when and where it was built."""
    segment = candidate.segments[0].id
    folder = context.store.segment_path(segment)
    info = json.loads((folder / "segment.json").read_text())
    files = {name: file["sha256"] for name, file in info.pop("files").items() if name != DATABASE}
    with duckdb.connect(str(folder / DATABASE), read_only=True) as connection:
        rows = connection.sql("SELECT * FROM products ORDER BY row").fetchall()
    with context.workspace.candidate.open("rejects.parquet") as file:
        rejects = pq.read_table(file).to_pylist()
    return {"files": files, "info": info, "rows": rows, "rejects": rejects, "counts": candidate.counts}


@pytest.fixture(scope="module")
def expected(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    context = replace(copied(workspace, tmp_path_factory.mktemp("whole")), in_process=True)
    return content(context, run_index(context).report)


# ── one segment, however it is built ─────────────────────────────────────────────────────────────────────────────────


def test_segment_has_several_parts_that_hold_all_rows(context: StepContext) -> None:
    candidate = run_index(context).report
    plan = read_plan(context.workspace)
    assert plan
    assert len(plan.parts) == 4
    assert candidate.counts.indexed == 810
    assert candidate.counts.rejected == {"file_not_found": 90}
    segment = Segment(context.store.segment_path(candidate.segments[0].id))
    assert segment.info.part_rows == [part.rows for part in plan.parts]
    assert segment.info.rows == plan.rows == candidate.counts.pictures == 810 + 90
    assert len(set(segment.column("product_id").to_pylist())) == segment.info.products == 810
    assert segment.ivf
    query = segment.vectors.take(np.array([700]))
    assert 700 in segment.ivf.candidates(query, 50, segment.ivf.lists)[0]
    segment.close()


@pytest.mark.spark
@pytest.mark.parametrize("cores", [1, 4])
def test_number_of_tasks_does_not_change_the_segment(
    context: StepContext, expected: dict[str, Any], cores: int, spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = replace(context, in_process=False, spark=lambda: spark)
    run_train(context)
    plan = read_plan(context.workspace)
    assert plan
    for first in range(0, len(plan.parts), cores):
        run_parts(context, range(first, min(first + cores, len(plan.parts))))
    assert content(context, run_seal(context).report) == expected


def test_order_of_parts_does_not_change_the_segment(context: StepContext, expected: dict[str, Any]) -> None:
    run_train(context)
    for part in (2, 0, 3, 1):
        run_parts(context, [part])
    assert content(context, run_seal(context).report) == expected


def test_progress_counts_shards(context: StepContext) -> None:
    run_train(context)
    seen: list[tuple[int, int | None]] = []
    run_parts(replace(context, progress=lambda done, total=None: seen.append((done, total))))
    assert seen[-1] == (12, 12)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(1, 120) | st.none())
def test_parts_hold_every_shard_once(rows: list[int], rows_per_part: int | None) -> None:
    parts = split_parts(rows, rows_per_part)
    assert [part.number for part in parts] == list(range(len(parts)))
    shards = [list(range(part.first_shard, part.first_shard + part.shards)) for part in parts]
    assert [shard for part in shards for shard in part] == list(range(len(rows)))
    first = 0
    for part, of_part in zip(parts, shards, strict=True):
        assert part.first_row == first
        assert part.rows == sum(rows[shard] for shard in of_part)
        assert rows_per_part is None or part.rows <= max(rows_per_part, max(rows))
        first += part.rows


def test_parts_are_of_about_the_same_size() -> None:
    assert [part.rows for part in split_parts([10] * 12, 100)] == [60, 60]
    assert [part.rows for part in split_parts([10] * 12, 50)] == [40, 40, 40]
    assert [part.rows for part in split_parts([10] * 12, None)] == [120]


def test_other_codec_makes_another_segment(context: StepContext, workspace: Path, tmp_path: Path) -> None:
    first = run_index(context).report
    settings = settings_for(tmp_path, codec="rabitq")
    second = run_index(replace(context, config=settings.pipeline)).report
    assert second.segments[0].id != first.segments[0].id
    assert Segment(context.store.segment_path(second.segments[0].id)).info.index.codec == "rabitq"


# ── builds that die ──────────────────────────────────────────────────────────────────────────────────────────────────


def _dies(workspace: Path, folder: Path, number: int) -> None:
    context = replace(copied(workspace, folder), in_process=True)
    die_before_call([(Path, "replace"), (Path, "rename"), (Folder, "remove")], number)
    run_index(context)
    os._exit(0)


def test_build_that_is_killed_anywhere_goes_on_to_the_same_segment(
    workspace: Path, tmp_path: Path, expected: dict[str, Any]
) -> None:
    spawn = multiprocessing.get_context("spawn")
    numbers = list(range(1, 40))
    survived = 0
    for number in sorted(random.Random(1).sample(numbers, 6)):
        folder = tmp_path / str(number)
        folder.mkdir()
        process = spawn.Process(target=_dies, args=(workspace, folder, number))
        process.start()
        process.join()
        survived += process.exitcode == 0
        context = replace(
            StepContext.open(settings_for(folder).pipeline, str(workspace / "shop" / "catalog.csv")), in_process=True
        )
        assert content(context, run_index(context).report) == expected, number
        assert [name for name in context.workspace.index.names() if name != "plan.json"] == []
    assert survived < 3


def test_finished_parts_are_not_written_again(context: StepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    run_train(context)
    run_parts(context, [1, 2])
    totals = run_parts(context).report
    assert [report.skipped for report in totals.reports] == [False, True, True, False]


def test_part_that_is_gone_from_the_store_is_written_again(context: StepContext, expected: dict[str, Any]) -> None:
    run_train(context)
    run_parts(context)
    plan = read_plan(context.workspace)
    assert plan
    context.store.staged_parts(plan.segment_id).remove()
    with pytest.raises(StepFailed, match="part 0 is no longer in the store; run the index step again"):
        run_seal(context)
    run_parts(context)
    assert content(context, run_seal(context).report) == expected


def test_steps_that_are_left_out_are_named(context: StepContext) -> None:
    with pytest.raises(StepFailed, match="run the train step first"):
        run_parts(context)
    run_train(context)
    run_parts(context, [0, 1, 3])
    with pytest.raises(StepFailed, match=r"shards \[2\] of 4 have not been done"):
        run_seal(context)


def test_two_builds_of_one_segment_do_not_disturb_each_other(
    workspace: Path, tmp_path: Path, expected: dict[str, Any]
) -> None:
    """Two workspaces with the same pictures, and one store."""
    contexts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        context = replace(copied(workspace, tmp_path / name, releases=str(tmp_path / "releases")), in_process=True)
        contexts.append(context)
    first, second = contexts
    for context in contexts:
        run_train(context)
    run_parts(first, [0, 1])
    run_parts(second)
    run_parts(first)
    built = [run_seal(context).report for context in (second, first)]
    assert built[0].segments == built[1].segments
    assert content(first, built[1]) == content(second, built[0]) == expected


def test_parts_reach_a_store_that_is_not_on_this_machine(
    workspace: Path, tmp_path: Path, expected: dict[str, Any]
) -> None:
    context = replace(copied(workspace, tmp_path, releases="memory://parts"), in_process=True)
    candidate = run_index(context).report
    assert content(context, candidate) == expected
    elsewhere = Store("memory://parts", tmp_path / "another machine")
    assert elsewhere.verified(candidate.segments[0]).is_dir()


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_of_reports_without_a_count_are_counted(context: StepContext) -> None:
    slug = context.workspace.folder.names("embeddings")[0]
    counted = count_rows(context.workspace, slug)
    embeddings = context.workspace.embeddings(slug)
    for shard in range(12):
        report = json.loads(embeddings.folder.read_text(report_name(shard)))
        assert report.pop("pictures") == counted[shard]
        embeddings.folder.write_text(report_name(shard), json.dumps(report))
    assert count_rows(context.workspace, slug) == counted
    assert sum(counted) == 900


def test_part_with_another_number_of_pictures_than_planned_is_refused(context: StepContext) -> None:
    slug = context.workspace.folder.names("embeddings")[0]
    embeddings = context.workspace.embeddings(slug)
    report = json.loads(embeddings.folder.read_text(report_name(0)))
    embeddings.folder.write_text(report_name(0), json.dumps(report | {"pictures": report["pictures"] + 1}))
    run_train(context)
    with pytest.raises(StepFailed, match=r"part 0 failed: part 0 has \d+ pictures with a vector, not \d+"):
        run_parts(context)


# ── the sample and the quantizer ─────────────────────────────────────────────────────────────────────────────────────


def test_sample_is_drawn_from_all_shards_by_the_seed(context: StepContext, tmp_path: Path) -> None:
    slug = context.workspace.folder.names("embeddings")[0]
    embeddings = context.workspace.embeddings(slug)
    tables = []
    for shard in range(12):
        with embeddings.open(shard) as file:
            table = pq.read_table(file)
        tables.append(np.stack([vector for vector in table["vector"].to_pylist() if vector is not None]))
    everything = np.concatenate(tables).astype(np.float32)
    whole = draw_sample(embeddings, 8, 10_000, 0, tmp_path / "whole")
    assert np.array_equal(whole, everything)
    some = draw_sample(embeddings, 8, 100, 7, tmp_path / "some")
    positions = np.sort(np.random.default_rng(7).choice(len(everything), 100, replace=False))
    assert np.array_equal(some, everything[positions])


def test_quantizer_is_kept_while_the_vectors_stay_alike(workspace: Path, tmp_path: Path) -> None:
    first = replace(copied(workspace, tmp_path), in_process=True)
    run_index(first)
    before = read_plan(first.workspace)
    catalog = tmp_path / "more"
    draw_catalog(catalog, 930)
    more = replace(prepared(catalog / "catalog.csv", settings_for(tmp_path)), in_process=True)
    result = run_train(more)
    assert before
    assert result.report.quantizer == before.quantizer
    assert result.report.segment_id != before.segment_id
    assert "with a kept quantizer" in result.note
    candidate = (run_parts(more), run_seal(more))[1].report
    info = Segment(more.store.segment_path(candidate.segments[0].id)).info
    assert info.index.trained_similarity == quantizers.kept(more.workspace)[0].similarity


def test_quantizer_is_trained_anew_where_the_vectors_have_drifted(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    green = replace(prepared(draw_catalog(tmp_path / "green", hue=2), settings), in_process=True)
    run_index(green)
    before = read_plan(green.workspace)
    after = run_train(prepared(draw_catalog(tmp_path / "all"), settings)).report
    assert before
    assert after.quantizer != before.quantizer
    assert after.trained_similarity is None


def test_damaged_quantizer_is_trained_again(context: StepContext, expected: dict[str, Any]) -> None:
    plan = run_train(context).report
    context.workspace.quantizers.write_bytes(f"{plan.quantizer}.faiss", b"")
    assert run_train(context).changed
    run_parts(context)
    assert content(context, run_seal(context).report) == expected


@pytest.fixture(autouse=True)
def empty_memory_store() -> Iterator[None]:
    yield
    Folder("memory://parts").remove("")
