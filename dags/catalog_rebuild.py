"""
### From a catalog to a published release

| step | does |
|---|---|
| `validate` | reads the catalog, rejects bad rows with a reason, writes product shards |
| `download` | fetches and resizes the pictures; a Spark application for each group of shards |
| `embed` | turns pictures into vectors, in pool `gpu`; a Spark application for each group of shards |
| `train` | plans the parts of the new base segment, and trains the quantizer that they share, unless a kept one fits |
| `index` | writes the parts; a Spark application for each group of parts |
| `seal` | makes the parts one segment, and loads the engine with it if there is one |
| `evaluate` | the gate: recall against exact search, and how many products are left |
| `publish` | makes the candidate a version, serves it, prunes old ones; in pool `publish` |

**Reads** the catalog named by the parameter `catalog`, or by `LOOKALIKE_CATALOG`. **Writes** the workspace, where every
step records what it has done, and a version under `releases`. A step does only what earlier runs have not done: clear
any task and the run continues from there; a run on an unchanged catalog of up to a million
products changes nothing and starts no Spark.

**When:** every night at 02:00 UTC. One run at a time. What changes during the day is published by `catalog_refresh`.
**By hand:** *Trigger* and fill in the form, or

    airflow dags trigger catalog_rebuild --conf '{"catalog": "/data/catalog.csv"}'

A run always builds the catalog as it is now, so a missed night needs no catching up. To process chosen products again,
or to move to another encoder, use `catalog_backfill`.

**When it fails:** a failed gate stops the run before `publish`, and the version being served stays; `report.html` in
the workspace says why. Errors that would occur again are not retried, others twice. A `publish` after which another
version is served sends an event of the asset `lookalike_release`. The connection `spark_default` decides where Spark
runs.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, chain, dag, task
from common import (
    DEFAULT_ARGS,
    GPU_POOL,
    PUBLICATION,
    PUBLISH_POOL,
    SPARK_CONNECTION,
    SparkStepOperator,
    announce,
    open_context,
    push_note,
    skip_run,
    spark_arguments,
    spark_submit_script,
)
from parameters import checked_params, rebuild_params, require_catalog, settings_from


@dag(
    dag_id="catalog_rebuild",
    dag_display_name="Catalog rebuild",
    description="From a catalog to a published release",
    doc_md=__doc__,
    # With `False`, Airflow 3.3 would start a DAG that is unpaused between 2:00 and 4:24 at once.
    schedule=CronTriggerTimetable("0 2 * * *", timezone="UTC", run_immediately=timedelta()),
    catchup=False,  # and no start_date: with one, a new DAG runs at once for the night before
    max_active_runs=1,  # runs share a workspace
    dagrun_timeout=timedelta(hours=24),
    default_args=DEFAULT_ARGS,
    params=rebuild_params(),
    tags=["lookalike", "release"],
)
def catalog_rebuild() -> None:
    @task
    def validate(**context: Any) -> list[list[str]]:
        """Validate the catalog; returns the arguments of a Spark application for each group of shards."""
        from jobs.catalog.step import run_catalog

        params = checked_params(context)
        require_catalog(params)
        push_note(context["ti"], run_catalog(open_context(params)).note)
        return spark_arguments(settings_from(params), params["groups"])

    @task
    def train(params: Any = None, ti: Any = None) -> list[list[str]]:
        """Plan the candidate's segment; returns the arguments of a Spark application for each group of its parts."""
        from jobs.index.parts import run_parts
        from jobs.index.train import run_train

        context = open_context(params)
        result = run_train(context)
        parts, note = len(result.report.parts), result.note
        if parts == 1:  # it takes less time than starting Spark
            note += f"; its part: {run_parts(context).note}"
        push_note(ti, note)
        return spark_arguments(settings_from(params), params["groups"], parts)

    @task
    def seal(params: Any = None, ti: Any = None) -> dict[str, Any]:
        """Complete the candidate's segment, and load the engine with it; each part of the work can be done again."""
        from jobs.index.seal import run_seal
        from jobs.load.step import run_load, uses_engine
        from jobs.rebase.step import run_rebase

        context = open_context(params)
        note = run_seal(context).note
        candidate = run_rebase(context).report
        if uses_engine(context):
            note += f"; {run_load(context).note}"
        push_note(ti, note)
        return {"segments": [segment.id for segment in candidate.segments], **candidate.counts.model_dump()}

    @task
    def evaluate(params: Any = None, ti: Any = None) -> dict[str, float]:
        """Stop the run if the candidate is not good enough."""
        from jobs.evaluate.step import run_evaluate

        result = run_evaluate(open_context(params))
        push_note(ti, result.note)
        return result.report.recall

    @task(pool=PUBLISH_POOL, outlets=[PUBLICATION])
    def publish(params: Any = None, ti: Any = None, outlet_events: Any = None) -> dict[str, Any]:
        """Serve the candidate."""
        from jobs.rebase.step import run_publish_rebased

        if not params["publish"]:
            skip_run("built and good enough; not published")
        result = run_publish_rebased(open_context(params))
        push_note(ti, result.note)
        if result.changed:
            announce(outlet_events, result.report.version)
        return {"version": result.report.version, "unchanged": result.report.unchanged}

    groups = validate()
    shards = "shards {{ task.application_args[2] }}"
    download = SparkStepOperator.partial(
        task_id="download",
        application=spark_submit_script(),
        conn_id=SPARK_CONNECTION,
        name="lookalike-download",
        map_index_template=shards,
    ).expand(application_args=groups.map(lambda group: ["download", *group]))
    embed = SparkStepOperator.partial(
        task_id="embed",
        application=spark_submit_script(),
        conn_id=SPARK_CONNECTION,
        name="lookalike-embed",
        pool=GPU_POOL,
        map_index_template=shards,
    ).expand(application_args=groups.map(lambda group: ["embed", *group]))
    parts = train()
    index = SparkStepOperator.partial(
        task_id="index",
        application=spark_submit_script(),
        conn_id=SPARK_CONNECTION,
        name="lookalike-index",
        map_index_template="parts {{ task.application_args[2] }}",
    ).expand(application_args=parts.map(lambda group: ["index", *group]))
    chain(download, embed, parts, index, seal(), evaluate(), publish())


catalog_rebuild()
