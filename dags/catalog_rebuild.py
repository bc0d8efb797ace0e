"""
### From a catalog to a published release

| step | does |
|---|---|
| `validate` | reads the catalog, rejects bad rows with a reason, writes product shards |
| `download` | fetches and resizes the pictures; a Spark application for each group of shards |
| `embed` | turns pictures into vectors, in pool `gpu`; a Spark application for each group of shards |
| `index` | builds the new base segment |
| `evaluate` | the gate: recall against exact search, and how many products are left |
| `publish` | makes the candidate a version, serves it, prunes old ones |

**Reads** the catalog named by the parameter `catalog`, or by `LOOKALIKE_CATALOG`. **Writes** the workspace, where every
step keeps what it did, and a version under `releases`. A step that is run again finds what it did before: clear any
task and it goes on from there, and a run on an unchanged catalog changes nothing.

**When:** every night at 02:00 UTC, and whenever the asset `lookalike_catalog` gets an event
(`POST /api/v2/assets/events`). One run at a time. **By hand:** *Trigger* and fill in the form, or

    airflow dags trigger catalog_rebuild --conf '{"catalog": "/data/catalog.csv"}'

A run always builds what the catalog says now, so there is nothing to make up for a missed night; chosen products, or
another encoder, are `catalog_backfill`'s work.

**When it fails:** a failed gate stops the run before `publish`, and the version being served stays; `report.html` in
the workspace says why. Errors that would come again are not retried, others twice. A successful `publish` sends an
event of the asset `lookalike_release`. Which Spark the steps run on is the connection `spark_default`'s business.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, chain, dag, task
from common import (
    CATALOG,
    DEFAULT_ARGS,
    GPU_POOL,
    RELEASE,
    SPARK_CONNECTION,
    build_params,
    counted,
    opened,
    spark_arguments,
    spark_submit_script,
)

log = logging.getLogger(__name__)


@dag(
    dag_id="catalog_rebuild",
    dag_display_name="Catalog rebuild",
    description="From a catalog to a published release",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 2 * * *", timezone="UTC"), assets=CATALOG),
    catchup=False,  # and no start_date: with one, a new DAG runs at once for the night that it missed
    max_active_runs=1,  # runs share a workspace
    dagrun_timeout=timedelta(hours=24),
    default_args=DEFAULT_ARGS,
    params=build_params(),
    tags=["lookalike", "release"],
)
def catalog_rebuild() -> None:
    @task
    def validate(params: dict[str, Any] | None = None) -> list[list[str]]:
        """Validate the catalog; returns the arguments of a Spark application for each group of shards."""
        from artifacts.errors import CatalogError
        from jobs.catalog.step import run_catalog

        params = params or {}
        if not params["catalog"]:
            raise CatalogError("no catalog: trigger with the parameter `catalog`, or set LOOKALIKE_CATALOG")
        settings, workspace, _ = opened(params)
        report = run_catalog(params["catalog"], workspace, settings)
        log.info("result: %d of %d rows, rejected: %s", report.ok, report.input_rows, counted(report.rejected))
        return spark_arguments(settings, params["groups"])

    @task
    def index(params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Build the candidate's segment."""
        from jobs.index.step import run_index

        settings, workspace, store = opened(params or {})
        report = run_index(workspace, store, settings)
        counts = report.candidate.counts
        log.info("result: %d products, %d pictures", counts.indexed, counts.pictures)
        return {"segments": [segment.id for segment in report.candidate.segments], **counts.model_dump()}

    @task
    def evaluate(params: dict[str, Any] | None = None) -> dict[str, float]:
        """Let nothing pass that is worse than it should be."""
        from jobs.evaluate.step import run_evaluate

        settings, workspace, store = opened(params or {})
        candidate, _ = run_evaluate(workspace, store, settings, shards=settings.shards)
        log.info("result: recall %s", ", ".join(f"{name} {value:.3f}" for name, value in candidate.recall.items()))
        return candidate.recall

    @task(outlets=[RELEASE])
    def publish(params: dict[str, Any] | None = None, outlet_events: Any = None) -> dict[str, Any]:
        """Serve the candidate."""
        from jobs.publish import run_publish

        settings, workspace, store = opened(params or {})
        report = run_publish(workspace, store, settings)
        log.info("result: %s%s", report.version, ", unchanged" if report.unchanged else "")
        done = {"version": report.version, "unchanged": report.unchanged}
        outlet_events[RELEASE].extra = done
        return done

    groups = validate()
    shards = "shards {{ task.application_args[2] }}"
    download = SparkSubmitOperator.partial(
        task_id="download",
        application=spark_submit_script(),
        conn_id=SPARK_CONNECTION,
        name="lookalike-download",
        map_index_template=shards,
    ).expand(application_args=groups.map(lambda group: ["download", *group]))
    embed = SparkSubmitOperator.partial(
        task_id="embed",
        application=spark_submit_script(),
        conn_id=SPARK_CONNECTION,
        name="lookalike-embed",
        pool=GPU_POOL,
        map_index_template=shards,
    ).expand(application_args=groups.map(lambda group: ["embed", *group]))
    chain(download, embed, index(), evaluate(), publish())


catalog_rebuild()
