"""The workspace of a refresh: one process works in it, and the next attempt goes on where one was killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime

from artifacts.errors import PublishConflict
from artifacts.lease import Lease
from jobs.workspace.refreshes import remove_refresh
from jobs.workspace.workspace import REFRESH_TIME, Workspace

#: Products of one shard; the pictures of up to so many are downloaded and embedded in this process: Spark takes 7 s to
#: start.
PRODUCTS_PER_SHARD = 10_000
#: The lease of a refresh's workspace: two refreshes of the same changes at once do not share one.
_LEASE = "refresh.lease"


@contextmanager
def refresh_workspace(
    main: Workspace, products: int, digest: str, began: datetime, newest: int | None = None
) -> Iterator[Workspace]:
    """Hold the workspace of a refresh; one that was begun for the same changes and was killed is continued.

    What was downloaded stays for builds, and for the next attempt of a refresh that fails.

    Args:
        products: number of products with pictures to fetch.
        digest: of the changes.
        newest: of the earlier refreshes, so many may have pictures that are to be fetched; None: all.
    """
    with ExitStack() as stack:
        workspace = _continued(stack, main, digest)
        if workspace is None:
            shards = min(main.shards, max(1, -(-products // PRODUCTS_PER_SHARD)))
            workspace = main.refresh(f"{began:{REFRESH_TIME}}-{digest}", shards)
            stack.enter_context(Lease(workspace.folder, _LEASE).held(0))
        try:
            yield replace(workspace, newest=newest)
        except PublishConflict:
            if not workspace.images.exists(0):
                remove_refresh(workspace)
            raise
        if workspace.images.exists(0):
            workspace.mark(ended=True)
        else:
            remove_refresh(workspace)


def _continued(stack: ExitStack, main: Workspace, digest: str) -> Workspace | None:
    """Return the newest workspace for these changes that has not ended, and that no other process works in."""
    for name in reversed(main.refresh_names()):
        earlier = main.find_refresh(name) if name.endswith(f"-{digest}") else None
        if earlier is None or earlier.has_ended:
            continue
        is_ours = stack.enter_context(Lease(earlier.folder, _LEASE).held(0))
        if is_ours and not earlier.has_ended:
            earlier.mark(ended=False)  # it is in use again, however long ago it was killed
            return earlier
    return None
