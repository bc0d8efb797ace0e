"""What all DAGs share: retries, the check of parameters, the deadline, and where Spark runs."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from common import DEFAULT_ARGS, freshness_deadline, report_late_run, start_spark
from parameters import checked_params, refresh_params, shared_params

from artifacts.errors import (
    CatalogError,
    CorruptFile,
    EngineError,
    EngineUnavailable,
    GateFailed,
    InputError,
    PublishConflict,
    StepFailed,
)


def context(conf: dict[str, object], **params: object) -> dict[str, Any]:
    """Airflow's context of a task in a run with this conf."""
    declared = {name: param.value for name, param in shared_params().items()}
    return {
        "params": declared | conf | params,
        "dag": SimpleNamespace(params=declared),
        "dag_run": SimpleNamespace(conf=conf),
    }


@pytest.mark.parametrize(
    "error",
    [GateFailed("no"), StepFailed("no"), CatalogError("no"), CorruptFile("a", "b"), EngineError("no"), KeyError()],
)
def test_errors_that_would_occur_again_are_not_retried(error: Exception) -> None:
    assert DEFAULT_ARGS["retry_policy"].evaluate(error, 1, 3).action.value == "fail"


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), OSError("disk"), RuntimeError("Spark")])
def test_passing_errors_are_retried_as_often_as_the_task_says(error: Exception) -> None:
    assert DEFAULT_ARGS["retry_policy"].evaluate(error, 1, 3).action.value == "default"


@pytest.mark.parametrize("error", [PublishConflict("no"), EngineUnavailable("no")])
def test_publication_that_another_came_before_and_an_engine_that_is_down_are_retried(error: Exception) -> None:
    assert DEFAULT_ARGS["retry_policy"].evaluate(error, 1, 3).action.value == "retry"


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("catalogue", "did you mean 'catalog'?"),
        ("Encoder", "did you mean 'encoder'?"),
        ("xyz", "there are catalog, releases, workspace, encoder, codec, shards, engine, engine_url"),
    ],
)
def test_unknown_keys_of_conf_are_refused_with_the_nearest_parameter(key: str, hint: str) -> None:
    with pytest.raises(InputError) as refused:
        checked_params(context({key: 1}))
    assert str(refused.value) == f"conf: there is no parameter {key!r}; {hint}"


@pytest.mark.parametrize("value", ["s3://shop/{{ ds }}.csv", "{% if true %}a.csv{% endif %}", ["p1", "{{ ds }}"]])
def test_templates_are_refused_by_name(value: object) -> None:
    with pytest.raises(InputError, match=r"parameter 'catalog': .* looks like a template"):
        checked_params(context({"catalog": value}))
    with pytest.raises(InputError, match="parameter 'catalog'"):  # as the default
        checked_params(context({}, catalog=value))


def test_good_parameters_pass() -> None:
    conf: dict[str, object] = {"catalog": "s3://shop/date={date}/"}
    assert checked_params(context(conf))["catalog"] == "s3://shop/date={date}/"
    assert checked_params({**context({}), "dag_run": SimpleNamespace(conf=None)})["shards"] == 16


def test_source_of_changes_is_the_refreshs_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_CATALOG", "all.csv")
    params = refresh_params()
    assert (params["catalog"].value, params["changes_only"].value) == ("all.csv", False)
    monkeypatch.setenv("LOOKALIKE_CHANGES", "changes.csv")
    params = refresh_params()
    assert (params["catalog"].value, params["changes_only"].value) == ("changes.csv", True)


def test_late_run_is_reported_by_name(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("LOOKALIKE_DEADLINE_MINUTES", "7.5")
    alert = freshness_deadline()
    assert alert.interval.total_seconds() == 450
    assert alert.callback.path == "common.report_late_run"  # workers import it by this path
    run = {"dag_run_id": "manual__1", "dag_id": "catalog_refresh", "state": "running"}
    with caplog.at_level(logging.ERROR):
        report_late_run(**alert.callback.kwargs, context={"dag_run": run})
    monkeypatch.setenv("LOOKALIKE_DEADLINE_MINUTES", "0")
    assert freshness_deadline() is None
    assert "freshness at risk: run manual__1 of catalog_refresh is running 7.5 minutes after" in caplog.text


@pytest.mark.parametrize(
    ("connection", "master"),
    [
        ('{"conn_type": "spark", "host": "local[2]"}', "local[2]"),
        ('{"conn_type": "spark", "host": "yarn"}', "yarn"),
        ('{"conn_type": "spark", "host": "spark://host", "port": 7077}', "spark://host:7077"),
        ("spark://host:7077", "spark://host:7077"),
        ('{"conn_type": "spark", "host": "k8s://https://host:443"}', "k8s://https://host:443"),
    ],
)
def test_spark_is_started_where_the_connection_says(
    connection: str, master: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", connection)
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "")
    monkeypatch.setattr("jobs.spark.launcher.SparkLauncher.__call__", lambda launcher: __import__("os").environ)
    assert start_spark()["PYSPARK_SUBMIT_ARGS"] == f"--master {master} pyspark-shell"  # type: ignore[index]
