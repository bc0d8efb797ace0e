"""Removes what refreshes have left in a workspace, when a build has taken it over.

    absorbed = complete_refreshes(workspace)    # before the build's download begins
    …                                           # the build downloads, embeds and publishes
    remove_absorbed(workspace, absorbed)

A build's download and embedding look into every refresh before they fetch or encode. What it does not take from there
belongs to pictures that its catalog does not name.
"""

from __future__ import annotations

from collections.abc import Iterable

from artifacts.storage import Folder
from jobs.workspace.workspace import SETTINGS, Workspace


def complete_refreshes(workspace: Workspace) -> list[str]:
    """Return the names of the refreshes whose pictures are all downloaded, oldest first: a build can absorb them."""
    return [refresh.name for refresh in workspace.refreshes() if refresh.images.is_complete()]


def remove_absorbed(workspace: Workspace, names: Iterable[str]) -> list[str]:
    """Remove refreshes that a build has absorbed; returns the names of those that were there.

    Call it when that build has been published, with the names that `complete_refreshes` returned before its download
    began, and while none of these refreshes is running. A removal that is killed is completed by the next one.
    """
    present = {refresh.name: refresh for refresh in workspace.refreshes()}
    removed = [name for name in names if name in present]
    for name in removed:
        _remove(present[name].folder)
    return removed


def _remove(folder: Folder) -> None:
    for name in folder.names():
        if name != SETTINGS:  # last: a folder without it is no refresh, and nothing would remove the rest
            folder.remove(name)
    folder.remove("")
