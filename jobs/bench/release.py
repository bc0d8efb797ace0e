"""Publishes a benchmark's segment as a release, so that a server can serve it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from artifacts.encoders.base import Encoder
from artifacts.index.params import SearchParams
from artifacts.segments.info import INFO_FILE
from artifacts.segments.segment import Segment
from artifacts.store.manifest import Counts, Manifest
from artifacts.store.store import Store
from jobs.workspace.fingerprints import fingerprint


def releases_folder(folder: Path) -> str:
    """Return the releases folder of a benchmark that keeps its data in `folder`."""
    return str(folder / "releases")


def publish_segment(segment: Segment, params: SearchParams, folder: Path, encoder: Encoder, *, copy: int = 0) -> str:
    """Publish the segment in `releases_folder(folder)`, under another encoder, and return the version.

    Args:
        params: for queries of every modality.
        encoder: that servers encode queries with.
        copy: each number gives a segment of its own id, which servers treat as a new one.
    """
    store = Store(releases_folder(folder), folder / "cache")
    segment_id = f"bench-{fingerprint(segment.info.inputs, encoder.id)}-{copy}"
    if not (Path(releases_folder(folder)) / "segments" / segment_id / INFO_FILE).exists():
        with store.new_segment(segment_id) as new_folder:
            _link_files(segment, new_folder, segment_id, encoder.id)
    reference = store.reference(segment_id)
    draft = Manifest(
        version="",
        created_at=datetime.now(UTC),
        encoder=encoder.describe(),
        segments=[reference],
        search={"image": params, "text": params},
        counts=Counts(input_rows=reference.rows, indexed=reference.products, pictures=reference.rows),
    )
    return store.publish(draft.named(), {}, expected=store.current())


def _link_files(segment: Segment, folder: Path, segment_id: str, encoder_id: str) -> None:
    """Fill `folder` with hard links, since segment files never change, and a segment.json with new ids."""
    for name in segment.info.files:
        (folder / name).parent.mkdir(exist_ok=True)
        os.link(segment.folder / name, folder / name)
    info = segment.info.model_copy(update={"id": segment_id, "encoder_id": encoder_id})
    (folder / INFO_FILE).write_text(info.model_dump_json(indent=1) + "\n")
