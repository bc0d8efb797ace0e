"""
### Base and delta merged into a new base

| step | does |
|---|---|
| `compact` | merges the served base and delta into a new base, and publishes it; in pool `publish` |

**Reads** the served release. **Writes** a version under `releases`. Vectors and codes are copied: nothing is downloaded
or embedded, and no catalog is read. What a search pays for freshness grows with the delta; after this it is nothing
again. A refresh that is published meanwhile becomes the new base's delta.

**When:** every hour, if the delta has reached `compact_share` of the base, or is `compact_hours` old; and every night
at 04:30 UTC whatever its size. Otherwise `compact` is skipped, and no event is sent. One run at a time. **By hand:**
*Trigger* and fill in the form, or

    airflow dags trigger catalog_compact --conf '{"if_due": false}'

The lists of the index stay those that the base was trained with. Where the products have moved away from them
(`max_drift`), a warning says so: `catalog_rebuild` trains anew.

**When it fails:** what is served stays, and the next run merges it. A failed gate or a damaged file fails at once;
other errors, and a publication that others overtook, are tried again twice.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, task
from common import DEFAULT_ARGS, PUBLICATION, PUBLISH_POOL, RELEASE, announce, log, open_context, push_note, skip_run
from parameters import checked_params, compact_params, settings_from

#: The hour, UTC, of the run that asks for no reason: before it, the rebuild of 02:00 has made most deltas small.
NIGHT = 4


@dag(
    dag_id="catalog_compact",
    dag_display_name="Catalog compaction",
    description="Merges base and delta into a new base",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("30 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=6),
    default_args=DEFAULT_ARGS,
    params=compact_params(),
    tags=["lookalike", "release"],
)
def catalog_compact() -> None:
    @task(pool=PUBLISH_POOL, inlets=[RELEASE], outlets=[PUBLICATION])
    def compact(**context: Any) -> dict[str, str]:
        """Publish the served release with its delta merged into its base; skipped if there is no reason to."""
        from jobs.compact.step import run_compact

        params, run = checked_params(context), context["dag_run"]
        at_night = run.run_type == "scheduled" and run.run_after.hour == NIGHT
        result = run_compact(open_context(params), if_due=params["if_due"] and not at_night)
        push_note(context["ti"], result.note)
        drift, allowed = result.report.drift, settings_from(params).max_drift
        if drift is not None and drift >= allowed:
            log.warning("drift %.1f%% of the quantizer is above max_drift %.0f%%: rebuild", 100 * drift, 100 * allowed)
        if not result.changed:
            skip_run(result.note)
        return announce(context["outlet_events"], result.report.version)

    compact()


catalog_compact()
