"""Steps over shards: only shards that have changed reach Spark, and without any Spark is not started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from artifacts.errors import StepFailed
from artifacts.schema import shard_of
from artifacts.settings import Settings
from jobs.catalog.report import read_catalog_report
from jobs.download.step import download_shard, plan_download, run_download
from jobs.steps import StepContext
from jobs.workspace.records import write_record
from jobs.workspace.shards import ShardReport
from jobs.workspace.workspace import CATALOG_REPORT
from tests.catalogs import write_catalog
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
    ) -> None:
        calls.append(list(shards))
        for shard in shards:
            on_report(task(shard))

    monkeypatch.setattr("jobs.spark.shards.map_shards", map_shards)
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
    assert plan_download(downloaded, refetch=frozenset({"4.jpg"})).changed == [shard_of("4.jpg", SHARDS)]


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
