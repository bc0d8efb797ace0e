"""Asks servers whether old pictures have changed behind their URLs, a shard of the workspace in each refresh."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from artifacts.errors import StepFailed
from artifacts.schema import OK, picture_source
from jobs.candidate import load_candidate
from jobs.catalog.report import read_catalog_report
from jobs.download.step import download_shard
from jobs.parquet import read_parquet
from jobs.refresh.served import State
from jobs.steps import StepContext
from jobs.workspace.records import read_record, write_record
from jobs.workspace.workspace import Workspace

#: Record of a recheck whose pictures are not published yet: one that was killed is taken up again.
_RECORD = "recheck.json"


@dataclass(frozen=True)
class Recheck:
    """The shard whose pictures have been asked for, until the release has those that are new."""

    shard: int


def recheck_pictures(context: StepContext, state: State, now: datetime) -> frozenset[str] | None:
    """Ask for the pictures again that were fetched more than `recheck_days` ago, with conditional requests.

    Those of one shard of the last build are asked for, of the shard that has waited longest, `recheck_batch` of them at
    most: a refresh stays short, and with one every 15 minutes all shards have their turn. While a build is under way,
    or has failed, none is asked for: it reads what this would write.

    Returns:
        The products of the release that have another picture now; None if there was nothing to ask for.

    Raises:
        ShardConflict: a build has fetched the shard meanwhile; the next recheck compares what it has fetched.
    """
    days, workspace = context.config.download.recheck_days, context.workspace
    if not days or not _is_built(workspace):
        return None
    begun = read_record(workspace.folder, _RECORD, Recheck)
    shard = _longest_waiting(workspace, now - timedelta(days=days)) if begun is None else begun.shard
    if shard is None:
        return None
    write_record(workspace.folder, _RECORD, Recheck(shard))
    download_shard(workspace, shard, context.config.download)
    with workspace.images.open(shard) as file:
        images = read_parquet(file, columns=["product_id", "url", "stamp", "sha256", "status"])
    rows = [row for row in images.to_pylist() if row["status"] == OK]
    pictures = pa.table(
        {
            "product_id": pa.array([row["product_id"] for row in rows], pa.string()),
            "source": pa.array([picture_source(row["url"], row["stamp"]) for row in rows], pa.uint64()),
            "sha256": pa.array([bytes.fromhex(row["sha256"])[:16] for row in rows], pa.binary()),
        }
    )
    return frozenset(state.products_with_other_pictures(pictures))


def finish_recheck(workspace: Workspace) -> None:
    """Record that the release has the pictures that `recheck_pictures` has found.

    Only for the refresh that has called it: another one does not apply them.
    """
    workspace.folder.remove(_RECORD)


def _is_built(workspace: Workspace) -> bool:
    """Return whether the catalog that was read last in a workspace has become a release that passed the gate."""
    try:
        candidate, catalog = load_candidate(workspace), read_catalog_report(workspace)
    except StepFailed:
        return False
    return candidate.passed and candidate.read_at == catalog.read_at


def _longest_waiting(workspace: Workspace, due_before: datetime) -> int | None:
    """Return the shard whose oldest picture has waited longest; None if none is due."""
    reports = [workspace.images.report(shard) for shard in range(workspace.shards)]
    due = [
        (report.oldest_fetched_at, report.shard)
        for report in reports
        if report is not None and report.oldest_fetched_at is not None and report.oldest_fetched_at < due_before
    ]
    return min(due)[1] if due else None
