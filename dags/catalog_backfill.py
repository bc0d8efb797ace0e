r"""
### Chosen products again, days of a catalog, or a new encoder

| step | does |
|---|---|
| `backfill` | checks the parameters; processes the chosen products again and publishes them; in pool `publish` |
| `rebuild` | with a new encoder: runs `catalog_rebuild` with it, and waits for it |

**Reads** the catalog named by the parameter `catalog`, or by `LOOKALIKE_CATALOG`. **Writes** a version under
`releases`: the served base and a new delta, or with a new encoder a new base.

**When:** on demand. *Trigger* and fill in the form, or

    airflow dags trigger catalog_backfill --conf '{"product_ids": ["p17", "p18"], "redownload": true}'
    airflow dags trigger catalog_backfill --conf '{"categories": ["shoes"], "reembed": true, "dry_run": true}'
    airflow dags trigger catalog_backfill --conf '{"date_from": "2026-11-01", "date_to": "2026-11-07"}'
    airflow dags trigger catalog_backfill --conf '{"encoder": "open_clip:ViT-L-14/laion2b_s32b_b82k"}'

`product_ids`, `categories` and dates are met together. Dates are days, both included: of `updated_at`, or, if the
catalog has `{date}`, of its partitions, which are applied in order. `redownload` fetches the pictures again, `reembed`
embeds them again, too. `dry_run` prints the work and does none of it. Parameters that contradict each other are refused
before anything is done.

**Days of a catalog with `{date}`**, as Airflow's own backfill, with a run for each day:

    airflow backfill create --dag-id catalog_backfill --from-date 2026-11-01 --to-date 2026-11-07 --max-active-runs 1 \
      --dag-run-conf '{"changes_only": true}'

applies `…/date=2026-11-01/` to `…/date=2026-11-07/`; the partition key of a run is its day. `changes_only` says that a
day holds only what has changed. With `--max-active-runs 1` the days are applied in order, which rows without
`updated_at` need; a day that fails does not stop the next one, and `--reprocess-behavior failed` repeats it. Airflow
also makes a run for each day that passes; it is skipped.

**A new encoder** builds a release beside the served one, by `catalog_rebuild`: in pool `gpu`, with Spark where the
connection `spark_default` says. It goes live if it passes the gate; without `publish`, a later run with `publish`
makes it live at once. Servers encode a query with the encoder of the release that answers it, and
`lookalike releases rollback` goes back at once. Afterwards set `LOOKALIKE_ENCODER`: until then refreshes refuse to mix
encoders, and the next rebuild would go back to the old one.

**When it fails:** what is served stays. A failed gate, bad data or a wrong parameter fails at once; other errors, and a
publication that another one came before, are tried again twice.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import CronPartitionTimetable, dag, task
from common import DEFAULT_ARGS, PUBLICATION, PUBLISH_POOL, announce, log, open_context, push_note, skip_run
from parameters import SETTINGS, backfill_params, backfill_requests, checked_params, require_catalog


@dag(
    dag_id="catalog_backfill",
    dag_display_name="Catalog backfill",
    description="Processes chosen products again, or all of them with a new encoder",
    doc_md=__doc__,
    # It gives Airflow's backfill its days.
    schedule=CronPartitionTimetable("0 0 * * *", timezone="UTC", key_format="%Y-%m-%d"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=48),
    default_args=DEFAULT_ARGS,
    params=backfill_params(),
    tags=["lookalike", "release"],
)
def catalog_backfill() -> None:
    @task.branch(pool=PUBLISH_POOL, outlets=[PUBLICATION])
    def backfill(**context: Any) -> str | None:
        """Process the chosen products again, and publish them; returns the task that follows for a new encoder."""
        from jobs.backfill.step import plan_backfill, run_backfill

        params, ti = checked_params(context), context["ti"]
        if context["dag_run"].run_type == "scheduled":
            skip_run("runs on demand; for days of a catalog: airflow backfill create")
        require_catalog(params)
        requests = backfill_requests(context)
        steps = open_context(params)
        if params["dry_run"]:
            plans = [plan_backfill(steps, request) for request in requests]
            lines = [line for plan in plans for line in plan.lines()]
            log.info("dry run\n%s", "\n".join(lines))
            push_note(ti, "dry run: " + "; ".join(" ".join(line.split()) for line in lines))
            return None
        if params["encoder"]:
            shared = ("catalog", "publish", *SETTINGS)
            ti.xcom_push(key="conf", value={name: params[name] for name in shared})
            return "rebuild"
        results = [run_backfill(steps, request) for request in requests]
        push_note(ti, "; ".join(result.note for result in results))
        if not any(result.changed for result in results):
            skip_run("nothing has changed")
        announce(context["outlet_events"], results[-1].report.version)
        return None

    TriggerDagRunOperator(
        task_id="rebuild",
        trigger_dag_id="catalog_rebuild",
        conf=backfill()["conf"],  # type: ignore[index]
        wait_for_completion=True,
        deferrable=True,  # without a worker's slot for hours
        poke_interval=20,
        openlineage_inject_parent_info=False,
        retries=0,  # it would start another rebuild
    )


catalog_backfill()
