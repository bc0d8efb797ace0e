"""Step 6: make the candidate a version, point CURRENT at it, and prune old versions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from artifacts.errors import GateFailed, LookalikeError, NoRelease, PublishConflict
from artifacts.lease import WAIT_SECONDS
from artifacts.store.manifest import Manifest
from artifacts.store.store import Store
from jobs.candidate import Candidate, load_candidate
from jobs.load.step import engine_pool
from jobs.steps import StepContext, StepResult
from jobs.workspace.fingerprints import Recorded, if_changed
from jobs.workspace.workspace import CANDIDATE_REJECTS, EVALUATION, REPORT

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishReport:
    """The outcome of `run_publish`."""

    version: str  # the version that is served now
    unchanged: bool  # it was served before
    pruned: list[str] = field(default_factory=list)  # paths within the store


def run_publish(context: StepContext) -> StepResult[PublishReport]:
    """Publish the candidate if it has passed the gate.

    Raises:
        GateFailed: it has not passed.
        PublishConflict: another version was published since the candidate was built.
    """
    candidate = load_candidate(context.workspace)
    if not candidate.passed:
        raise GateFailed(f"the candidate has not passed the gate; see {context.workspace.candidate.url}/{REPORT}")
    manifest = candidate.manifest()
    outcome = if_changed(manifest.content_id, _served(context.store), lambda: _publish(context, candidate, manifest))
    version = outcome.value.version
    return StepResult(outcome.changed, version + ("" if outcome.changed else ", unchanged"), outcome.value)


def until_published(store: Store, attempt: Callable[[], T]) -> T:
    """Call `attempt` until no other publication overtakes it, three times at most.

    After the first conflict the others wait; one that had begun by then may overtake it once more.

    Args:
        attempt: publishes over what is served when it begins.

    Raises:
        PublishConflict: other publications overtook every attempt.
    """
    if not store.lease.wait_until_free():
        _log.warning("another publication has held the lease of the store for %g s; not waiting longer", WAIT_SECONDS)
    try:
        return attempt()
    except PublishConflict as conflict:
        _log.warning("overtaken by another publication: %s", conflict)
    with store.lease.held():
        try:
            return attempt()
        except PublishConflict as conflict:
            _log.warning("overtaken by another publication: %s", conflict)
        return attempt()


def _served(store: Store) -> Recorded[PublishReport] | None:
    """Return the version that is served, under the digest of its content."""
    version = store.current()
    if version is None:
        return None
    try:
        return Recorded(store.manifest(version).content_id, PublishReport(version, unchanged=True))
    except NoRelease:
        return None  # CURRENT names a version that has been removed; publishing repairs it


def _publish(context: StepContext, candidate: Candidate, manifest: Manifest) -> PublishReport:
    folder = context.workspace.candidate
    files = {name: folder.read_bytes(name) for name in (EVALUATION, REPORT, CANDIDATE_REJECTS)}
    version = context.store.publish(manifest, files, expected=candidate.expected)
    pruned: list[str] = []
    try:
        with engine_pool(context) as engines:
            pruned = context.store.prune(context.config.keep_releases, engines=engines)
    except (LookalikeError, OSError) as error:  # the next publication prunes again
        _log.warning("version %s is published; older ones were not pruned: %s", version, error)
    return PublishReport(version, unchanged=False, pruned=pruned)
