"""What the DAGs share: default arguments, pool, assets, parameters, and the way from parameters to settings.

Imported whenever Airflow parses a DAG file: nothing heavy at the top. `jobs` and the rest of `artifacts` are imported
by the tasks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from airflow.sdk import Asset, ExceptionRetryPolicy, Param, RetryAction, RetryRule

from artifacts.errors import LookalikeError
from artifacts.settings import Codec, Settings

if TYPE_CHECKING:
    from artifacts.storage import Folder
    from artifacts.store.store import Store

#: One slot for each GPU. Airflow never starts a task whose pool does not exist: see airflow.env for how it is made.
GPU_POOL = "gpu"
POOLS = frozenset({"default_pool", GPU_POOL})
SPARK_CONNECTION = "spark_default"  # says which Spark: the DAGs never do

#: Whoever delivers a catalog announces it with an event of this asset.
CATALOG = Asset("lookalike_catalog")
#: Gets an event when a release is published, so a build that fails wakes nobody.
RELEASE = Asset("lookalike_release")

#: Bad data, a failed gate, a wrong setting: the same error would come again.
FINAL_ERRORS: list[type[BaseException] | str] = [LookalikeError, ValueError, TypeError, LookupError, ImportError]
DEFAULT_ARGS: dict[str, Any] = {
    "owner": "lookalike",
    "retries": 2,  # a network, a disk, a lost worker: what was done is found done, so trying again is cheap
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=15),
    "retry_policy": ExceptionRetryPolicy([RetryRule(FINAL_ERRORS, RetryAction.FAIL, reason="would fail again")]),
}

#: Parameters that are settings of the same name.
_SETTINGS = ("releases", "workspace", "encoder", "codec", "shards")


def build_params() -> dict[str, Param]:
    """What a run of the pipeline can be told; the defaults are the LOOKALIKE_ variables of the DAG processor."""
    settings = Settings()
    about = {name: field.description for name, field in Settings.model_fields.items()}
    return {
        "catalog": Param(
            os.environ.get("LOOKALIKE_CATALOG"),
            type=["null", "string"],
            minLength=1,
            title="Catalog",
            description="CSV, Parquet or JSONL file, folder, or database URL. Without LOOKALIKE_CATALOG, required.",
        ),
        "releases": Param(
            settings.releases, type="string", minLength=1, title="Releases", description=about["releases"]
        ),
        "workspace": Param(
            settings.workspace, type="string", minLength=1, title="Workspace", description=about["workspace"]
        ),
        "encoder": Param(
            settings.encoder,
            type="string",
            pattern=r"^(sample|(open_clip|local-dir|timm|python):.+)$",
            title="Encoder",
            description=about["encoder"],
        ),
        "codec": Param(
            settings.codec,
            type="string",
            enum=list(get_args(Codec)),
            title="Codec",
            description=about["codec"],
        ),
        "shards": Param(
            settings.shards,
            type="integer",
            minimum=1,
            maximum=100_000,
            title="Shards",
            description=about["shards"],
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
    """The worker's settings, with the run's parameters in place of those of the same name."""
    return Settings(**{name: params[name] for name in _SETTINGS})


def opened(params: Mapping[str, Any]) -> tuple[Settings, Folder, Store]:
    """The settings, workspace and releases of a run."""
    from artifacts.store.store import Store
    from jobs.workspace import open_workspace

    settings = settings_from(params)
    return settings, open_workspace(settings.workspace, settings.shards), Store(settings.releases, settings.cache)


def spark_submit_script() -> str:
    """The script for spark-submit, wherever the package `jobs` is installed."""
    spec = find_spec("jobs")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the package `jobs` is not installed where Airflow runs: pip install lookalike[pipeline]")
    return str(Path(spec.submodule_search_locations[0]) / "spark_submit.py")


def spark_arguments(settings: Settings, groups: int) -> list[list[str]]:
    """For each group of shards, what `jobs/spark_submit.py` is to be told besides the step.

    Every setting that is not the default goes along: the driver may run where none of our variables are set.
    """
    chosen = settings.model_dump(exclude_defaults=True, exclude={"shards", "workspace"})
    shared = ["--workspace", settings.workspace, "--set", f"shards={settings.shards}"]
    for name, value in chosen.items():
        shared += ["--set", f"{name}={value}"]
    groups = min(groups, settings.shards)
    bounds = [settings.shards * group // groups for group in range(groups + 1)]
    return [["--shards", f"{first}-{last - 1}", *shared] for first, last in pairwise(bounds)]


def counted(counts: Mapping[str, int]) -> str:
    """`3 bad_price, 1 no_image`, for a log line."""
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items()) or "none"
