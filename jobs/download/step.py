"""Step 2: catalog/shard-….parquet → images/shard-….parquet, one row for each picture that the catalog names.

A shard is done again when its pictures' URLs, a local file or a setting that matters changed, or when some of its
failures may have passed. Then only new and changed pictures are fetched: every row whose URL is the same, and that
succeeded or failed for good, is carried over from the earlier file, or from what a refresh has downloaded since.

A picture behind an unchanged http URL counts as unchanged until `recheck_days` have passed; then the server is asked
whether it is. Name its product in `refetch` when a shop has replaced it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

from artifacts.config import DownloadLimits
from artifacts.errors import ShardConflict
from jobs.catalog.report import read_catalog_report
from jobs.download.earlier import newest_fetches
from jobs.download.refetch import NOTHING, Refetch
from jobs.download.shard import Retry, ShardDownload
from jobs.steps import ShardPlan, StepContext, StepResult, run_plan, split_shards
from jobs.workspace.shards import ShardReport, ShardTotals
from jobs.workspace.workspace import Workspace

#: Products up to which the driver compares all shards by itself; in a larger catalog, tasks compare them side by side.
#: Comparing takes 5 s of a core for a million URLs, 25 s for a million local files; starting Spark takes about 7 s.
COMPARED_BY_DRIVER = 300_000


def run_download(
    context: StepContext,
    shards: Sequence[int] | None = None,
    *,
    retry: Retry = "transient",
    refetch: Refetch = NOTHING,
) -> StepResult[ShardTotals]:
    """Download the pictures of some shards, or of all; see `download_shard` and `run_plan`.

    Raises:
        StepFailed: the catalog step has not been done, or a shard failed.
    """
    totals = run_plan(context, plan_download(context, shards, retry=retry, refetch=refetch))
    return StepResult(totals.changed, totals.note("pictures", "fetched"), totals)


def plan_download(
    context: StepContext,
    shards: Sequence[int] | None = None,
    *,
    retry: Retry = "transient",
    refetch: Refetch = NOTHING,
) -> ShardPlan:
    """Find the shards that have pictures to fetch.

    Raises:
        StepFailed: the catalog step has not been done.
    """
    workspace, limits = context.workspace, context.config.download
    catalog = read_catalog_report(workspace)
    newest = cache(partial(newest_fetches, workspace))

    def unchanged(shard: int) -> ShardReport | None:
        if catalog.ok > COMPARED_BY_DRIVER:
            return None
        return ShardDownload(workspace, catalog, shard, limits, retry, refetch, newest).unchanged()

    done, changed = split_shards(range(workspace.shards) if shards is None else shards, unchanged)
    task = partial(download_shard, workspace, limits=limits, retry=retry, refetch=refetch)
    return ShardPlan(done, changed, lambda threads: task)


def download_shard(
    workspace: Workspace,
    shard: int,
    limits: DownloadLimits,
    *,
    retry: Retry = "transient",
    refetch: Refetch = NOTHING,
) -> ShardReport:
    """Download the pictures of one shard, unless they are there.

    Args:
        retry: which earlier failures are tried again.
        refetch: products whose pictures are fetched even if they are unchanged.

    Raises:
        StepFailed: the catalog step has not been done.
        ShardConflict: other processes have downloaded the shard meanwhile, twice.
    """
    newest = cache(partial(newest_fetches, workspace))

    def run() -> ShardReport:
        return ShardDownload(workspace, read_catalog_report(workspace), shard, limits, retry, refetch, newest).run()

    try:
        return run()
    except ShardConflict:  # a refresh has asked for old pictures of the shard; what it has fetched is not fetched again
        return run()
