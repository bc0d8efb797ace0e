"""Removes what refreshes have left in a workspace.

A build's download and embedding look into every refresh before they fetch or encode, and take over what the catalog
names. The rest belongs to products that came by events only; it is kept for some days.
"""

from __future__ import annotations

from datetime import datetime

from jobs.workspace.workspace import REFRESH_TIME, SETTINGS, Workspace


def remove_refreshes_before(workspace: Workspace, time: datetime) -> list[str]:
    """Remove the refreshes that began before a time; returns their names.

    Call it when a build that began later has been published. A removal that is killed is completed by the next one.
    """
    before = f"{time:{REFRESH_TIME}}"
    removed = [refresh for refresh in workspace.refreshes() if refresh.name < before]
    for refresh in removed:
        remove_refresh(refresh)
    return [refresh.name for refresh in removed]


def remove_refresh(refresh: Workspace) -> None:
    """Remove a refresh. If this is killed, it is still a refresh, and is removed by `remove_refreshes_before`."""
    folder = refresh.folder
    for name in folder.names():
        if name != SETTINGS:  # last: a folder without it is no refresh, and nothing would remove the rest
            folder.remove(name)
    folder.remove("")
