"""The DAG `catalog_rebuild`, run by Airflow on a small catalog; test_demo.py runs it with Spark."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from common import NOTE

from artifacts.errors import CatalogError, CorruptFile, GateFailed, StepFailed
from artifacts.settings import Settings
from artifacts.store.store import Store
from tests.pipeline import prepare, small_settings, write_small_catalog

STEPS = ["validate", "download", "embed", "index", "evaluate", "publish"]


def params_of(catalog: Path | str, settings: Settings, **more: object) -> dict[str, object]:
    names = ("releases", "workspace", "encoder", "codec", "shards")
    return {"catalog": str(catalog), **{name: getattr(settings, name) for name in names}, **more}


@pytest.fixture
def dag(dagbag: Any, database: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The DAG, with the small catalog's other settings in the environment, as a worker has them."""
    monkeypatch.setenv("LOOKALIKE_EVALUATION_QUERIES", "20")
    monkeypatch.setenv("LOOKALIKE_PICTURE_SIDE", "160")
    return dagbag.dags["catalog_rebuild"]


def states(run: Any) -> dict[str, str | None]:
    """The state of each task; mapped ones together if they agree."""
    states: dict[str, str | None] = {}
    for instance in run.get_task_instances():
        state = instance.state and str(instance.state)
        states[instance.task_id] = state if states.get(instance.task_id, state) == state else "mixed"
    return states


def xcoms(run: Any, task_id: str, key: str = "return_value") -> list[Any]:
    """The XComs of a task, one for each mapped instance."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        query = XComModel.get_many(key=key, run_id=run.run_id, dag_ids=run.dag_id, task_ids=task_id)
        return [XComModel.deserialize_value(row) for row in session.scalars(query)]


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
        assert str(run.state) == "failed"
        assert states(run) == dict.fromkeys(STEPS, "success") | {"evaluate": "failed", "publish": "upstream_failed"}
        assert store.current() is None
        assert store.versions() == []

        run = self.run(dag, built)
        assert str(run.state) == "success"
        version = store.current()
        assert version is not None

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
    with pytest.raises(CatalogError, match="LOOKALIKE_CATALOG"):
        dag.task_dict["validate"].python_callable(params={"catalog": None})


def test_only_passing_errors_are_retried(dagbag: Any) -> None:
    policy = dagbag.dags["catalog_rebuild"].task_dict["index"].retry_policy
    for error in (GateFailed("no"), StepFailed("no"), CatalogError("no"), CorruptFile("a", "b"), KeyError("no")):
        assert policy.evaluate(error, 1, 3).action.value == "fail"
    for error in (ConnectionResetError(), TimeoutError(), OSError("disk"), RuntimeError("Spark")):
        assert policy.evaluate(error, 1, 3).action.value == "default"


def test_shards_are_split_in_groups() -> None:
    from common import spark_arguments

    settings = Settings(shards=10, workspace="ws", encoder="sample", recall_target=0.9)
    groups = spark_arguments(settings, 3)
    assert [arguments[:2] for arguments in groups] == [["--shards", "0-2"], ["--shards", "3-5"], ["--shards", "6-9"]]
    assert groups[0][2:] == [
        "--workspace", "ws", "--set", "shards=10", "--set", "encoder=sample", "--set", "recall_target=0.9",
    ]  # fmt: skip
    assert len(spark_arguments(settings, 50)) == 10


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


def test_only_publish_sends_an_event(dagbag: Any) -> None:
    dag = dagbag.dags["catalog_rebuild"]
    outlets = {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks if task.outlets}
    assert outlets == {"publish": ["lookalike_release"]}
    assert [task.task_id for task in dag.topological_sort()] == STEPS
    assert dag.max_active_runs == 1
