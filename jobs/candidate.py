"""The candidate: what the next release would be, handed from `index` to `evaluate` to `publish` in the workspace.

<workspace>/candidate/
  candidate.json      Candidate
  rejects.parquet     every catalog row that is not in the index, with the reason
  evaluation.json     what the gate measured
  report.html         the same for people
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from artifacts.errors import StepFailed
from artifacts.index.params import SearchParams
from artifacts.settings import Settings
from artifacts.storage import Folder
from artifacts.store.manifest import Counts, Manifest, SegmentRef, package_versions

FOLDER = "candidate"
CANDIDATE = f"{FOLDER}/candidate.json"
REJECTS = f"{FOLDER}/rejects.parquet"
EVALUATION = f"{FOLDER}/evaluation.json"
REPORT = f"{FOLDER}/report.html"

#: Settings that a release's answers depend on; recorded in its manifest.
_RECORDED_SETTINGS = (
    "encoder", "codec", "flat_max_rows", "rows_per_index", "train_rows_per_list", "seed", "recall_target",
    "picture_side", "thumbnail_side",
)  # fmt: skip


class Candidate(BaseModel):
    """A built release that has not been published."""

    expected: str | None  # what CURRENT was when this began; publishing over anything else is refused
    source: str
    encoder: dict[str, Any]
    segments: list[SegmentRef]
    counts: Counts
    settings: dict[str, Any]
    # set by the gate
    search: dict[str, SearchParams] = Field(default_factory=dict)
    recall: dict[str, float] = Field(default_factory=dict)
    evaluated: str = ""  # fingerprint of what was measured; empty until then
    passed: bool = False

    def manifest(self) -> Manifest:
        """The manifest that publishing would write; its version is named by time and content."""
        draft = Manifest(
            version="",
            created_at=datetime.now(UTC),
            encoder=self.encoder,
            segments=self.segments,
            search=self.search,
            recall=self.recall,
            counts=self.counts,
            source=self.source,
            settings=self.settings,
            packages=package_versions(),
        )
        return draft.named()

    def save(self, workspace: Folder) -> None:
        workspace.write_text(CANDIDATE, self.model_dump_json(indent=1) + "\n")


def load_candidate(workspace: Folder) -> Candidate:
    """The workspace's candidate.

    Raises:
        StepFailed: `index` has not run.
    """
    if not workspace.exists(CANDIDATE):
        raise StepFailed(f"{workspace.url} holds no candidate; run the index step first")
    return Candidate.model_validate_json(workspace.read_bytes(CANDIDATE))


def recorded(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json", include=set(_RECORDED_SETTINGS))
