"""The DAG `catalog_compact`, run by Airflow on a small release with a delta."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from common import NOTE

from tests.dags.runs import events, fresh_dag, params_of, states, xcoms
from tests.shop import Rows, Shop


@pytest.fixture
def dag(database: None, small_environment: None) -> Any:
    return fresh_dag("catalog_compact")


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A release with a delta of one product."""
    shop = Shop(tmp_path_factory.mktemp("shop"))

    def cheaper(rows: Rows) -> None:
        rows["p001"]["price"] = "0.5"

    shop.edit(cheaper)
    assert shop.refresh().changed
    return shop


@pytest.mark.airflow
def test_delta_is_merged_and_announced_once(dag: Any, shop: Shop) -> None:
    conf = params_of(None, shop.settings)
    run = dag.test(run_conf=conf | {"if_due": True})
    assert states(run) == {"compact": "skipped"}
    assert events(run) == {}
    assert xcoms(run, "compact", NOTE) == ["the delta is 2.8%: nothing to compact"]

    run = dag.test(run_conf=conf | {"if_due": False})
    assert states(run) == {"compact": "success"}
    manifest = shop.store.manifest()
    assert len(manifest.segments) == 1
    assert events(run) == {"lookalike_release": {"version": manifest.version}}

    run = dag.test(run_conf=conf | {"if_due": False})
    assert states(run) == {"compact": "skipped"}
    assert events(run) == {}


@pytest.mark.parametrize(
    ("run_type", "hour", "if_due", "asked"),
    [
        ("scheduled", 3, True, True),
        ("scheduled", 4, True, False),
        ("manual", 4, True, True),
        ("manual", 3, False, False),
    ],
)
def test_nights_scheduled_run_needs_no_reason(
    dag: Any, run_type: str, hour: int, if_due: bool, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[bool] = []

    def run_compact(_: object, *, if_due: bool) -> Any:
        asked_for.append(if_due)
        return SimpleNamespace(changed=False, note="there is no delta", report=SimpleNamespace(drift=None))

    monkeypatch.setattr("jobs.compact.step.run_compact", run_compact)
    run = SimpleNamespace(conf={}, run_type=run_type, run_after=datetime(2026, 11, 27, hour, 30, tzinfo=UTC))
    ti = SimpleNamespace(xcom_push=lambda **_: None)
    params = dag.params.dump() | {"if_due": if_due}
    with pytest.raises(AirflowSkipException, match="there is no delta"):
        dag.task_dict["compact"].python_callable(params=params, dag=dag, dag_run=run, ti=ti)
    assert asked_for == [asked]


def test_drift_above_the_limit_is_logged(
    dag: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    report = SimpleNamespace(drift=0.9)
    monkeypatch.setattr(
        "jobs.compact.step.run_compact", lambda *_, **__: SimpleNamespace(changed=False, note="no", report=report)
    )
    run, ti = SimpleNamespace(conf={}, run_type="manual"), SimpleNamespace(xcom_push=lambda **_: None)
    with pytest.raises(AirflowSkipException):
        dag.task_dict["compact"].python_callable(params=dag.params.dump(), dag=dag, dag_run=run, ti=ti)
    assert "drift 90.0% of the quantizer is above max_drift" in caplog.text
