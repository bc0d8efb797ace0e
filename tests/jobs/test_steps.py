"""Steps over shards: only those that have changed are done, on Spark or in this process; without any, none starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from artifacts.errors import StepFailed
from artifacts.schema import shard_of
from artifacts.settings import Settings
from jobs.catalog.report import read_catalog_report
from jobs.download.refetch import Refetch
from jobs.download.step import download_shard, plan_download, run_download
from jobs.embed.step import run_embed
from jobs.steps import StepContext
from jobs.workspace.records import write_record
from jobs.workspace.shards import ShardReport
from jobs.workspace.workspace import CATALOG_REPORT
from tests.catalogs import read_shards, write_catalog
from tests.pipeline import context_on
from tests.servers import jpeg

SHARDS = 4
SETTINGS = Settings(shards=SHARDS)


@pytest.fixture
def downloaded(tmp_path: Path) -> StepContext:
    """A context on a workspace whose pictures, local files, are downloaded."""
    (tmp_path / "shop").mkdir()
    names = [f"{number}.jpg" for number in range(16)]
    for number, name in enumerate(names):
        (tmp_path / "shop" / name).write_bytes(jpeg(color=(number, 0, 0)))
    workspace = write_catalog(tmp_path, {name: [name] for name in names}, shards=SHARDS, base=str(tmp_path / "shop"))
    for shard in range(SHARDS):
        download_shard(workspace, shard, SETTINGS.pipeline.download)
    return context_on(workspace, SETTINGS, spark=lambda: pytest.fail("Spark was started"))


@pytest.fixture
def spark_calls(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Stands for Spark: runs the tasks here, and records the shards of each call."""
    calls: list[list[int]] = []

    def map_shards(
        spark: object,
        shards: Sequence[int],
        task: Callable[[int], ShardReport],
        on_report: Callable[[ShardReport], None],
        *,
        preload: Sequence[str],
        noun: str,
    ) -> None:
        calls.append(list(shards))
        for shard in shards:
            on_report(task(shard))

    monkeypatch.setattr("jobs.spark.shards.map_shards", map_shards)
    monkeypatch.setattr("jobs.spark.shards.threads_per_task", lambda spark, tasks: 1)
    return calls


def test_download_without_changes_starts_no_spark(downloaded: StepContext) -> None:
    result = run_download(downloaded)
    assert not result.changed
    assert result.note == "0 pictures fetched, 16 kept from before"
    assert [report.shard for report in result.report.reports] == list(range(SHARDS))


def test_only_shards_that_changed_reach_spark(downloaded: StepContext, spark_calls: list[list[int]]) -> None:
    picture = Path(downloaded.workspace.url) / "shop" / "3.jpg"
    picture.write_bytes(jpeg(color=(0, 200, 0)))
    reported: list[tuple[int, int | None]] = []
    context = context_on(downloaded.workspace, SETTINGS, spark=lambda: None, progress=lambda *at: reported.append(at))
    result = run_download(context)
    assert spark_calls == [[shard_of("3.jpg", SHARDS)]]
    assert result.changed
    assert (result.report.done, result.report.reused) == (1, 15)
    assert reported == [(done, SHARDS) for done in range(1, SHARDS + 1)]


def test_failures_worth_another_try_reach_spark(downloaded: StepContext) -> None:
    (Path(downloaded.workspace.url) / "shop" / "3.jpg").unlink()
    shard = shard_of("3.jpg", SHARDS)
    download_shard(downloaded.workspace, shard, SETTINGS.pipeline.download)
    assert plan_download(downloaded).changed == []  # a missing file is missing for good
    assert plan_download(downloaded, retry="all").changed == [shard]
    assert plan_download(downloaded, refetch=Refetch(frozenset({"4.jpg"}))).changed == [shard_of("4.jpg", SHARDS)]


def test_chosen_shards_are_the_only_ones(downloaded: StepContext) -> None:
    assert [report.shard for report in run_download(downloaded, [1, 3]).report.reports] == [1, 3]


def test_large_catalogs_are_compared_by_the_tasks(
    downloaded: StepContext, spark_calls: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.download.step.COMPARED_BY_DRIVER", 10)
    context = context_on(downloaded.workspace, SETTINGS, spark=lambda: None)
    result = run_download(context)
    assert spark_calls == [[0, 1, 2, 3]]
    assert not result.changed


def test_pictures_of_a_refused_catalog_are_not_downloaded(downloaded: StepContext) -> None:
    workspace = downloaded.workspace
    report = replace(read_catalog_report(workspace), accepted=False)
    write_record(workspace.catalog.folder, CATALOG_REPORT, report)
    with pytest.raises(StepFailed, match="was refused"):
        run_download(downloaded)


def new_shop(folder: Path) -> StepContext:
    """A context, in this process, on a catalog of 12 local pictures of which nothing is downloaded."""
    (folder / "shop").mkdir(parents=True)
    names = [f"{number}.jpg" for number in range(12)]
    for number, name in enumerate(names):
        (folder / "shop" / name).write_bytes(jpeg(color=(number * 20, 0, 0)))
    workspace = write_catalog(folder, {name: [name] for name in names}, shards=SHARDS, base=str(folder / "shop"))
    settings = SETTINGS.model_copy(
        update={"encoder": "python:tests.encoders:MeanColor", "device": "cpu", "cache": folder / "cache"}
    )
    return context_on(workspace, settings, in_process=True, spark=lambda: pytest.fail("Spark was started"))


def test_shards_in_process_report_as_they_are_done_and_are_skipped_later(tmp_path: Path) -> None:
    reported: list[tuple[int, int | None]] = []
    context = replace(new_shop(tmp_path), progress=lambda *at: reported.append(at))
    result = run_download(context)
    assert (result.changed, result.report.done) == (True, 12)
    assert reported == [(done, SHARDS) for done in range(1, SHARDS + 1)]
    assert run_embed(context).report.done == 12
    assert not run_download(context).changed
    assert not run_embed(context).changed


def test_failure_in_process_names_the_shard_and_keeps_the_shards_before(tmp_path: Path) -> None:
    context = new_shop(tmp_path)
    run_download(context)
    images = context.workspace.images
    content = bytearray(Path(images.path(2)).read_bytes())
    content[content.rindex(b"\xff\xd8\xff") + 200] ^= 1
    Path(images.path(2)).write_bytes(content)
    reported: list[int] = []
    with pytest.raises(StepFailed, match=r"^shard 2 failed: .*run the download step again"):
        run_embed(replace(context, on_shard=lambda report: reported.append(report.shard)))
    assert reported == [0, 1]
    run_download(context)
    run_embed(context)
    assert not run_embed(context).changed


def test_steps_in_process_import_no_pyspark(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from jobs.download.refetch import Refetch
from jobs.download.step import run_download
from jobs.embed.step import run_embed
from tests.jobs.test_steps import new_shop
context = new_shop(Path(sys.argv[1]))
run_download(context)
assert run_embed(context).report.done == 12
assert not [name for name in sys.modules if name.startswith(("pyspark", "py4j"))]
"""
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=120, env=environment, cwd=root)


@pytest.mark.spark
def test_shards_in_process_and_on_spark_have_the_same_rows(tmp_path: Path, spark: object) -> None:
    here, there = new_shop(tmp_path / "here"), new_shop(tmp_path / "there")
    there = replace(there, in_process=False, spark=lambda: spark)  # type: ignore[arg-type,return-value]
    for context in (here, there):
        run_download(context)
        run_embed(context)
    for step in ("images", "embeddings"):
        folder = next((tmp_path / "here" / step).iterdir()) if step == "embeddings" else tmp_path / "here" / step
        name = folder.relative_to(tmp_path / "here")
        rows = [read_shards(tmp_path / side, str(name), SHARDS) for side in ("here", "there")]
        stamps = "stamp" in rows[0].column_names  # of other files, so they differ
        left, right = (table.drop_columns(["stamp"]) if stamps else table for table in rows)
        assert left.equals(right)
