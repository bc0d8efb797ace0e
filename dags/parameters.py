"""The parameters of the DAGs, their checks, and what they become: settings and a selection of products.

Their defaults are the LOOKALIKE_ variables of the DAG processor. Airflow checks each against its JSON schema when a run
is triggered; what a schema cannot say, the first task of a run checks before it does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

from airflow.sdk import Param

from artifacts.config import Codec
from artifacts.errors import CatalogError, InputError
from artifacts.settings import Settings

if TYPE_CHECKING:
    from jobs.download.refetch import Refetch

#: Parameters that are settings of the same name.
_SETTINGS = ("releases", "workspace", "encoder", "codec", "shards")
_ENCODER_PATTERN = r"^(sample|(open_clip|local-dir|timm|python):.+)$"
#: Begins of what Airflow renders in a task's arguments, and never in a run's conf.
_TEMPLATES = ("{{", "{%")


def shared_params() -> dict[str, Param]:
    """The parameters of every DAG."""
    settings = Settings()
    descriptions = {name: field.description for name, field in Settings.model_fields.items()}
    return {
        "catalog": Param(
            os.environ.get("LOOKALIKE_CATALOG"),
            type=["null", "string"],
            minLength=1,
            title="Catalog",
            description="File, folder, glob or database URL; {date} stands for the date of a partition. Without "
            "LOOKALIKE_CATALOG, required.",
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
            pattern=_ENCODER_PATTERN,
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
        "changes_only": Param(
            bool(changes),
            type="boolean",
            title="Changes only",
            description="The catalog names only what has changed; products that it lacks stay. On if LOOKALIKE_CHANGES "
            "names the catalog.",
        ),
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
        "product_ids": _names("Products", "Ids of the products to process."),
        "categories": _names("Categories", "Categories whose products are processed."),
        "date_from": _date("From", "First date: of updated_at, or of the partitions if the catalog has {date}."),
        "date_to": _date("To", "Last date, included."),
        "redownload": _switch("Download again", "Fetch the pictures again although their URLs are the same."),
        "reembed": _switch("Embed again", "Compute the vectors again although the pictures are the same."),
        "encoder": Param(
            None,
            type=["null", "string"],
            pattern=_ENCODER_PATTERN,
            title="New encoder",
            description="Embed every product with this encoder, beside the served release. Empty: the encoder stays.",
        ),
        "dry_run": _switch("Dry run", "Print the work that the run would do, and do none of it."),
    }


def _names(title: str, description: str) -> Param:
    items = {"type": "string", "minLength": 1}
    return Param(None, type=["null", "array"], items=items, minItems=1, title=title, description=description)


def _date(title: str, description: str) -> Param:
    return Param(None, type=["null", "string"], format="date", title=title, description=f"{description} YYYY-MM-DD.")


def _switch(title: str, description: str) -> Param:
    return Param(False, type="boolean", title=title, description=description)


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
        if key not in declared:
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
    return Settings(**{name: params[name] for name in _SETTINGS if params.get(name) is not None})


def refetch_from(params: Mapping[str, Any]) -> Refetch:
    """Return the products whose pictures are fetched again."""
    from jobs.download.refetch import Refetch

    return Refetch(
        frozenset(params["refetch_products"] or ()),
        frozenset(params["refetch_categories"] or ()),
        params["refetch_all"],
    )
