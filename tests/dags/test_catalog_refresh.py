"""The DAG `catalog_refresh`, run by Airflow on a small catalog with a published release."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import AssetOrTimeSchedule
from airflow.sdk.exceptions import AirflowSkipException
from common import NOTE

from artifacts.errors import CatalogError
from artifacts.settings import Settings
from artifacts.store.store import Store
from tests.dags.runs import events, fresh_dag, params_of, states, xcoms
from tests.pipeline import publish_small, small_settings, write_small_catalog


@pytest.fixture
def dag(database: None, small_environment: None) -> Any:
    dag = fresh_dag("catalog_refresh")
    dag.deadline = None  # with one, dag.test() fails after a success (apache/airflow#73428)
    return dag


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    """A catalog, and the settings of the release that was built from it."""
    folder = tmp_path_factory.mktemp("shop")
    catalog, settings = write_small_catalog(folder / "catalog"), small_settings(folder)
    publish_small(catalog, settings)
    return catalog, settings


@pytest.fixture
def store(shop: tuple[Path, Settings]) -> Store:
    return Store(shop[1].releases, shop[1].cache)


def edit(catalog: Path, old: str, new: str) -> None:
    text = catalog.read_text()
    assert old in text
    catalog.write_text(text.replace(old, new))


@pytest.mark.airflow
class TestOnARelease:
    def test_unchanged_catalog_ends_skipped_and_sends_no_event(
        self, dag: Any, shop: tuple[Path, Settings], store: Store
    ) -> None:
        before = store.current()
        run = dag.test(run_conf=params_of(*shop))
        assert str(run.state) == "success"
        assert states(run) == {"refresh": "skipped"}
        assert events(run) == {}
        assert xcoms(run, "refresh", NOTE) == ["nothing has changed"]
        assert store.current() == before

    def test_changed_price_is_published_and_announced(
        self, dag: Any, shop: tuple[Path, Settings], store: Store
    ) -> None:
        before = store.current()
        edit(shop[0], "square number 1,square,brand 1,1,", "square number 1,square,brand 1,999,")
        run = dag.test(run_conf=params_of(*shop))
        assert states(run) == {"refresh": "success"}
        version = store.current()
        assert version != before
        assert events(run) == {"lookalike_release": {"version": version}}
        assert xcoms(run, "refresh") == [{"version": version}]
        (note,) = xcoms(run, "refresh", NOTE)
        assert re.match(r"1 with other attributes; 0 pictures fetched, 0 embedded", note)

    def test_refetched_products_are_downloaded_again(self, dag: Any, shop: tuple[Path, Settings]) -> None:
        run = dag.test(run_conf=params_of(*shop, refetch_products=["p003", "p004"]))
        (note,) = xcoms(run, "refresh", NOTE)
        assert "2 pictures fetched" in note

    def test_changes_alone_delete_nothing(self, dag: Any, shop: tuple[Path, Settings], store: Store) -> None:
        header, *rows = shop[0].read_text().splitlines()
        changes = shop[0].with_name("changes.csv")
        changes.write_text("\n".join([header, rows[5].replace("brand 1", "brand 9")]) + "\n")
        run = dag.test(run_conf=params_of(changes, shop[1], changes_only=True))
        assert states(run) == {"refresh": "success"}
        assert store.manifest().counts.indexed == 36

    def test_failed_gate_publishes_nothing(
        self, dag: Any, shop: tuple[Path, Settings], store: Store, tmp_path: Path
    ) -> None:
        before = store.current()
        half = shop[0].with_name("half.csv")
        half.write_text("\n".join(shop[0].read_text().splitlines()[:19]) + "\n")
        run = dag.test(run_conf=params_of(half, shop[1]))
        assert str(run.state) == "failed"
        assert states(run) == {"refresh": "failed"}
        assert {instance.try_number for instance in run.get_task_instances()} == {1}
        assert events(run) == {}
        assert store.current() == before


@pytest.mark.airflow
@pytest.mark.parametrize(
    "bad",
    [
        {"changes_only": "yes"},
        {"refetch_products": "p1,p2"},
        {"refetch_products": []},
        {"refetch_categories": [""]},
        {"refetch_all": 1},
    ],
    ids=str,
)
def test_bad_parameters_are_refused(dag: Any, bad: dict[str, object]) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match=next(iter(bad))):
        dag.test(run_conf={"catalog": "catalog.csv", **bad})


@pytest.mark.airflow
def test_unknown_key_of_conf_fails_before_any_work(dag: Any, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    run = dag.test(run_conf=params_of("catalog.csv", settings, change_only=True))
    assert states(run) == {"refresh": "failed"}
    assert {instance.try_number for instance in run.get_task_instances()} == {1}
    assert list(tmp_path.iterdir()) == []


def test_scheduled_run_without_a_catalog_is_skipped(dag: Any) -> None:
    def run(run_type: str) -> None:
        context = {"dag": dag, "params": dag.params.dump(), "dag_run": SimpleNamespace(conf={}, run_type=run_type)}
        dag.task_dict["refresh"].python_callable(**context)

    with pytest.raises(AirflowSkipException, match="LOOKALIKE_CATALOG"):
        run("scheduled")
    with pytest.raises(CatalogError, match="LOOKALIKE_CATALOG"):
        run("manual")


def test_runs_every_quarter_of_an_hour_and_with_each_event(dagbag: Any) -> None:
    dag = dagbag.dags["catalog_refresh"]
    assert isinstance(dag.timetable, AssetOrTimeSchedule)
    assert dag.timetable.timetable.expression == "*/15 * * * *"
    assert dag.timetable.asset_condition.name == "lookalike_catalog"
    assert [alert.interval.total_seconds() for alert in dag.deadline] == [1800]
