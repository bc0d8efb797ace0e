"""What refreshes have left in a workspace: where a step looks for it, and when it is removed.

A build's download and embedding look into every refresh before they fetch or encode, and take over what the catalog
names. The rest belongs to products that came by events only; it is kept for some days. A refresh looks into the newest
ones only: what older ones have fetched is in the served release, which it asks first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from jobs.workspace.workspace import REFRESH_TIME, SETTINGS, Workspace

#: So many refreshes a refresh looks into: only one that was killed, or refused by the gate, has more than the release.
NEWEST = 8
#: A refresh that has not ended, and has written nothing for so long, was killed. The longest silence of one that works
#: is the time that the largest shard takes.
KILLED_AFTER = timedelta(days=1)


def earlier_refreshes(workspace: Workspace) -> Iterator[Workspace]:
    """Yield the refreshes that may have what a workspace lacks, newest first.

    They are read while another process merges and removes them: where a file is gone, the merged refresh has it, which
    is among those that have come meanwhile and are yielded last.
    """
    main = workspace.main or workspace
    seen = {workspace.name} if workspace.main else set()
    while names := [name for name in main.refresh_names() if name not in seen]:
        for name in names[::-1][: workspace.newest]:
            if (refresh := main.find_refresh(name)) is not None:
                yield refresh
        if workspace.newest is not None:
            return
        seen.update(names)


def is_idle(refresh: Workspace) -> bool:
    """Return whether no process works in a refresh any more: it has ended, or was killed long ago."""
    if refresh.has_ended:
        return True
    written = refresh.folder.last_written()
    return written is not None and datetime.now(UTC) - written > KILLED_AFTER


def remove_refreshes_before(workspace: Workspace, time: datetime) -> list[str]:
    """Remove the refreshes that began before a time and are idle; returns their names.

    A removal that is killed is completed by the next one.
    """
    before = f"{time:{REFRESH_TIME}}"
    old = [workspace.find_refresh(name) for name in workspace.refresh_names() if name < before]
    removed = [refresh for refresh in old if refresh is not None and is_idle(refresh)]
    for refresh in removed:
        remove_refresh(refresh)
    return [refresh.name for refresh in removed]


def remove_refresh(refresh: Workspace) -> None:
    """Remove a refresh. If this is killed, it is still a refresh, and is removed by `remove_refreshes_before`."""
    folder = refresh.folder
    with suppress(FileNotFoundError):  # another process removes it, too
        refresh.mark(ended=True)  # no attempt may go on with it from here on
        for name in folder.names():
            if name != SETTINGS:  # last: a folder without it is no refresh, and nothing would remove the rest
                folder.remove(name)
        folder.remove("")
