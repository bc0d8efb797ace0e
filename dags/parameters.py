"""The parameters of the DAGs, their checks, and what they become: settings and a selection of products.

Their defaults are the LOOKALIKE_ variables of the DAG processor. Airflow checks each against its JSON schema when a run
is triggered; what a schema cannot say, the first task of a run checks before it does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

from airflow.sdk import Param

from artifacts.config import Codec, EngineKind
from artifacts.errors import CatalogError, InputError
from artifacts.settings import Settings

if TYPE_CHECKING:
    from jobs.backfill.request import BackfillRequest
    from jobs.download.refetch import Refetch

#: Parameters that are settings of the same name.
SETTINGS = ("releases", "workspace", "encoder", "codec", "shards", "engine", "engine_url")
_ENCODER_PATTERN = r"^(sample|(open_clip|local-dir|timm|python):.+)$"
#: Airflow records what it does not refuse.
_NO_CREDENTIALS_PATTERN = r"^[^@]*$"
#: What Airflow itself adds to the conf of a run that another DAG triggers.
_RESERVED = frozenset({"openlineage"})
#: Begins of what Airflow renders in a task's arguments, and never in a run's conf.
_TEMPLATES = ("{{", "{%")


def shared_params() -> dict[str, Param]:
    """The parameters of every DAG."""
    catalog = Param(
        os.environ.get("LOOKALIKE_CATALOG"),
        type=["null", "string"],
        minLength=1,
        title="Catalog",
        description="File, folder, glob or database URL; {date} stands for the date of a partition. Without "
        "LOOKALIKE_CATALOG, required.",
    )
    settings = Settings()
    descriptions = {name: field.description for name, field in Settings.model_fields.items()}

    def param(name: str, title: str, **schema: Any) -> Param:
        schema.setdefault("description", descriptions[name])
        return Param(getattr(settings, name), title=title, **schema)

    return {
        "catalog": catalog,
        "releases": param("releases", "Releases", type="string", minLength=1),
        "workspace": param("workspace", "Workspace", type="string", minLength=1),
        "encoder": param("encoder", "Encoder", type="string", pattern=_ENCODER_PATTERN),
        "codec": param("codec", "Codec", type="string", enum=list(get_args(Codec))),
        "shards": param("shards", "Shards", type="integer", minimum=1, maximum=100_000),
        "engine": param("engine", "Engine", type="string", enum=list(get_args(EngineKind))),
        "engine_url": param(
            "engine_url",
            "Engine's address",
            type="string",
            pattern=_NO_CREDENTIALS_PATTERN,
            description=f"{descriptions['engine_url']} Its credential is LOOKALIKE_ENGINE_KEY, where tasks run.",
        ),
    }


def rebuild_params() -> dict[str, Param]:
    """The parameters of `catalog_rebuild`."""
    return shared_params() | {
        "groups": Param(
            int(os.environ.get("LOOKALIKE_GROUPS", "1")),
            type="integer",
            minimum=1,
            maximum=1000,  # Airflow maps a task over at most 1024
            title="Groups of shards",
            description="Spark applications that a step is split in; they run side by side, and fail one by one.",
        ),
        "publish": _publish_switch(),
    }


def refresh_params() -> dict[str, Param]:
    """The parameters of `catalog_refresh`."""
    params = shared_params()
    changes = os.environ.get("LOOKALIKE_CHANGES")
    if changes:
        params["catalog"] = Param(
            changes, type=["null", "string"], minLength=1, title="Catalog", description="Source of the changes."
        )
    return params | {
        "changes_only": _changes_switch(bool(changes)),
        "refetch_products": _names("Refetch products", "Ids of products whose pictures are downloaded again."),
        "refetch_categories": _names("Refetch categories", "Categories whose pictures are downloaded again."),
        "refetch_all": _switch("Refetch all", "Download every picture again."),
    }


def compact_params() -> dict[str, Param]:
    """The parameters of `catalog_compact`."""
    params = shared_params()
    del params["catalog"]
    return params | {
        "if_due": Param(
            True,
            type="boolean",
            title="Only if due",
            description="Leave a delta that is small and young as it is. Off: compact any delta.",
        )
    }


def backfill_params() -> dict[str, Param]:
    """The parameters of `catalog_backfill`."""
    return shared_params() | {
        "changes_only": _changes_switch(False),
        "product_ids": _names("Products", "Ids of the products to process."),
        "categories": _names("Categories", "Categories whose products are processed."),
        "date_from": _date("From", "First day: of updated_at, or of the partitions if the catalog has {date}."),
        "date_to": _date("To", "Last day, included."),
        "redownload": _switch("Download again", "Fetch the pictures again although their URLs are the same."),
        "reembed": _switch("Embed again", "Compute the vectors again although the pictures are the same."),
        "encoder": Param(
            None,
            type=["null", "string"],
            pattern=_ENCODER_PATTERN,
            title="New encoder",
            description="Build a release of all products with this encoder. Empty: the encoder stays.",
        ),
        "dry_run": _switch("Dry run", "Print the work that the run would do, and do none of it."),
        "publish": _publish_switch(),
    }


def _names(title: str, description: str) -> Param:
    items = {"type": "string", "minLength": 1}
    return Param(None, type=["null", "array"], items=items, minItems=1, title=title, description=description)


def _date(title: str, description: str) -> Param:
    return Param(None, type=["null", "string"], format="date", title=title, description=f"{description} YYYY-MM-DD.")


def _switch(title: str, description: str, default: bool = False) -> Param:
    return Param(default, type="boolean", title=title, description=description)


def _changes_switch(default: bool) -> Param:
    description = "The catalog names only what has changed; products that it lacks stay."
    return _switch("Changes only", description, default)


def _publish_switch() -> Param:
    description = "Serve what is built. Off: build and measure it; a later run with the same parameters publishes it."
    return _switch("Publish", description, default=True)


# ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def checked_params(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a run, after checks that Airflow does not make: it ignores keys of a run's conf that are
    no parameters (apache/airflow#29018), and passes templates on as they are.

    Args:
        context: Airflow's, of a task.

    Raises:
        InputError: names the key and the parameter of the nearest name, or the parameter with a template.
    """
    params, declared = context["params"], context["dag"].params
    for key in context["dag_run"].conf or {}:
        if key not in declared and key not in _RESERVED:
            near = get_close_matches(key, declared, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(declared)}"
            raise InputError(f"conf: there is no parameter {key!r}; {hint}")
    for name, value in params.items():
        for text in _texts(value):
            if any(begin in text for begin in _TEMPLATES):
                raise InputError(
                    f"parameter {name!r}: {text!r} looks like a template, which Airflow does not render in "
                    "parameters; write the value itself, or {date} for the date of a partition of the catalog"
                )
    return params


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def require_catalog(params: Mapping[str, Any]) -> None:
    """Raise CatalogError if a run has no catalog."""
    if not params["catalog"]:
        raise CatalogError("no catalog: trigger with the parameter `catalog`, or set LOOKALIKE_CATALOG")


# ── what they become ─────────────────────────────────────────────────────────────────────────────────────────────────


def settings_from(params: Mapping[str, Any]) -> Settings:
    """Return the worker's settings, overridden by the run's parameters of the same names."""
    return Settings(**{name: params[name] for name in SETTINGS if params.get(name) is not None})


def refetch_from(params: Mapping[str, Any]) -> Refetch:
    """Return the products whose pictures are fetched again."""
    from jobs.download.refetch import Refetch

    return Refetch(
        frozenset(params["refetch_products"] or ()),
        frozenset(params["refetch_categories"] or ()),
        params["refetch_all"],
    )


def backfill_requests(context: Mapping[str, Any]) -> list[BackfillRequest]:
    """Return what a run of `catalog_backfill` is asked to do, in order: one request, or one for each partition.

    Args:
        context: Airflow's, of a task; its parameters have been checked.

    Raises:
        InputError: parameters contradict each other.
        CatalogError: a partition does not exist, or is not complete.
        StepFailed: as of `BackfillRequest.validate`.
    """
    from jobs.backfill.request import BackfillRequest
    from jobs.catalog.sources.dates import has_date, resolve_dates

    params, run = context["params"], context["dag_run"]
    first, last = (day and date.fromisoformat(day) for day in (params["date_from"], params["date_to"]))
    if first and last and last < first:
        raise InputError(f"date_to {last} is before date_from {first}")
    if run.partition_key:
        if first or last:
            raise InputError(f"date_from and date_to: the run's partition is {run.partition_key}; leave them out")
        first = last = date.fromisoformat(run.partition_key)
    request = BackfillRequest(
        product_ids=frozenset(params["product_ids"] or ()),
        categories=frozenset(params["categories"] or ()),
        redownload=params["redownload"],
        reembed=params["reembed"],
        encoder=params["encoder"],
        changes_only=params["changes_only"],
    )
    if run.partition_key or (has_date(params["catalog"]) and (first or last)):
        if not (first and last):
            raise InputError("date_from and date_to: for partitions of the catalog, give both")
        resolve_dates(params["catalog"], first, last)
        requests = [replace(request, day=day) for day in days_between(first, last)]
    else:
        requests = [replace(request, updated_from=_midnight(first), updated_before=_midnight(last, days=1))]
    for each in requests:
        each.validate()
    if not (params["publish"] or params["encoder"] or params["dry_run"]):
        raise InputError("publish: only a release with a new encoder can be built without publishing; see dry_run")
    if requests == [BackfillRequest(changes_only=params["changes_only"])]:
        raise InputError(
            "nothing to do: name product_ids, categories, date_from or date_to, or set redownload, reembed or encoder"
        )
    return requests


def days_between(first: date, last: date) -> list[date]:
    """Return the days from `first` to `last`, both included."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _midnight(day: date | None, days: int = 0) -> datetime | None:
    """Return the moment at which a day begins, or one that is `days` later."""
    return day and datetime.combine(day, time.min, UTC) + timedelta(days=days)
