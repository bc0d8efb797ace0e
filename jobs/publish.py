"""Step 6: make the candidate a version, point CURRENT at it, and prune what is old."""

from __future__ import annotations

from dataclasses import dataclass, field

from artifacts.errors import GateFailed, NoRelease
from artifacts.settings import Settings
from artifacts.storage import Folder
from artifacts.store.store import Store
from jobs.candidate import EVALUATION, REJECTS, REPORT, load_candidate


@dataclass(frozen=True)
class PublishReport:
    """What `run_publish` did."""

    version: str  # the version now served
    unchanged: bool  # it was served already
    pruned: list[str] = field(default_factory=list)


def run_publish(workspace: Folder, store: Store, settings: Settings) -> PublishReport:
    """Publish the candidate if it passed the gate.

    Raises:
        GateFailed: it has not passed.
        PublishConflict: something else was published since the candidate was built.
    """
    candidate = load_candidate(workspace)
    if not candidate.passed:
        raise GateFailed(f"the candidate has not passed the gate; see {workspace.url}/{REPORT}")
    manifest = candidate.manifest()
    now = store.current()
    if now is not None and _content_of(store, now) == manifest.content_id:
        return PublishReport(now, unchanged=True)
    files = {name.rsplit("/", 1)[-1]: workspace.read_bytes(name) for name in (EVALUATION, REPORT, REJECTS)}
    version = store.publish(manifest, files, expected=candidate.expected)
    return PublishReport(version, unchanged=False, pruned=store.prune(settings.keep_releases))


def _content_of(store: Store, version: str) -> str | None:
    try:
        return store.manifest(version).content_id
    except NoRelease:
        return None  # CURRENT names a version that is gone; publishing mends it
