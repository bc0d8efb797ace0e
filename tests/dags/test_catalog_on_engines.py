"""The DAGs on engines, from a catalog to answers: the run's conf names the engine, and the environment has its key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from common import NOTE
from flask.testing import FlaskClient

from artifacts.segments.search import engine as engine_search
from artifacts.store.store import Store
from jobs import spark_submit
from jobs.steps import run_plan
from serving.services import services_of
from tests.dags.runs import fresh_dag, params_of, states, xcoms
from tests.engines import ENGINES, RunningEngine, server_settings
from tests.pipeline import draw, small_settings, write_small_catalog
from tests.serving.answers import client_for, colours, ids

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore:Api key is used:UserWarning")]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningEngine]:
    with request.param(tmp_path / "engine") as engine:
        yield engine


@pytest.fixture
def worker(
    engine: RunningEngine, database: None, small_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment of Airflow's tasks, in which Spark applications run in this process and without Spark."""
    monkeypatch.setenv("LOOKALIKE_ENGINE_KEY", engine.key)
    monkeypatch.setenv("LOOKALIKE_CACHE", str(tmp_path / "cache"))
    # In a small catalog, all filters would be evaluated on the server.
    monkeypatch.setattr(engine_search, "FEW_ROWS", 0)

    def submit(operator: SparkSubmitOperator, context: Any) -> None:
        assert spark_submit.main([str(argument) for argument in operator.application_args or []]) == 0

    monkeypatch.setattr(SparkSubmitOperator, "execute", submit)
    for step in ("download", "embed"):
        monkeypatch.setattr(
            f"jobs.{step}.step.run_plan", lambda context, plan: run_plan(replace(context, in_process=True), plan)
        )


def run(dag_id: str, conf: dict[str, object]) -> Any:
    dag = fresh_dag(dag_id)
    dag.deadline = None  # with one, dag.test() fails after a success (apache/airflow#73428)
    done = dag.test(run_conf=conf)
    assert set(states(done).values()) == {"success"}, states(done)
    return done


def found(client: FlaskClient, query: str, engine: RunningEngine) -> dict[str, Any]:
    """The answer to a text search, which the engine must have found."""
    answer = client.get(f"/v1/search/text?{query}&explain=true").get_json()
    assert [plan["path"] for plan in answer["explain"]["segments"]] == [engine.kind]
    return answer


def test_catalog_is_built_served_refreshed_and_rolled_back_on_an_engine(
    engine: RunningEngine, worker: None, tmp_path: Path
) -> None:
    catalog, settings = write_small_catalog(tmp_path / "shop"), small_settings(tmp_path, engine_key=engine.key)
    built = run("catalog_rebuild", params_of(catalog, settings, engine=engine.kind, engine_url=engine.url))
    assert f"36 rows in {engine.kind}" in xcoms(built, "seal", NOTE)[0]
    assert engine.key not in str(xcoms(built, "validate"))  # the arguments of Spark applications
    store = Store(settings.releases, settings.cache)
    first = store.manifest()
    assert first.engine_url == engine.url
    client = client_for(server_settings(settings))
    try:
        assert colours(found(client, "q=red&limit=5", engine)) == {"red"}
        circles = found(client, "q=red&category=circle&limit=50", engine)
        assert {result["category"] for result in circles["results"]} == {"circle"}
        assert circles["total_found"] == len(circles["results"]) == 12
        assert set(ids(found(client, "q=red&price_min=33", engine))) == {"p033", "p034", "p035"}

        # Another price, which is an update of the base's row, and another picture, which is a row of the delta.
        row = "p001,images/001.jpg,green square number 1,square,brand 1,1,"
        text = catalog.read_text()
        assert row in text
        catalog.write_text(text.replace(row, row.removesuffix("1,") + "999,"))
        draw(catalog.parent / "images/002.jpg", "red", "square", 777)
        refreshed = run("catalog_refresh", params_of(catalog, settings))
        assert "1 pictures fetched, 1 embedded" in xcoms(refreshed, "refresh", NOTE)[0]
        assert store.manifest().engine_url == engine.url
        services_of(client.application).watcher.poll()
        assert ids(found(client, "q=green&price_min=900", engine)) == ["p001"]
        assert "p002" in ids(found(client, "q=red&limit=7", engine))

        store.rollback(first.version)
        services_of(client.application).watcher.poll()
        assert set(ids(found(client, "q=green&price_max=1", engine))) == {"p000", "p001"}
        assert "p002" not in ids(found(client, "q=red&limit=7", engine))
    finally:
        services_of(client.application).watcher.close()
