"""Removes versions and segments that are no longer needed, and leftovers of processes that died."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from artifacts.errors import ReleaseError
from artifacts.storage import TEMPORARY, Folder
from artifacts.store.manifest import Manifest, manifest_name, named_at

#: Age up to which segments that no version names are kept: a build that has not published yet may use them.
GRACE_SECONDS = 24 * 3600

#: Age up to which versions are kept, however many there are, and the segments that only removed versions name.
VERSION_GRACE_SECONDS = 300

#: Age up to which a server keeps segments in its cache that no version names: another process may be opening them.
CACHE_GRACE_SECONDS = 3600


def newest_of_another_base(versions: list[str], current: str | None, manifest: Callable[[str], Manifest]) -> str | None:
    """Return the newest version before the current one that has another base; None if there is none.

    Args:
        versions: the complete ones, sorted.
        manifest: reads a version's manifest.
    """
    if current is None or current not in versions:
        return None
    base = manifest(current).segments[:1]
    for version in reversed(versions[: versions.index(current)]):
        with contextlib.suppress(ReleaseError):  # an unreadable version is not worth keeping
            if manifest(version).segments[:1] != base:
                return version
    return None


def reasons_to_keep(
    versions: list[str], current: str | None, manifest: Callable[[str], Manifest], keep: int, grace_seconds: float
) -> dict[str, str]:
    """Return the versions to keep, each with the reason in a few words.

    Args:
        versions: the complete ones, sorted.
        current: the version that is served.
        manifest: reads a version's manifest.
        keep: number of newest versions.
        grace_seconds: age up to which versions are kept.
    """
    oldest = datetime.now(UTC) - timedelta(seconds=grace_seconds)
    young = [version for version in versions if (time := named_at(version)) and time >= oldest]
    before = newest_of_another_base(versions, current, manifest) if keep > 1 else None
    kept = dict.fromkeys(young, f"published in the last {grace_seconds / 60:.0f} minutes")
    if before:
        kept[before] = "newest of the base before"
    if current:
        kept[current] = "served"
    return kept | dict.fromkeys(versions[max(0, len(versions) - keep) :], "newest")


def engine_urls(versions: Iterable[str], manifest: Callable[[str], Manifest]) -> dict[str, str]:
    """Return the address of the engine for each segment of some versions; those that cannot be read are left out.

    Args:
        manifest: reads a version's manifest.
    """
    urls: dict[str, str] = {}
    for version in versions:
        with contextlib.suppress(ReleaseError):
            read = manifest(version)
            urls |= dict.fromkeys((segment.id for segment in read.segments), read.engine_url)
    return urls


def remove_versions(
    folder: Folder, versions: Collection[str], kept: Collection[str], grace_seconds: float
) -> list[str]:
    """Remove complete versions that are not kept, and incomplete ones that are old enough.

    Args:
        folder: of the store.
        versions: the complete ones.

    Returns:
        The removed paths within the store.
    """
    removed = [f"versions/{version}" for version in versions if version not in kept]
    incomplete = [f"versions/{name}" for name in folder.names("versions") if name not in versions]
    removed += [name for name in incomplete if _age(folder, name) > grace_seconds]
    for name in removed:
        # The manifest first: without it the version is invisible, however far the rest gets.
        folder.remove(manifest_name(name.removeprefix("versions/")))
        folder.remove(name)
    return removed


def remove_segments(
    folder: Folder,
    kept: Collection[str],
    ages: Mapping[str, float],
    grace_seconds: float,
    drop: Callable[[str], bool],
) -> list[str]:
    """Remove segments that are not kept and old enough; return their paths within the store.

    Args:
        folder: of the store.
        ages: in seconds, up to which some segments are kept.
        grace_seconds: age up to which the others are kept.
        drop: called with a segment's id before it is removed; a segment is kept if it returns False.
    """
    removed = []
    for segment_id in folder.names("segments"):
        name = f"segments/{segment_id}"
        if segment_id in kept or _age(folder, name) <= ages.get(segment_id, grace_seconds):
            continue
        if drop(segment_id):
            folder.remove(name)
            removed.append(name)
    return removed


def remove_temporaries(folder: Folder, segments: Path, grace_seconds: float) -> None:
    """Remove the files and folders on this machine that a process was writing when it died.

    Args:
        folder: of the store.
        segments: the folder on this machine with segments of the store.
    """
    leftovers: Iterable[Path] = segments.glob(f"{TEMPORARY}*")
    if folder.is_local:
        root = folder.local()
        leftovers = [*leftovers, *root.glob(f"{TEMPORARY}*"), *root.glob(f"versions/*/{TEMPORARY}*")]
    for leftover in leftovers:
        with contextlib.suppress(FileNotFoundError):  # its process, or another that prunes, was faster
            if time.time() - leftover.stat().st_mtime > grace_seconds:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _age(folder: Folder, name: str) -> float:
    """Return the seconds since a folder of the store was written; 0, so that it is kept, where that is not known."""
    if folder.is_local:
        try:
            return time.time() - folder.local(name).stat().st_mtime
        except FileNotFoundError:  # removed meanwhile
            return 0.0
    written = folder.last_written(name)
    return 0.0 if written is None else (datetime.now(UTC) - written).total_seconds()
