"""Whether the workspace's candidate is the segment that is asked for, complete and undamaged."""

from __future__ import annotations

from artifacts.errors import CorruptFile
from jobs.candidate import Candidate
from jobs.steps import StepContext
from jobs.workspace.records import read_record
from jobs.workspace.workspace import CANDIDATE


def built_candidate(context: StepContext, segment_id: str) -> Candidate | None:
    """Return the workspace's candidate if its base is this segment, and the segment is in the store; not verified."""
    candidate = _read(context)
    if candidate is None or [segment.id for segment in candidate.segments[:1]] != [segment_id]:
        return None
    return candidate if context.store.segment_digest(segment_id) is not None else None


def discard_damaged(context: StepContext, segment_id: str) -> None:
    """Remove the workspace's candidate if its base is this segment and is damaged: it is built again then."""
    if built_candidate(context, segment_id) is not None and not context.store.has_segment(segment_id):
        context.workspace.candidate.remove(CANDIDATE)


def _read(context: StepContext) -> Candidate | None:
    try:
        return read_record(context.workspace.candidate, CANDIDATE, Candidate)
    except CorruptFile:
        return None
