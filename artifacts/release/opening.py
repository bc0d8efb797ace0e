"""Opens the segments of a release, and shares those that another release has open."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from artifacts.errors import CorruptFile, IncompatibleRelease
from artifacts.products.database import ProductDatabase
from artifacts.segments.info import INFO_FILE, read_info, sha256_of_info
from artifacts.segments.segment import OpenEngine, Segment
from artifacts.store.manifest import Manifest, SegmentRef


def open_segments(
    manifest: Manifest,
    folders: Sequence[Path],
    opened: Collection[Segment],
    *,
    verify: bool,
    threads: int,
    to_serve: bool,
    open_engine: OpenEngine | None,
) -> list[Segment]:
    """Open the segments of a version, the base first; see Release for the arguments and the errors."""
    if len(manifest.segments) not in (1, 2):
        raise IncompatibleRelease(
            f"version {manifest.version} has {len(manifest.segments)} segments, and a release is a base and at most "
            "one delta: build the release again"
        )
    shared = {segment.folder: segment for segment in opened}
    segments: list[Segment] = []
    try:
        for reference, folder in zip(manifest.segments, folders, strict=True):
            base = segments[0] if segments else None
            options = manifest.engine_options
            segment = _find_shared(reference, folder, base, shared, options)
            segments.append(
                segment
                or Segment(
                    folder, base, verify=verify, threads=threads, to_serve=to_serve,
                    open_engine=open_engine, engine_options=options,
                )
            )  # fmt: skip
        _validate_segments(manifest, segments)
    except BaseException:
        close_unshared(segments, opened)
        raise
    return segments


def open_database(base: Segment, delta: Segment | None, threads: int) -> ProductDatabase:
    """Return the database of a base, or a new one of a base with its delta, of `threads` for one SQL statement."""
    if delta is None:
        assert base.database is not None  # noqa: S101  (a base has one)
        return base.database
    changes = delta.folder, delta.products.table.schema
    return ProductDatabase(base.folder, base.products.table.schema, delta=changes, threads=threads)


def close_unshared(segments: Iterable[Segment], opened: Collection[Segment]) -> None:
    """Close segments, apart from those that were open before."""
    for segment in segments:
        if segment not in opened:
            segment.close()


def _find_shared(
    reference: SegmentRef,
    folder: Path,
    base: Segment | None,
    shared: dict[Path, Segment],
    options: Mapping[str, int | float | str],
) -> Segment | None:
    """Return the open segment of a folder, if there is one and it is the segment that the manifest names."""
    if sha256_of_info(folder) != reference.info_sha256:
        raise CorruptFile(str(folder / INFO_FILE), "is not the one that the manifest names")
    segment = shared.get(folder)
    if segment is None or segment.info != read_info(folder) or segment.engine_options != options:
        return None
    # A delta holds its base's index: it is shared together with the base only.
    return segment if base is None or base in shared.values() else None


def _validate_segments(manifest: Manifest, segments: Sequence[Segment]) -> None:
    """Check that all vectors are of the manifest's encoder, and that a delta is one of the base.

    Scores between the vectors of two encoders mean nothing.
    """
    encoder_id, metric = manifest.encoder["id"], manifest.metric
    for info in (segment.info for segment in segments):
        dim = segments[0].info.dim
        if (info.encoder_id, info.metric, info.dim) != (encoder_id, metric, dim):
            raise IncompatibleRelease(
                f"version {manifest.version} has {dim}-d vectors of {encoder_id} by {metric}, and segment {info.id} "
                f"has {info.dim}-d vectors of {info.encoder_id} by {info.metric}; build the release again"
            )
        if info.base is not None and info.base.info_sha256 != manifest.segments[0].info_sha256:
            raise CorruptFile(
                manifest.version, f"its delta {info.id} was written for another segment of the id {info.base.id}"
            )
