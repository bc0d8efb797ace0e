"""Drops the collections of segments that are removed, some time after no version names them any more.

Files that a process has mapped stay readable when they are removed; a collection is gone for all servers at once. So it
is kept until every server has had time to load a version that does not need it. When a segment was first found to be
unnamed is recorded in the store, with the address of its engine, which no manifest tells any more by then.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from artifacts.errors import EngineError, ReleaseError
from artifacts.segments.info import INFO_FILE, SegmentInfo
from artifacts.storage import Folder
from artifacts.versioned_json import parse_description

if TYPE_CHECKING:
    from artifacts.engines.pool import EnginePool
    from artifacts.engines.reference import EngineRef

#: Seconds for which servers may still search what no version names: one that was refused a new version, and searches
#: that page through an old one.
COLLECTION_GRACE_SECONDS = 3600

_UNNAMED = "unnamed"

_log = logging.getLogger(__name__)


def drop_collection(
    folder: Folder, engines: EnginePool | None, grace_seconds: float, segment_id: str, url: str = ""
) -> bool:
    """Drop the collection of a segment that no version names; return whether no engine has one any more.

    Args:
        folder: of the store.
        engines: of this process; None if it has none.
        grace_seconds: for which the collection is kept from the first call on.
        url: address of the engine, if a manifest tells it.
    """
    engine = _engine_of(folder, segment_id)
    if engine is None:
        return True
    name = _marker_of(segment_id)
    if not folder.exists(name):
        folder.write_text(name, json.dumps({"since": datetime.now(UTC).isoformat(), "engine_url": url}) + "\n")
    try:
        marker = json.loads(folder.read_bytes(name))
    except FileNotFoundError:  # another process has dropped the collection, or a version names the segment again
        return False
    age = (datetime.now(UTC) - datetime.fromisoformat(marker["since"])).total_seconds()
    if engines is None or age < grace_seconds:
        return False
    try:
        engines.engine(engine.kind, marker["engine_url"]).drop(engine.name)
    except EngineError as error:
        _log.warning("segment %s is kept: its rows in %s were not dropped: %s", segment_id, engine.kind, error)
        return False
    folder.remove(load_lease_name(segment_id))  # of a load that was killed
    folder.remove(name)
    return True


def load_lease_name(segment_id: str) -> str:
    """Return the name of the lease's file that a process holds while it loads an engine with a segment."""
    return f"load-{segment_id}.lease"


def unnamed_segments(folder: Folder) -> list[str]:
    """Return the segments that pruning has found to be unnamed, and kept for their collections."""
    return [name.removesuffix(".json") for name in folder.names(_UNNAMED)]


def keep_collections(folder: Folder, segment_ids: Collection[str]) -> None:
    """Forget that segments were unnamed: these, which a version names again or is about to, and those that are gone."""
    unnamed = unnamed_segments(folder)
    gone = set(unnamed).difference(folder.names("segments")) if unnamed else ()
    for segment_id in unnamed:
        if segment_id in segment_ids or segment_id in gone:
            folder.remove(_marker_of(segment_id))


def _marker_of(segment_id: str) -> str:
    return f"{_UNNAMED}/{segment_id}.json"


def _engine_of(folder: Folder, segment_id: str) -> EngineRef | None:
    """Return the engine of a segment; None if it has none, or was never complete, so that no engine was loaded."""
    path = f"segments/{segment_id}/{INFO_FILE}"
    try:
        return parse_description(SegmentInfo, folder.read_bytes(path), path, "segment's description").engine
    except (FileNotFoundError, ReleaseError):
        return None
