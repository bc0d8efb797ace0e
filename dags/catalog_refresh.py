"""
### What the catalog has changed, published within minutes

| step | does |
|---|---|
| `refresh` | publishes what the catalog has changed since the last release; in pool `publish` |

It compares the catalog with the served release, fetches and embeds the pictures that are new, writes the next delta,
measures base and delta, and publishes them if they are good enough.

**Reads** the catalog named by the parameter `catalog`, by `LOOKALIKE_CHANGES` (a source that names only what has
changed), or by `LOOKALIKE_CATALOG`. Of a catalog with `{date}` it reads the newest partition that is complete, of a
source of changes all that came since the last run.
**Writes** a version under `releases`: the base that is served, and a delta with all that has changed since the base was
built. The cost follows what has changed; a price moves no vector. Where more pictures are new than one process should
fetch, it starts Spark, where the connection `spark_default` says.

**When:** every 15 minutes (`LOOKALIKE_REFRESH_CRON`), and as soon as the asset `lookalike_catalog` gets an event
(`POST /api/v2/assets/events`). One run at a time; events that come during a run start one more run after it. Each run
reads the whole catalog, or a source of changes from its position on, so that an event that is lost costs 15 minutes and
nothing else. A run that finds nothing to do ends in seconds: `refresh` is skipped, and no event is sent.
**By hand:** *Trigger* and fill in the form, or

    airflow dags trigger catalog_refresh --conf '{"refetch_products": ["p17"]}'

**When it fails:** what is served stays. A failed gate, bad data or a wrong setting fails at once; other errors, and a
publication that another one came before, are tried again twice. Pictures that were fetched are kept for the next run.
A run that has not ended 30 minutes after it was queued (`LOOKALIKE_DEADLINE_MINUTES`) is reported by
`report_late_run`: freshness is at risk. Before the first release there is nothing to refresh: run `catalog_rebuild`.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag, task
from common import (
    CATALOG,
    DEFAULT_ARGS,
    PUBLICATION,
    PUBLISH_POOL,
    RELEASE,
    announce,
    freshness_deadline,
    open_context,
    push_note,
    skip_run,
)
from parameters import checked_params, refetch_from, refresh_params, require_catalog

CRON = os.environ.get("LOOKALIKE_REFRESH_CRON", "*/15 * * * *")


@dag(
    dag_id="catalog_refresh",
    dag_display_name="Catalog refresh",
    description="Publishes what the catalog has changed",
    doc_md=__doc__,
    # Never by events alone: with one run at a time, events that come during a run can wait for one more event
    # (apache/airflow#56050).
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable(CRON, timezone="UTC"), assets=CATALOG),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=3),
    deadline=freshness_deadline(),
    default_args=DEFAULT_ARGS,
    params=refresh_params(),
    tags=["lookalike", "release"],
)
def catalog_refresh() -> None:
    @task(pool=PUBLISH_POOL, inlets=[RELEASE], outlets=[PUBLICATION])
    def refresh(**context: Any) -> dict[str, str]:
        """Publish what the catalog has changed; skipped if that is nothing."""
        from jobs.refresh.step import run_refresh

        params = checked_params(context)
        if not params["catalog"] and context["dag_run"].run_type == "scheduled":
            skip_run("no catalog: set LOOKALIKE_CATALOG")  # an Airflow that has just been set up
        require_catalog(params)
        changes_only, refetch = params["changes_only"], refetch_from(params)
        result = run_refresh(open_context(params), changes_only=changes_only, refetch=refetch)
        push_note(context["ti"], result.note)
        if not result.changed:
            skip_run(result.note)
        return announce(context["outlet_events"], result.report.version)

    refresh()


catalog_refresh()
