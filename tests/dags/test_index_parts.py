"""The DAG `catalog_rebuild` where the index has several parts: one Spark application for each group of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from common import NOTE

from artifacts.store.store import Store
from jobs import spark_submit
from jobs.steps import run_plan
from tests.dags.runs import fresh_dag, params_of, states, xcoms
from tests.jobs.index.workspaces import embedded, settings_for


@pytest.mark.airflow
def test_parts_are_written_by_mapped_tasks_and_only_once(
    database: None, small_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings = embedded(tmp_path), settings_for(tmp_path)
    for name in ("picture_side", "max_reject_rate", "flat_max_rows", "rows_per_index", "cache"):
        monkeypatch.setenv(f"LOOKALIKE_{name.upper()}", str(getattr(settings, name)))
    conf = params_of(folder / "shop" / "catalog.csv", settings, groups=2)
    submitted: list[list[str]] = []

    def submit(operator: SparkSubmitOperator, context: Any) -> None:
        arguments = [str(argument) for argument in operator.application_args or []]
        submitted.append(arguments[:3])
        assert spark_submit.main(arguments) == 0

    monkeypatch.setattr(SparkSubmitOperator, "execute", submit)
    # The application's own process would start Spark; here it works without.
    monkeypatch.setattr(
        "jobs.index.parts.run_plan", lambda steps, plan: run_plan(replace(steps, in_process=True), plan)
    )
    run = fresh_dag("catalog_rebuild").test(run_conf=conf)
    assert set(states(run).values()) == {"success"}
    assert sorted(submitted) == [["index", "--shards", "0-1"], ["index", "--shards", "2-3"]]
    notes = xcoms(run, "index", NOTE)
    assert len(notes) == 2
    assert all("products indexed" in note for note in notes)
    store = Store(settings.releases, settings.cache)
    assert len(store.manifest().segments) == 1

    run = fresh_dag("catalog_rebuild").test(run_conf=conf)  # as after clearing all its tasks
    assert set(states(run).values()) == {"success"}
    assert len(submitted) == 2
    assert xcoms(run, "publish")[0]["unchanged"]
