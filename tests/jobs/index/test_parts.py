"""An index of several parts: the same segment however it is built, and nothing is lost where a build dies."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import threading
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
from artifacts.index.build import training_rows
from artifacts.segments.segment import Segment
from artifacts.storage import Folder
from artifacts.store.store import Store
from jobs import spark_submit
from jobs.candidate import Candidate
from jobs.index import quantizers
from jobs.index.parts import run_parts
from jobs.index.plan import count_rows, read_plan, split_parts
from jobs.index.sample import draw_sample
from jobs.index.seal import run_seal
from jobs.index.train import run_train
from jobs.steps import StepContext
from jobs.workspace.shards import report_name
from tests.dying import count_calls, die_before_call
from tests.jobs.index.workspaces import SETTINGS, copied, draw_catalog, embedded, settings_for
from tests.pipeline import prepared, run_index

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


#: How files and folders of a store and a workspace get their names, and lose them.
DISK_CALLS = [(Path, "replace"), (Path, "rename"), (Folder, "remove"), (Folder, "put")]


def _build(workspace: Path, folder: Path, die_before: int, releases: str) -> None:
    """Build in this process, and die before the given change of a disk; the exit code is their number, at most 250."""
    context = replace(copied(workspace, folder, releases=releases), in_process=True)
    done = count_calls(DISK_CALLS)
    if die_before:
        die_before_call(DISK_CALLS, die_before)
    run_index(context)
    os._exit(min(done[0], 250))


@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
def test_build_that_is_killed_anywhere_goes_on_to_the_same_segment(
    workspace: Path, tmp_path: Path, expected: dict[str, Any], remote: bool
) -> None:
    spawn = multiprocessing.get_context("spawn")

    def build(name: str, die_before: int) -> int | None:
        (tmp_path / name).mkdir()
        process = spawn.Process(target=_build, args=(workspace, tmp_path / name, die_before, releases_of(name)))
        process.start()
        process.join()
        return process.exitcode

    def releases_of(name: str) -> str:
        # Behind `dir::`, a folder is a store like any other that fsspec reaches.
        folder = tmp_path / name / "releases"
        return f"dir::file://{folder}" if remote else str(folder)

    changes = build("whole", 0)
    assert changes
    assert changes > 15
    for number in sorted(random.Random(1).sample(range(1, changes), 5)):
        name = f"killed-{number}"
        assert build(name, number) == -signal.SIGKILL
        settings = settings_for(tmp_path / name, releases=releases_of(name))
        context = StepContext.open(settings.pipeline, str(workspace / "shop" / "catalog.csv"))
        context = replace(context, in_process=True)
        assert content(context, run_index(context).report) == expected, number
        names = [file for folder in context.workspace.index.names() for file in context.workspace.index.names(folder)]
        assert [file for file in names if file.startswith("state-")] == []


def test_finished_parts_are_not_written_again(context: StepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    run_train(context)
    run_parts(context, [1, 2])
    result = run_parts(context)
    assert [report.skipped for report in result.report.reports] == [False, True, True, False]
    assert "products indexed" in result.note
    assert run_parts(context).note == "nothing left to write: 810 products are in 4 finished parts"
    assert run_parts(context, [2]).note.endswith("products are in 1 finished part")


def test_part_that_is_gone_from_the_store_is_written_again(context: StepContext, expected: dict[str, Any]) -> None:
    run_train(context)
    run_parts(context)
    plan = read_plan(context.workspace)
    assert plan
    context.store.segments.staged(plan.segment_id).remove()
    with pytest.raises(StepFailed, match="part 0 is no longer in the store; run the index step again"):
        run_seal(context)
    run_parts(context)
    assert content(context, run_seal(context).report) == expected


def test_file_that_is_gone_from_a_part_is_noticed_before_the_segment_is_sealed(
    context: StepContext, expected: dict[str, Any]
) -> None:
    run_train(context)
    run_parts(context)
    for path in context.store.segments.local_folder.glob(".tmp-parts-*/part-00001/thumbnails.parquet"):
        path.unlink()
    with pytest.raises(StepFailed, match="part 1 is no longer in the store; run the index step again"):
        run_seal(context)
    assert context.store.folder.names("segments") == []
    assert [report.shard for report in run_parts(context).report.reports if not report.skipped] == [1]
    assert content(context, run_seal(context).report) == expected


@pytest.mark.parametrize(
    "damage", ["part-00002.json", "state-00002.parquet", "shard-00002.parquet", "shard-00002.json"]
)
def test_part_with_a_damaged_record_is_written_again(
    context: StepContext, expected: dict[str, Any], damage: str
) -> None:
    plan = run_train(context).report
    run_parts(context)
    records = context.workspace.index / plan.segment_id
    if damage.endswith(".json"):
        records.write_bytes(damage, b"{")
    else:
        records.remove(damage)
    assert [report.shard for report in run_parts(context).report.reports if not report.skipped] == [2]
    assert content(context, run_seal(context).report) == expected


def test_segment_that_is_complete_is_not_written_again(workspace: Path, tmp_path: Path) -> None:
    """After another codec, and by another workspace."""
    store = "memory://parts"
    context = replace(copied(workspace, tmp_path, releases=store), in_process=True)
    first = run_index(context).report
    before = modified(store)
    rabitq = settings_for(tmp_path, codec="rabitq", releases=store)
    run_index(replace(context, config=rabitq.pipeline))
    run_train(context)
    assert all(report.skipped for report in run_parts(context).report.reports)
    again = run_seal(context).report
    assert (again.segments, again.counts) == (first.segments, first.counts)
    (tmp_path / "other").mkdir()
    other = run_index(replace(copied(workspace, tmp_path / "other", releases=store), in_process=True)).report
    assert (other.segments, other.counts) == (first.segments, first.counts)
    assert before.items() <= modified(store).items()
    elsewhere = replace(context, store=Store(store, tmp_path / "another machine"))
    elsewhere.workspace.candidate.remove("candidate.json")
    assert run_seal(elsewhere).report.segments == first.segments


def modified(url: str) -> dict[str, Any]:
    """When each file of a store was written."""
    folder = Folder(url)
    return {path: folder.fs.modified(path) for path in folder.fs.find(folder.root)}


def test_builds_at_the_same_time_end_with_one_segment(
    workspace: Path, tmp_path: Path, expected: dict[str, Any]
) -> None:
    spawn = multiprocessing.get_context("spawn")
    releases = str(tmp_path / "releases")
    processes = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        processes.append(spawn.Process(target=_build, args=(workspace, tmp_path / name, 0, releases)))
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode
        assert process.exitcode > 0
    for name in ("a", "b"):
        settings = settings_for(tmp_path / name, releases=releases)
        context = replace(StepContext.open(settings.pipeline, ""), in_process=True)
        result = run_seal(context)
        assert not result.changed
        assert content(context, result.report) == expected


def test_seal_waits_for_a_part_that_another_build_is_replacing(context: StepContext) -> None:
    plan = run_train(context).report
    run_parts(context)
    (part,) = context.store.segment_path(plan.segment_id).parent.glob("*/part-00002")
    aside = part.with_name("aside")
    part.rename(aside)
    timer = threading.Timer(0.3, lambda: aside.rename(part))
    timer.start()
    try:
        assert run_seal(context).changed
    finally:
        timer.join()


@pytest.mark.spark
def test_spark_submit_writes_chosen_parts(context: StepContext, capsys: pytest.CaptureFixture[str], spark: Any) -> None:
    run_train(context)
    config = context.config
    sets = {**SETTINGS, "releases": config.releases, "encoder": config.encoder.encoder, "cache": str(config.cache),
            "thumbnail_side": config.thumbnail_side}  # fmt: skip
    arguments = ["index", "--workspace", context.workspace.url, "--shards", "1-2"]
    for name, value in sets.items():
        arguments += ["--set", f"{name}={value}"]
    assert spark_submit.main(arguments) == 0
    assert "index part 1 of 4: " in capsys.readouterr().out
    assert [report.skipped for report in run_parts(context).report.reports] == [False, True, True, False]
    assert spark_submit.main([*arguments[:4], "7", *arguments[5:]]) == 1
    assert "there are only 0 to 3" in capsys.readouterr().err


def test_steps_that_are_left_out_are_named(context: StepContext) -> None:
    with pytest.raises(StepFailed, match="run the train step first"):
        run_parts(context)
    run_train(context)
    run_parts(context, [0, 1, 3])
    with pytest.raises(StepFailed, match=r"parts \[2\] of 4 have not been done"):
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
    assert np.array_equal(some, everything[training_rows(len(everything), 100, 7)])


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


def test_quantizer_is_kept_where_many_products_show_one_picture(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    catalog = draw_catalog(tmp_path / "shop", same=0.5)
    first = replace(prepared(catalog, settings), in_process=True)
    run_index(first)
    more = prepared(draw_catalog(tmp_path / "shop", 905, same=0.5), settings)
    assert run_train(more).report.kept_quantizer


def test_quantizer_is_trained_anew_on_another_share_of_the_vectors(context: StepContext, tmp_path: Path) -> None:
    before = run_train(context).report
    settings = settings_for(tmp_path, train_rows_per_list=6)
    after = run_train(replace(context, config=settings.pipeline)).report
    assert not after.kept_quantizer
    assert after.train_rows < before.train_rows


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
