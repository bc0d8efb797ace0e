"""The workspace: its layout and shard count, its records, and the rule that skips recorded work."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from artifacts.errors import CorruptFile, ShardConflict, StepFailed
from artifacts.storage import Folder
from jobs.workspace.fingerprints import Recorded, fingerprint, if_changed
from jobs.workspace.records import from_json, read_record, to_json, write_record
from jobs.workspace.refreshes import KILLED_AFTER, earlier_refreshes, remove_refresh, remove_refreshes_before
from jobs.workspace.shards import ShardCounts, ShardReport, ShardTotals, report_name
from jobs.workspace.workspace import Workspace

REPORT = ShardReport("test", 3, 4, "abc", rows=2, ok=1, failed={"timeout": 1})


def write_rows(path: Path) -> ShardCounts:
    path.write_text("rows")
    return ShardCounts(rows=1, ok=1)


def test_shard_count_is_recorded_and_another_one_refused(tmp_path: Path) -> None:
    url = str(tmp_path / "ws")
    with pytest.raises(StepFailed, match="is not a workspace"):
        Workspace.existing(url)
    assert Workspace.open(url, 4) == Workspace.existing(url) == Workspace(url, 4)
    with pytest.raises(StepFailed, match="was made with 4 shards, not 5: set LOOKALIKE_SHARDS=4"):
        Workspace.open(url, 5)


def test_layout_is_the_documented_one(tmp_path: Path) -> None:
    workspace = Workspace.open(str(tmp_path), 1)
    for shards in (workspace.catalog, workspace.images, workspace.embeddings("clip@1")):
        shards.run(0, "x", write_rows)
    workspace.candidate.write_text("candidate.json", "{}")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        "candidate/candidate.json",
        "catalog/shard-00000.json",
        "catalog/shard-00000.parquet",
        "embeddings/clip@1/shard-00000.json",
        "embeddings/clip@1/shard-00000.parquet",
        "images/shard-00000.json",
        "images/shard-00000.parquet",
        "workspace.json",
    ]
    assert workspace.spark_log == tmp_path / "spark.log"


def test_refreshes_are_workspaces_of_their_own_oldest_first(tmp_path: Path) -> None:
    main = Workspace.open(str(tmp_path), 4)
    assert list(earlier_refreshes(main)) == []
    later, earlier = main.refresh("20260102T030405Z-b", 1), main.refresh("20260101T000000Z-a", 2)
    (tmp_path / "refreshes" / "begun").mkdir()  # killed before it was a workspace
    assert [refresh.name for refresh in earlier_refreshes(main)] == ["20260102T030405Z-b", "20260101T000000Z-a"]
    assert [refresh.shards for refresh in earlier_refreshes(main)] == [1, 2]
    assert list(earlier_refreshes(main)) == [later, earlier]
    assert list(earlier_refreshes(earlier)) == [later]  # a refresh has the others
    later.images.run(0, "x", write_rows)
    assert (tmp_path / "refreshes/20260102T030405Z-b/images/shard-00000.parquet").exists()
    with pytest.raises(StepFailed, match="was made with 2 shards, not 3"):
        main.refresh("20260101T000000Z-a", 3)
    sent = pickle.loads(pickle.dumps(later))  # noqa: S301
    assert list(earlier_refreshes(sent)) == [earlier]


def test_refreshes_that_began_before_a_time_are_removed(tmp_path: Path) -> None:
    main = Workspace.open(str(tmp_path), 1)
    first, later = (main.refresh(f"2026112{day}T000000000000-x", 1) for day in (1, 5))
    for refresh in (first, later):
        refresh.images.run(0, "x", write_rows)
        refresh.mark(ended=True)
    assert remove_refreshes_before(main, datetime(2026, 11, 22, tzinfo=UTC)) == [first.name]
    assert list(earlier_refreshes(main)) == [later]
    assert not (tmp_path / "refreshes" / first.name).exists()
    assert remove_refreshes_before(main, datetime(2026, 11, 22, tzinfo=UTC)) == []


def test_refresh_that_has_not_ended_is_removed_only_after_a_day_of_silence(tmp_path: Path) -> None:
    main = Workspace.open(str(tmp_path), 1)
    refresh = main.refresh("20261121T000000000000-x", 1)
    refresh.images.run(0, "x", write_rows)
    after = datetime(2026, 11, 22, tzinfo=UTC)
    assert remove_refreshes_before(main, after) == []
    silent = (datetime.now(UTC) - KILLED_AFTER).timestamp() - 1
    for path in Path(refresh.url).rglob("*"):
        os.utime(path, (silent, silent))
    refresh.mark(ended=False)  # another attempt goes on with it
    assert remove_refreshes_before(main, after) == []
    os.utime(Path(refresh.url) / "workspace.json", (silent, silent))
    assert remove_refreshes_before(main, after) == [refresh.name]


def test_refresh_looks_into_the_newest_refreshes_and_a_build_into_all(tmp_path: Path) -> None:
    main = Workspace.open(str(tmp_path), 1)
    refreshes = [main.refresh(str(number), 1) for number in range(5)]
    running = main.refresh("5", 1, newest=2)
    assert list(earlier_refreshes(running)) == [refreshes[4], refreshes[3]]
    assert list(earlier_refreshes(pickle.loads(pickle.dumps(running)))) == [refreshes[4], refreshes[3]]  # noqa: S301
    assert [refresh.name for refresh in earlier_refreshes(main)] == list("543210")


def test_refresh_that_comes_while_others_are_read_is_read_as_well(tmp_path: Path) -> None:
    main = Workspace.open(str(tmp_path), 1)
    for name in "123":
        main.refresh(name, 1)
    found = []
    for refresh in earlier_refreshes(main):
        found.append(refresh.name)
        if refresh.name == "3":  # another process merges the older two
            main.refresh("2-merged", 1)
            for name in "12":
                remove_refresh(main.refresh(name, 1))
    assert found == ["3", "2-merged"]


def test_killed_removal_of_a_refresh_is_completed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    main = Workspace.open(str(tmp_path), 1)
    refresh = main.refresh("1", 1)
    for shards in (refresh.catalog, refresh.images, refresh.embeddings("clip@1")):
        shards.run(0, "x", write_rows)
    refresh.mark(ended=True)
    remove = Folder.remove
    removed: list[str] = []

    def die(self: Folder, name: str) -> None:
        if len(removed) == 2:
            raise Killed
        removed.append(name)
        remove(self, name)

    monkeypatch.setattr(Folder, "remove", die)
    with pytest.raises(Killed):
        remove_refreshes_before(main, datetime(2026, 11, 22, tzinfo=UTC))
    monkeypatch.undo()
    assert list(earlier_refreshes(main)) == [refresh]
    assert remove_refreshes_before(main, datetime(2026, 11, 22, tzinfo=UTC)) == ["1"]
    assert list((tmp_path / "refreshes").iterdir()) == []


def test_tasks_get_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Workspace.open("ws", 2)
    sent = pickle.dumps(Workspace("ws", 2))
    monkeypatch.chdir(os.path.dirname(tmp_path))  # noqa: PTH120
    assert pickle.loads(sent) == Workspace(str(tmp_path / "ws"), 2)  # noqa: S301
    assert pickle.loads(pickle.dumps(Workspace("memory://ws", 2))).url == "memory://ws"  # noqa: S301


def test_work_is_done_only_if_its_inputs_changed() -> None:
    def fail() -> str:
        raise AssertionError("the work was done again")

    assert if_changed("a", Recorded("a", "old"), fail).changed is False
    assert if_changed("a", Recorded("a", "old"), fail).value == "old"
    for recorded in (None, Recorded("b", "old")):
        outcome = if_changed("a", recorded, lambda: "new")
        assert (outcome.value, outcome.changed) == ("new", True)


def test_fingerprints_depend_on_values_not_on_their_order() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(1, "2") != fingerprint("1", 2)


def test_finished_shard_is_skipped_until_its_inputs_change(tmp_path: Path) -> None:
    images = Workspace.open(str(tmp_path), 4).images
    first = images.run(3, "a", write_rows)
    assert (first.step, first.shard, first.shards, first.skipped) == ("download", 3, 4, False)
    again = images.unchanged(3, "a")
    assert again == images.run(3, "a", lambda path: pytest.fail("the shard was done again"))
    assert again == replace(first, skipped=True, reused=1, seconds=0.0)
    assert images.unchanged(3, "b") is None
    assert images.unchanged(3, "a", lambda report: True) is None  # worth another try
    assert images.unchanged(2, "a") is None


def test_shard_without_its_file_or_with_a_damaged_report_is_done_again(tmp_path: Path) -> None:
    images = Workspace.open(str(tmp_path), 1).images
    images.run(0, "a", write_rows)
    images.folder.write_text(report_name(0), "{")
    assert images.unchanged(0, "a") is None
    with pytest.raises(StepFailed, match=r"shards \[0\] of 1 have not been done"):
        images.reports()
    assert not images.run(0, "a", write_rows).skipped
    images.folder.remove("shard-00000.parquet")
    assert not images.run(0, "a", write_rows).skipped


def test_shard_that_fails_leaves_no_files(tmp_path: Path) -> None:
    def work(path: Path) -> ShardCounts:
        path.write_text("half")
        raise OSError("disk full")

    images = Workspace.open(str(tmp_path), 1).images
    with pytest.raises(OSError, match="disk full"):
        images.run(0, "a", work)
    assert images.folder.names() == []
    assert list(images.folder.local().iterdir()) == []


def test_records_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert read_record(folder, "report.json", ShardReport) is None
    write_record(folder, "report.json", replace(REPORT, skipped=True))
    assert read_record(folder, "report.json", ShardReport) == REPORT
    assert "skipped" not in json.loads(to_json(replace(REPORT, skipped=True)))


def test_records_ignore_unknown_fields_and_name_wrong_ones(tmp_path: Path) -> None:
    text = to_json(REPORT)
    assert from_json(ShardReport, json.dumps(json.loads(text) | {"host": "later"})) == REPORT
    Folder(tmp_path).write_text("report.json", text.replace('"rows": 2', '"rows": "many"'))
    with pytest.raises(CorruptFile, match=r"report.json: is not a ShardReport: .*rows"):
        read_record(Folder(tmp_path), "report.json", ShardReport)


def test_totals_add_up_reports_and_describe_them() -> None:
    kept = replace(REPORT, skipped=True, rows=5, ok=5, reused=5, failed={})
    totals = ShardTotals([REPORT, kept], seconds=0.5)
    assert (totals.rows, totals.ok, totals.done, totals.reused, totals.failed) == (7, 6, 1, 5, {"timeout": 1})
    assert totals.changed
    assert not ShardTotals([kept], 0.0).changed
    assert totals.note("pictures", "fetched") == "1 pictures fetched (2/s), 5 kept from before; failed: 1 timeout"


def test_shard_that_another_process_writes_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    images = Workspace.open(str(tmp_path), 1).images
    images.run(0, "first", write_rows)

    def write_while_another_does(path: Path) -> ShardCounts:
        images.run(0, "another", write_rows)
        path.write_text("late")
        return ShardCounts(rows=1, ok=1)

    with pytest.raises(ShardConflict, match=r"shard-00000.parquet was written by another process"):
        images.run(0, "late", write_while_another_does)
    with images.open(0) as file:
        assert file.read() == b"rows"
    report = images.report(0)
    assert report is not None
    assert report.input == "another"
