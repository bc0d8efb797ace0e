"""Shared by all DAGs: default arguments, pools, assets, deadline, the context of a run, and the operator for Spark.

Airflow imports it whenever it parses a DAG file, so nothing heavy is imported at the top: `jobs` and the rest of
`artifacts` are imported by the tasks.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import Asset, AssetAlias, ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowSkipException
from parameters import settings_from

from artifacts.errors import EngineUnavailable, LookalikeError, PublishConflict
from artifacts.settings import SECRETS, Settings

if TYPE_CHECKING:
    from jobs.steps import StepContext

log = logging.getLogger(__name__)

# Airflow never starts a task whose pool does not exist: see airflow.env for how they are made.
#: One slot for each GPU.
GPU_POOL = "gpu"
#: One slot: a task that publishes waits until no other does. What makes two publications safe is PublishConflict; the
#: pool makes it rare.
PUBLISH_POOL = "publish"
POOLS = frozenset({"default_pool", GPU_POOL, PUBLISH_POOL})
SPARK_CONNECTION = "spark_default"  # decides where Spark runs; the DAGs never do

#: An event of this asset announces that the catalog has changed.
CATALOG = Asset("lookalike_catalog")
#: Gets an event when another release is served, and only then. Airflow lists it because tasks have it as an inlet.
RELEASE = Asset("lookalike_release")
#: The outlet of tasks that may publish: a success sends no event of its own, as it would with RELEASE as the outlet;
#: `announce` adds one.
PUBLICATION = AssetAlias("lookalike_publication")

#: Bad data, a failed gate, a wrong setting: the same error would occur again.
FINAL_ERRORS: list[type[BaseException] | str] = [LookalikeError, ValueError, TypeError, LookupError, ImportError]
DEFAULT_ARGS: dict[str, Any] = {
    "owner": "lookalike",
    "retries": 2,  # a network, a disk, a lost worker: finished work is kept, so trying again is cheap
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=15),
    "retry_policy": ExceptionRetryPolicy(  # the first rule that matches counts
        [
            RetryRule(PublishConflict, RetryAction.RETRY, reason="another publication came first"),
            RetryRule(EngineUnavailable, RetryAction.RETRY, reason="the engine did not answer"),
            RetryRule(FINAL_ERRORS, RetryAction.FAIL, reason="would fail again"),
        ]
    ),
}

#: Key of the XCom that holds one line for people.
NOTE = "note"


def freshness_deadline() -> Any:
    """Return the alert for runs that have not ended LOOKALIKE_DEADLINE_MINUTES after they were queued, those that wait
    for the pool among them.

    None with 0 minutes, or if Airflow has no alerts: deadlines are experimental, and `airflow dags test` fails on a DAG
    that has one (apache/airflow#73428).
    """
    minutes = float(os.environ.get("LOOKALIKE_DEADLINE_MINUTES", "30"))
    try:
        from airflow.sdk import (  # the SDK's type stub lacks them
            DeadlineAlert,  # pyright: ignore[reportAttributeAccessIssue]
            DeadlineReference,  # pyright: ignore[reportAttributeAccessIssue]
            SyncCallback,  # pyright: ignore[reportAttributeAccessIssue]
        )
    except ImportError:
        return None
    if minutes <= 0:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(minutes=minutes),
        callback=SyncCallback(report_late_run, kwargs={"minutes": minutes}),
    )


def report_late_run(minutes: float, context: Mapping[str, Any]) -> None:
    """Log that a run is late. Airflow calls it, and counts the metric `deadline_alerts.deadline_missed`."""
    run = context["dag_run"]
    log.error(
        "freshness at risk: run %s of %s is %s %g minutes after it was queued; see its tasks, and what holds the pool "
        "`%s`",
        run["dag_run_id"], run["dag_id"], run["state"], minutes, PUBLISH_POOL,
    )  # fmt: skip


def open_context(params: Mapping[str, Any]) -> StepContext:
    """Return the context of a run's steps."""
    from jobs.steps import StepContext

    context = StepContext.open(settings_from(params).pipeline, params.get("catalog") or "")
    return replace(context, spark=start_spark)


def start_spark() -> Any:
    """Return a Spark session, started where the connection says: for work that is too much for one process."""
    from airflow.sdk import Connection

    from jobs.spark.launcher import SparkLauncher

    connection = Connection.get(SPARK_CONNECTION)
    master = connection.host or ""
    if "://" not in master and (connection.conn_type != "spark" or connection.port):
        master = f"{connection.conn_type}://{master}"  # a connection that was made from a URI has its scheme as type
    if connection.port:
        master = f"{master}:{connection.port}"
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--master {master} pyspark-shell"
    return SparkLauncher("lookalike")()


def push_note(task_instance: Any, note: str) -> None:
    """Publish a step's note in the task's log, and as an XCom for Airflow's pages and `lookalike demo`."""
    log.info("result: %s", note)
    task_instance.xcom_push(key=NOTE, value=note)


def skip_run(note: str) -> NoReturn:
    """End a task that has found nothing to do: Airflow's pages tell it from one that has published."""
    raise AirflowSkipException(note)


def announce(outlet_events: Any, version: str) -> dict[str, str]:
    """Send the event of RELEASE once the task has succeeded; PUBLICATION must be among its outlets.

    Returns:
        The event's extra.
    """
    published = {"version": version}
    outlet_events[PUBLICATION].add(RELEASE, extra=published)
    return published


#: What the units of a step on Spark are, and what has been done to them.
_NOTES = {"download": ("pictures", "fetched"), "embed": ("pictures", "embedded")}


class SparkStepOperator(SparkSubmitOperator):
    """Submits a step's group of shards to Spark; without a shard that has work to do, it submits nothing.

    Its `application_args` are the step and one of the lists of `spark_arguments`.
    """

    def execute(self, context: Any) -> None:
        from jobs.download.step import plan_download
        from jobs.embed.step import plan_embed
        from jobs.index.parts import parts_note, plan_parts
        from jobs.spark_submit import count_shards, parse_shards
        from jobs.workspace.shards import ShardTotals

        step, _, shards = (self.application_args or [])[:3]
        steps = open_context(context["params"])
        chosen = parse_shards(shards, count_shards(steps, step))
        plan = {"download": plan_download, "embed": plan_embed, "index": plan_parts}[step](steps, chosen)
        began = time.monotonic()
        reports = list(plan.unchanged)
        if plan.changed:
            before = steps.workspace.step_reports(step)
            super().execute(context)
            written = [report for report in steps.workspace.step_reports(step) if report not in before]
            reports += [report for report in written if report.shard in plan.changed]
        totals = ShardTotals(reports, time.monotonic() - began)
        push_note(context["ti"], parts_note(totals) if step == "index" else totals.note(*_NOTES[step]))


def spark_submit_script() -> str:
    """Return the path of the script for spark-submit, wherever the package `jobs` is installed."""
    spec = find_spec("jobs")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the package `jobs` is not installed where Airflow runs: pip install lookalike[pipeline]")
    return str(Path(spec.submodule_search_locations[0]) / "spark_submit.py")


def spark_arguments(settings: Settings, groups: int, shards: int | None = None) -> list[list[str]]:
    """Return, for each group of shards, the arguments of `jobs/spark_submit.py` after the step.

    Every setting that is not the default is among them, since the driver may run without this process's variables; but
    for credentials, which anybody on a machine can read in arguments: the driver needs the variables of those.

    Args:
        groups: the most groups; with fewer shards, there are as many groups as shards.
        shards: of the step; those of the settings by default.
    """
    changed = settings.model_dump(exclude_defaults=True, exclude={"shards", "workspace", *SECRETS})
    shared = ["--workspace", settings.workspace, "--set", f"shards={settings.shards}"]
    for name, value in changed.items():
        shared += ["--set", f"{name}={value}"]
    shards = shards or settings.shards
    groups = min(groups, shards)
    bounds = [shards * group // groups for group in range(groups + 1)]
    return [["--shards", f"{first}-{last - 1}", *shared] for first, last in pairwise(bounds)]
