"""The DAG `catalog_backfill`: what its parameters mean, which it refuses, and its runs on a small release."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from common import NOTE
from parameters import backfill_params, backfill_requests

from artifacts.errors import CatalogError, InputError, LookalikeError, StepFailed
from jobs.backfill.request import BackfillRequest
from tests.dags.runs import events, fresh_dag, params_of, states, xcoms
from tests.pipeline import draw
from tests.shop import Shop

DAYS = [date(2026, 11, day) for day in (1, 2, 3)]


@pytest.fixture
def dag(database: None, small_environment: None) -> Any:
    return fresh_dag("catalog_backfill")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def days(shop: Shop) -> str:
    """A catalog with `{date}`: each day's changes, of one price."""
    header, *rows = shop.catalog.read_text().splitlines()
    for day in DAYS:
        folder = shop.folder / f"days/date={day}"
        shutil.copytree(shop.catalog.parent / "images", folder / "images")  # with the times of the originals
        row = rows[1].replace("number 1,square,brand 1,1,", f"number 1,square,brand 1,{1000 + day.day},")
        assert row != rows[1]
        (folder / "changes.csv").write_text(f"{header}\n{row}\n")
    return str(shop.folder / "days/date={date}/changes.csv")


def requests(catalog: str = "catalog.csv", partition: str | None = None, **params: object) -> list[BackfillRequest]:
    """What a run with these parameters is asked to do; the others have their defaults."""
    defaults = {name: param.value for name, param in backfill_params().items()}
    run = SimpleNamespace(partition_key=partition)
    return backfill_requests({"params": defaults | {"catalog": catalog} | params, "dag_run": run})


# ── what parameters mean ─────────────────────────────────────────────────────────────────────────────────────────────


def test_products_and_categories_are_selected() -> None:
    assert requests(product_ids=["p1", "p2"], categories=["shoes"], redownload=True) == [
        BackfillRequest(product_ids=frozenset({"p1", "p2"}), categories=frozenset({"shoes"}), redownload=True)
    ]
    assert requests(reembed=True) == [BackfillRequest(reembed=True)]


def test_dates_are_whole_days_of_updated_at() -> None:
    (request,) = requests(date_from="2026-11-01", date_to="2026-11-07")
    assert request.updated_from == datetime(2026, 11, 1, tzinfo=UTC)
    assert request.updated_before == datetime(2026, 11, 8, tzinfo=UTC)
    (request,) = requests(date_to="2026-11-07")
    assert request.updated_from is None


def test_dates_of_a_catalog_with_partitions_are_its_partitions(days: str) -> None:
    found = requests(days, date_from="2026-11-01", date_to="2026-11-03", changes_only=True)
    assert found == [BackfillRequest(day=day, changes_only=True) for day in DAYS]


def test_partition_key_of_a_run_is_its_day(days: str) -> None:
    assert requests(days, "2026-11-02") == [BackfillRequest(day=DAYS[1])]
    assert requests(days, "2026-11-02", reembed=True) == [BackfillRequest(day=DAYS[1], reembed=True)]


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "nothing to do: name product_ids"),
        ({"changes_only": True}, "nothing to do"),
        ({"date_from": "2026-11-07", "date_to": "2026-11-01"}, "date_to 2026-11-01 is before date_from 2026-11-07"),
        ({"encoder": "sample", "product_ids": ["p1"]}, "a new encoder embeds every product: leave out product ids"),
        ({"encoder": "sample", "redownload": True}, "leave out .* redownload"),
        ({"product_ids": ["p1"], "publish": False}, "publish: only a release with a new encoder"),
    ],
    ids=str,
)
def test_parameters_that_contradict_each_other_are_refused(params: dict[str, Any], says: str) -> None:
    with pytest.raises(LookalikeError, match=says):
        requests(**params)


def test_days_that_cannot_be_processed_are_refused(days: str) -> None:
    with pytest.raises(InputError, match="give both"):
        requests(days, date_from="2026-11-01")
    with pytest.raises(InputError, match="the run's partition is 2026-11-01; leave them out"):
        requests(days, "2026-11-01", date_from="2026-11-01")
    with pytest.raises(StepFailed, match=r"a new encoder embeds every product: leave out .* dates"):
        requests(days, "2026-11-01", encoder="sample")
    with pytest.raises(CatalogError, match="no partition for 2026-11-04"):
        requests(days, "2026-11-04")
    with pytest.raises(CatalogError, match="no partition for 2026-10-31"):
        requests(days, date_from="2026-10-31", date_to="2026-11-01")
    with pytest.raises(CatalogError, match=r"catalog.csv has no \{date\}"):
        requests("catalog.csv", "2026-11-01")


@pytest.mark.airflow
@pytest.mark.parametrize(
    "bad",
    [
        {"product_ids": "p1"},
        {"product_ids": []},
        {"categories": [1]},
        {"date_from": "yesterday"},
        {"date_to": "2026-02-30"},
        {"redownload": "yes"},
        {"encoder": "clip"},
        {"dry_run": None},
    ],
    ids=str,
)
def test_bad_parameters_are_refused_when_a_run_is_triggered(dag: Any, bad: dict[str, object]) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match=next(iter(bad))):
        dag.test(run_conf={"catalog": "catalog.csv", **bad})


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.airflow
class TestOnARelease:
    def test_dry_run_prints_the_work_and_does_none(
        self, dag: Any, shop: Shop, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = shop.store.current()
        conf = params_of(shop.catalog, shop.settings, encoder=None, product_ids=["p001", "p002"], redownload=True)
        run = dag.test(run_conf=conf | {"dry_run": True})
        assert states(run) == {"backfill": "success", "rebuild": "skipped"}
        assert "pictures    2 to fetch" in caplog.text
        (note,) = xcoms(run, "backfill", NOTE)
        assert note.startswith("dry run: encoder ")
        assert events(run) == {}
        assert shop.store.current() == before

    def test_chosen_products_are_downloaded_again(self, dag: Any, shop: Shop) -> None:
        draw(shop.images / "001.jpg", "green", "circle", 99)
        conf = params_of(shop.catalog, shop.settings, encoder=None, product_ids=["p001", "p002"], redownload=True)
        run = dag.test(run_conf=conf)
        assert states(run) == {"backfill": "success", "rebuild": "skipped"}
        (note,) = xcoms(run, "backfill", NOTE)
        assert "2 pictures fetched" in note
        assert events(run) == {"lookalike_release": {"version": shop.store.current()}}

    def test_partitions_are_applied_in_order(self, dag: Any, shop: Shop, days: str) -> None:
        conf = params_of(days, shop.settings, encoder=None, changes_only=True)
        run = dag.test(run_conf=conf | {"date_from": "2026-11-01", "date_to": "2026-11-03"})
        assert states(run)["backfill"] == "success"
        release = shop.open()
        rows = release.rows.to_results(release.searcher.rows_that_can_be_found())
        release.close()
        assert len(rows) == 36
        assert {row["price"] for row in rows if row["product_id"] == "p001"} == {1003}

    def test_contradiction_fails_at_once_and_changes_nothing(
        self, dag: Any, shop: Shop, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = shop.store.current()
        run = dag.test(run_conf=params_of(shop.catalog, shop.settings, product_ids=["p001"]))  # and an encoder
        assert states(run) == {"backfill": "failed", "rebuild": "upstream_failed"}
        assert {instance.try_number for instance in run.get_task_instances() if instance.task_id == "backfill"} == {1}
        assert shop.store.current() == before


def test_new_encoder_is_left_to_a_rebuild_with_it(dag: Any, shop: Shop, days: str) -> None:
    pushed: dict[str, Any] = {}
    params = dag.params.dump() | params_of(shop.catalog, shop.settings, encoder="sample", publish=False)
    ti = SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value}))
    run = SimpleNamespace(conf={}, run_type="manual", partition_key=None)
    backfill, rebuild = dag.task_dict["backfill"], dag.task_dict["rebuild"]
    assert backfill.python_callable(params=params, dag=dag, dag_run=run, ti=ti) == "rebuild"
    assert pushed["conf"]["encoder"] == "sample"
    assert pushed["conf"]["publish"] is False
    assert set(pushed["conf"]) <= set(fresh_dag("catalog_rebuild").params)
    assert rebuild.trigger_dag_id == "catalog_rebuild"
    assert rebuild.upstream_task_ids == {"backfill"}
    assert rebuild.wait_for_completion


def test_scheduled_run_does_nothing(dag: Any) -> None:
    run = SimpleNamespace(conf={}, run_type="scheduled")
    with pytest.raises(AirflowSkipException, match="on demand"):
        dag.task_dict["backfill"].python_callable(params=dag.params.dump(), dag=dag, dag_run=run, ti=None)
