"""Whether the workspace's candidate is the segment that is asked for."""

from __future__ import annotations

from artifacts.errors import CorruptFile
from jobs.candidate import Candidate
from jobs.steps import StepContext
from jobs.workspace.records import read_record
from jobs.workspace.workspace import CANDIDATE


def built_candidate(context: StepContext, segment_id: str) -> Candidate | None:
    """Return the workspace's candidate if its base is this segment, and the segment is in the store; not verified."""
    try:
        candidate = read_record(context.workspace.candidate, CANDIDATE, Candidate)
    except CorruptFile:
        return None
    if candidate is None or [segment.id for segment in candidate.segments[:1]] != [segment_id]:
        return None
    return candidate if context.store.segments.digest(segment_id) is not None else None
