"""The candidate: the release that would be published next, passed from `index` to `evaluate` to `publish`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from artifacts.config import PipelineConfig
from artifacts.errors import PublishConflict, StepFailed
from artifacts.index.params import SearchParams
from artifacts.store.manifest import Counts, Manifest, Position, SegmentRef, package_versions
from artifacts.store.store import Store
from jobs.workspace.records import read_record, write_record
from jobs.workspace.workspace import CANDIDATE, CANDIDATE_REJECTS, Workspace


class Candidate(BaseModel):
    """A release that has been built and not been published."""

    expected: str | None  # CURRENT when the build began; publishing over any other version is refused
    source: str
    encoder: dict[str, Any]
    segments: list[SegmentRef]
    counts: Counts
    settings: dict[str, Any]
    engine_url: str = ""  # of the engine that finds candidates, if there is one
    engine_options: dict[str, int | float | str] = Field(default_factory=dict)  # see Manifest
    read_at: datetime | None = None  # when the catalog was read, if a build has made the candidate
    sources: dict[str, Position] = Field(default_factory=dict)  # how far sources of changes have been read
    # Search parameters that were calibrated on the base already: the gate only measures with them.
    calibrated: bool = False
    # set by the gate, or calibrated before
    search: dict[str, SearchParams] = Field(default_factory=dict)
    recall: dict[str, float] = Field(default_factory=dict)
    evaluated: str = ""  # fingerprint of what was measured; empty until then
    passed: bool = False

    def manifest(self) -> Manifest:
        """Return the manifest that publishing would write; its version is named by time and content."""
        draft = Manifest(
            version="",
            created_at=datetime.now(UTC),
            encoder=self.encoder,
            segments=self.segments,
            search=self.search,
            recall=self.recall,
            counts=self.counts,
            source=self.source,
            sources=self.sources,
            engine_url=self.engine_url,
            engine_options=self.engine_options,
            settings=self.settings,
            packages=package_versions(),
        )
        return draft.named()

    def save(self, workspace: Workspace) -> None:
        write_record(workspace.candidate, CANDIDATE, self)


def read_rejects(store: Store, version: str) -> bytes:
    """Return the rejects of a version, whose successor is being made.

    Raises:
        PublishConflict: the version has been pruned, because newer ones were published meanwhile.
    """
    try:
        return store.folder.read_bytes(f"versions/{version}/{CANDIDATE_REJECTS}")
    except FileNotFoundError:
        raise PublishConflict(f"version {version} has been pruned: newer ones were published meanwhile") from None


def load_candidate(workspace: Workspace) -> Candidate:
    """Return the workspace's candidate.

    Raises:
        StepFailed: `index` has not run.
        CorruptFile: the candidate cannot be read.
    """
    candidate = read_record(workspace.candidate, CANDIDATE, Candidate)
    if candidate is None:
        raise StepFailed(f"{workspace.url} holds no candidate; run the seal step first")
    return candidate


def recorded_settings(config: PipelineConfig) -> dict[str, Any]:
    """Return the settings that a release's answers depend on, as its manifest records them."""
    return {
        "encoder": config.encoder.encoder,
        "picture_side": config.download.picture_side,
        "thumbnail_side": config.thumbnail_side,
        **asdict(config.index),
        "recall_target": config.gate.recall_target,
    }
