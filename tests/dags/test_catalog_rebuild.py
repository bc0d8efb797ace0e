"""The DAG `catalog_rebuild`, run by Airflow on a small catalog; test_demo.py runs it with Spark."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable
from airflow.timetables.base import TimeRestriction
from common import NOTE

from artifacts.settings import Settings
from artifacts.store.store import Store
from tests.dags.runs import events, params_of, states, xcoms
from tests.pipeline import prepare, small_settings, write_small_catalog

STEPS = ["validate", "download", "embed", "train", "index", "seal", "evaluate", "publish"]


@pytest.fixture
def dag(dagbag: Any, database: None, small_environment: None) -> Any:
    return dagbag.dags["catalog_rebuild"]


def modified(folder: str) -> dict[Path, int]:
    """When each file was modified last."""
    return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.airflow
class TestAfterEmbedding:
    """The DAG on a workspace in which download and embed are done, so that no task starts Spark."""

    @pytest.fixture(scope="class")
    @classmethod
    def built(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
        folder = tmp_path_factory.mktemp("built")
        catalog, settings = write_small_catalog(folder / "catalog"), small_settings(folder)
        prepare(catalog, settings)
        return catalog, settings

    def run(self, dag: Any, built: tuple[Path, Settings]) -> Any:
        return dag.test(run_conf=params_of(*built, groups=2))

    @pytest.fixture(autouse=True)
    def no_spark(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(SparkSubmitOperator, "execute", lambda *_: pytest.fail("Spark was started"))

    def test_failed_gate_publishes_nothing(
        self, dag: Any, built: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = built[1]
        store = Store(settings.releases, settings.cache)
        with monkeypatch.context() as patch:
            patch.setattr("jobs.evaluate.measure.recall", lambda *args: 0.5)
            run = self.run(dag, built)
        assert re.search(r"1 part; its part: \d+ products indexed", xcoms(run, "train", NOTE)[0])
        (note,) = xcoms(run, "index", NOTE)
        assert re.fullmatch(r"nothing left to write: \d+ products are in 1 finished part", note)
        assert str(run.state) == "failed"
        assert states(run) == dict.fromkeys(STEPS, "success") | {"evaluate": "failed", "publish": "upstream_failed"}
        assert store.current() is None
        assert store.versions() == []

        run = self.run(dag, built)
        assert str(run.state) == "success"
        version = store.current()
        assert version is not None
        assert events(run) == {"lookalike_release": {"version": version}}

        monkeypatch.setenv("LOOKALIKE_SEED", "1")  # the gate draws other queries, so it measures anew
        monkeypatch.setattr("jobs.evaluate.measure.recall", lambda *args: 0.5)
        run = self.run(dag, built)
        assert states(run)["publish"] == "upstream_failed"
        assert store.current() == version

    def test_second_run_changes_nothing(self, dag: Any, built: tuple[Path, Settings]) -> None:
        settings = built[1]
        self.run(dag, built)
        store = Store(settings.releases, settings.cache)
        before = modified(settings.releases)
        run = self.run(dag, built)
        assert xcoms(run, "publish") == [{"version": store.current(), "unchanged": True}]
        assert xcoms(run, "publish", NOTE) == [f"{store.current()}, unchanged"]
        assert events(run) == {}
        notes = xcoms(run, "embed", NOTE)
        assert len(notes) == 2  # one for each group
        assert all(re.fullmatch(r"0 pictures embedded, \d+ kept from before", note) for note in notes)
        assert modified(settings.releases) == before


@pytest.mark.airflow
@pytest.mark.parametrize(
    "bad",
    [
        {"codec": "zip"},
        {"shards": 0},
        {"shards": "many"},
        {"groups": 1001},
        {"encoder": "clip"},
        {"catalog": ""},
        {"releases": ""},
        {"engine": "oracle"},
        {"engine_url": "postgresql://shop:s3cret@db/shop"},
    ],
    ids=str,
)
def test_bad_parameters_are_refused(dag: Any, bad: dict[str, object]) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match=next(iter(bad))):
        dag.test(run_conf={"catalog": "catalog.csv", **bad})


@pytest.mark.airflow
def test_run_without_a_catalog_fails_at_once(dag: Any, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    run = dag.test(run_conf=params_of("", settings) | {"catalog": None})
    assert states(run)["validate"] == "failed"
    assert {instance.try_number for instance in run.get_task_instances() if instance.task_id == "validate"} == {1}


def test_shards_are_split_in_groups() -> None:
    from common import spark_arguments

    settings = Settings(shards=10, workspace="ws", encoder="sample", recall_target=0.9)
    groups = spark_arguments(settings, 3)
    assert [arguments[:2] for arguments in groups] == [["--shards", "0-2"], ["--shards", "3-5"], ["--shards", "6-9"]]
    assert groups[0][2:] == [
        "--workspace", "ws", "--set", "shards=10", "--set", "encoder=sample", "--set", "recall_target=0.9",
    ]  # fmt: skip
    assert len(spark_arguments(settings, 50)) == 10
    assert [arguments[1] for arguments in spark_arguments(settings, 2, 3)] == ["0-0", "1-2"]


def test_spark_application_reads_the_arguments() -> None:
    from common import spark_arguments, spark_submit_script

    from jobs.spark_submit import parse_shards, read_settings

    settings = Settings(shards=4, workspace="ws", encoder="sample", download_retries=1, allow_private_addresses=True)
    arguments = spark_arguments(settings, 2)[1]
    sets = [value for flag, value in pairwise(arguments) if flag == "--set"]
    assert read_settings(sets).model_copy(update={"workspace": "ws"}) == settings
    assert parse_shards(arguments[1], settings.shards) == [2, 3]
    assert Path(spark_submit_script()).name == "spark_submit.py"
    assert Path(spark_submit_script()).is_file()


def test_spark_application_has_credentials_from_its_environment_and_not_from_its_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from common import spark_arguments

    from jobs.spark_submit import read_settings

    secrets = {
        "engine_key": "shop:s3cret",
        "embedding_store_key": "shop:s3cret",
        "api_keys": "s3cret",
        "kafka_options": '{"sasl.password": "s3cret"}',
    }
    settings = Settings.model_validate({"workspace": "ws", "engine": "pgvector", **secrets})
    (arguments,) = spark_arguments(settings, 1)
    assert "s3cret" not in " ".join(arguments)
    for name, value in secrets.items():
        monkeypatch.setenv(f"LOOKALIKE_{name.upper()}", value)
    sets = [value for flag, value in pairwise(arguments) if flag == "--set"]
    assert read_settings(sets).model_copy(update={"workspace": "ws"}) == settings


def test_only_publish_may_send_an_event(dagbag: Any) -> None:
    dag = dagbag.dags["catalog_rebuild"]
    outlets = {task.task_id: [outlet.name for outlet in task.outlets] for task in dag.tasks if task.outlets}
    assert outlets == {"publish": ["lookalike_publication"]}
    assert [task.task_id for task in dag.topological_sort()] == STEPS
    assert dag.max_active_runs == 1


@pytest.mark.airflow
@pytest.mark.parametrize(("hour", "first_day"), [(1, 20), (2, 21), (3, 21), (14, 21)])
def test_dag_that_is_unpaused_waits_for_the_next_night(
    dag: Any, monkeypatch: pytest.MonkeyPatch, hour: int, first_day: int
) -> None:
    now = datetime(2026, 11, 20, hour, 5, tzinfo=UTC)
    monkeypatch.setattr("airflow.timetables.trigger.utcnow", lambda: now)
    timetable = decode_timetable(encode_timetable(dag.timetable))  # as the scheduler has it
    first = timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(earliest=None, latest=None, catchup=False)
    )
    assert first is not None
    assert (first.run_after.day, first.run_after.hour) == (first_day, 2)
