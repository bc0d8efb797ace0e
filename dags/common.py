"""Shared by all DAGs: default arguments, pool, assets, parameters, the context of a run, and the operator for Spark.

Airflow imports it whenever it parses a DAG file, so nothing heavy is imported at the top: `jobs` and the rest of
`artifacts` are imported by the tasks.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from datetime import timedelta
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import Asset, ExceptionRetryPolicy, Param, RetryAction, RetryRule

from artifacts.config import Codec
from artifacts.errors import LookalikeError
from artifacts.settings import Settings

if TYPE_CHECKING:
    from jobs.steps import StepContext

log = logging.getLogger(__name__)

#: One slot for each GPU. Airflow never starts a task whose pool does not exist: see airflow.env for how it is made.
GPU_POOL = "gpu"
POOLS = frozenset({"default_pool", GPU_POOL})
SPARK_CONNECTION = "spark_default"  # decides where Spark runs; the DAGs never do

#: An event of this asset announces a new catalog.
CATALOG = Asset("lookalike_catalog")
#: Gets an event when a release is published, so a build that fails triggers nothing.
RELEASE = Asset("lookalike_release")

#: Bad data, a failed gate, a wrong setting: the same error would occur again.
FINAL_ERRORS: list[type[BaseException] | str] = [LookalikeError, ValueError, TypeError, LookupError, ImportError]
DEFAULT_ARGS: dict[str, Any] = {
    "owner": "lookalike",
    "retries": 2,  # a network, a disk, a lost worker: finished work is kept, so trying again is cheap
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=15),
    "retry_policy": ExceptionRetryPolicy([RetryRule(FINAL_ERRORS, RetryAction.FAIL, reason="would fail again")]),
}

#: Key of the XCom that holds one line for people.
NOTE = "note"

#: Parameters that are settings of the same name.
_SETTINGS = ("releases", "workspace", "encoder", "codec", "shards")


def build_params() -> dict[str, Param]:
    """The parameters of a run of the pipeline; the defaults are the LOOKALIKE_ variables of the DAG processor."""
    settings = Settings()
    descriptions = {name: field.description for name, field in Settings.model_fields.items()}
    return {
        "catalog": Param(
            os.environ.get("LOOKALIKE_CATALOG"),
            type=["null", "string"],
            minLength=1,
            title="Catalog",
            description="CSV, Parquet or JSONL file, folder, or database URL. Without LOOKALIKE_CATALOG, required.",
        ),
        "releases": Param(
            settings.releases, type="string", minLength=1, title="Releases", description=descriptions["releases"]
        ),
        "workspace": Param(
            settings.workspace, type="string", minLength=1, title="Workspace", description=descriptions["workspace"]
        ),
        "encoder": Param(
            settings.encoder,
            type="string",
            pattern=r"^(sample|(open_clip|local-dir|timm|python):.+)$",
            title="Encoder",
            description=descriptions["encoder"],
        ),
        "codec": Param(
            settings.codec,
            type="string",
            enum=list(get_args(Codec)),
            title="Codec",
            description=descriptions["codec"],
        ),
        "shards": Param(
            settings.shards,
            type="integer",
            minimum=1,
            maximum=100_000,
            title="Shards",
            description=descriptions["shards"],
        ),
        "groups": Param(
            int(os.environ.get("LOOKALIKE_GROUPS", "1")),
            type="integer",
            minimum=1,
            maximum=1000,  # Airflow maps a task over at most 1024
            title="Groups of shards",
            description="Spark applications that a step is split in; they run side by side, and fail one by one.",
        ),
    }


def settings_from(params: Mapping[str, Any]) -> Settings:
    """Return the worker's settings, overridden by the run's parameters of the same names."""
    return Settings(**{name: params[name] for name in _SETTINGS})


def open_context(params: Mapping[str, Any]) -> StepContext:
    """Return the context of a run's steps."""
    from jobs.steps import StepContext

    return StepContext.open(settings_from(params).pipeline, params.get("catalog") or "")


def push_note(task_instance: Any, note: str) -> None:
    """Publish a step's note in the task's log, and as an XCom for Airflow's pages and `lookalike demo`."""
    log.info("result: %s", note)
    task_instance.xcom_push(key=NOTE, value=note)


class SparkStepOperator(SparkSubmitOperator):
    """Submits a step's group of shards to Spark; without a shard that has work to do, it submits nothing.

    Its `application_args` are the step and one of the lists of `spark_arguments`.
    """

    def execute(self, context: Any) -> None:
        from jobs.download.step import plan_download
        from jobs.embed.step import plan_embed
        from jobs.spark_submit import parse_shards
        from jobs.workspace.shards import ShardTotals

        step, _, shards = (self.application_args or [])[:3]
        steps = open_context(context["params"])
        chosen = parse_shards(shards, steps.workspace.shards)
        plan = plan_download(steps, chosen) if step == "download" else plan_embed(steps, chosen)
        began = time.monotonic()
        reports = list(plan.unchanged)
        if plan.changed:
            before = steps.workspace.step_reports(step)
            super().execute(context)
            written = [report for report in steps.workspace.step_reports(step) if report not in before]
            reports += [report for report in written if report.shard in plan.changed]
        verb = "fetched" if step == "download" else "embedded"
        push_note(context["ti"], ShardTotals(reports, time.monotonic() - began).note("pictures", verb))


def spark_submit_script() -> str:
    """Return the path of the script for spark-submit, wherever the package `jobs` is installed."""
    spec = find_spec("jobs")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the package `jobs` is not installed where Airflow runs: pip install lookalike[pipeline]")
    return str(Path(spec.submodule_search_locations[0]) / "spark_submit.py")


def spark_arguments(settings: Settings, groups: int) -> list[list[str]]:
    """Return, for each group of shards, the arguments of `jobs/spark_submit.py` after the step.

    Every setting that is not the default is among them: the driver may run without this process's variables.
    """
    changed = settings.model_dump(exclude_defaults=True, exclude={"shards", "workspace"})
    shared = ["--workspace", settings.workspace, "--set", f"shards={settings.shards}"]
    for name, value in changed.items():
        shared += ["--set", f"{name}={value}"]
    groups = min(groups, settings.shards)
    bounds = [settings.shards * group // groups for group in range(groups + 1)]
    return [["--shards", f"{first}-{last - 1}", *shared] for first, last in pairwise(bounds)]
