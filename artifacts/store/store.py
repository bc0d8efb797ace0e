"""The store of releases: reads, publishes, rolls back and prunes versions. The package's docstring shows the layout."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts.errors import CorruptFile, NoRelease, ReleaseError
from artifacts.lease import Lease
from artifacts.repeated import repeated
from artifacts.segments.info import INFO_FILE, VERIFY_THREADS
from artifacts.storage import Folder
from artifacts.store.collections import (
    COLLECTION_GRACE_SECONDS,
    drop_collection,
    keep_collections,
    load_lease_name,
    unnamed_segments,
)
from artifacts.store.manifest import Manifest, SegmentRef, manifest_name
from artifacts.store.pointer import Pointer
from artifacts.store.prune import (
    CACHE_GRACE_SECONDS,
    GRACE_SECONDS,
    VERSION_GRACE_SECONDS,
    engine_urls,
    reasons_to_keep,
    remove_segments,
    remove_temporaries,
    remove_versions,
)
from artifacts.store.segment_store import SegmentStore
from artifacts.versioned_json import parse_description

if TYPE_CHECKING:
    from artifacts.engines.pool import EnginePool

#: Seconds between two marks on segments that are kept; well below VERSION_GRACE_SECONDS.
_KEEP_SECONDS = 60.0


class Store:
    """Releases under one folder or URL.

    Args:
        url: folder or fsspec URL.
        cache: folder on this machine for segments of a remote store.
        to_serve: whether only files that a server needs are fetched and verified.

    Attributes:
        segments: the segments of all versions, and those that no version names.
        lease: lets one process publish before the others.
    """

    def __init__(self, url: str, cache: Path, *, to_serve: bool = False) -> None:
        self.folder = Folder(url)
        self._pointer = Pointer(self.folder)
        self.lease = Lease(self.folder, "publish.lease")
        self.segments = SegmentStore(self.folder, cache, to_serve=to_serve)

    def load_lease(self, segment_id: str) -> Lease:
        """Return the lease of loading an engine with a segment, which one process at a time does."""
        return Lease(self.folder, load_lease_name(segment_id))

    # ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────

    def current(self) -> str | None:
        """Return the version being served, or None if nothing has been published."""
        return self._pointer.read()

    def versions(self) -> list[str]:
        """Return all complete versions, oldest first."""
        return [name for name in self.folder.names("versions") if self.folder.exists(manifest_name(name))]

    def manifest(self, version: str | None = None) -> Manifest:
        """Read the manifest of a version; of the current one by default.

        Raises:
            NoRelease: nothing has been published, or there is no such version.
            CorruptFile: the manifest cannot be read.
            IncompatibleRelease: it is in another format.
        """
        version = version or self.current()
        if version is None:
            raise NoRelease(f"{self.folder.url}: nothing has been published yet; run `lookalike build` first")
        name = manifest_name(version)
        if "/" in version or not self.folder.exists(name):
            raise NoRelease(f"{self.folder.url}: there is no version {version!r}; see `lookalike releases list`")
        return parse_description(Manifest, self.folder.read_bytes(name), f"{self.folder.url}/{name}", "manifest")

    def verify(self, version: str | None = None) -> Manifest:
        """Verify every file of a version against its digests; of the current version by default.

        A damaged copy in the cache is fetched again.

        Raises:
            CorruptFile: names the first file that differs.
            NoRelease, IncompatibleRelease: see `manifest`.
        """
        manifest = self.manifest(version)
        for segment in manifest.segments:
            self.verified(segment)
        return manifest

    # ── segments ─────────────────────────────────────────────────────────────────────────────────────────────────

    def fetch(self, manifest: Manifest) -> list[Path]:
        """Return the folders on this machine with a version's segments, oldest first: downloaded once, not verified.

        Raises:
            CorruptFile: a segment is not in the store.
        """
        return [self.segments.fetch(segment.id, segment.info_sha256) for segment in manifest.segments]

    def verified(self, segment: SegmentRef, *, threads: int = VERIFY_THREADS) -> Path:
        """Return a segment's folder on this machine after verifying every file.

        A damaged copy in the cache is fetched again.

        Args:
            threads: number of files read at the same time.

        Raises:
            CorruptFile: names the first file that differs.
        """
        return self.segments.verified(segment.id, segment.info_sha256, threads=threads)

    def has_segment(self, segment_id: str) -> bool:
        """Return whether the store has an intact segment of this id; if so, it is then on this machine.

        The segment counts as new again for `prune`: a version that will name it may be in progress.
        """
        return self.segments.has(segment_id)

    def segment_path(self, segment_id: str) -> Path:
        """Return the path of a segment on this machine, whether it is there yet or not."""
        return self.segments.path(segment_id)

    def new_segment(self, segment_id: str, staged: Collection[str] = ()) -> AbstractContextManager[Path]:
        """Return a context with an empty folder to write a segment to.

        It becomes `segment_id` if the block succeeds, unless the store has an intact one by then. `staged` are files
        that were brought from `segments.staged`, by path within the segment.
        """
        return self.segments.new(segment_id, staged)

    def reference(self, segment_id: str) -> SegmentRef:
        """Return a manifest's entry for a segment that is on this machine.

        Raises:
            CorruptFile: there is no such segment.
        """
        return self.segments.reference(segment_id)

    @contextlib.contextmanager
    def kept(self, segments: Iterable[SegmentRef]) -> Iterator[None]:
        """Keep segments on this machine during a block that reads them, although no version may name them any more.

        `prune` and `prune_cache` go by the time when a segment was last used.
        """
        ids = [segment.id for segment in segments]
        self.segments.touch(ids)
        with repeated(_KEEP_SECONDS, lambda: self.segments.touch(ids)):
            yield

    def discard(self, segment_id: str, engines: EnginePool | None = None) -> None:
        """Remove a segment that was written in vain, unless a version names it; see `prune` for the engines."""
        for version in self.versions():
            with contextlib.suppress(ReleaseError):  # it cannot be opened, so it needs no segment
                if segment_id in {segment.id for segment in self.manifest(version).segments}:
                    return
        if drop_collection(self.folder, engines, 0, segment_id):
            self.segments.remove(segment_id)

    # ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────

    def publish(self, manifest: Manifest, files: Mapping[str, bytes], *, expected: str | None) -> str:
        """Create a version and point CURRENT at it.

        Args:
            files: further files of the version, by name (evaluation.json, report.html, …).
            expected: the version that CURRENT must still name, so that another process's newer version is never
                overwritten unseen.

        Returns:
            The version now served: an older one of the same content, left by an interrupted publish, if there is one.

        Raises:
            PublishConflict: CURRENT is no longer `expected`. The version exists, but is not served.
            CorruptFile: a segment is not in the store; no version is created.
        """
        for segment in manifest.segments:
            if self.segments.digest(segment.id) != segment.info_sha256:
                path = f"{self.folder.url}/segments/{segment.id}/{INFO_FILE}"
                raise CorruptFile(path, "is missing, or is not the one that the manifest names")
        manifest = manifest.model_copy(update={"previous": expected})
        version = self._equal_version(manifest)
        if version is None:
            manifest = manifest.named(after=self.versions())
            version = manifest.version
            for name, content in files.items():
                self.folder.write_bytes(f"versions/{version}/{name}", content)
            self.folder.write_text(manifest_name(version), manifest.to_json())
        self._pointer.move(version, expected=expected)
        return version

    def _equal_version(self, manifest: Manifest) -> str | None:
        """Find a version of the same content that is served now, or that has the same `previous`.

        A version that was served long ago is not equal: a rollback from it would lead to the version before it then.
        """
        current, ending = self.current(), f"-{manifest.content_id}"
        for version in reversed(self.versions()):
            if version == manifest.version or (version == current and version.endswith(ending)):
                return version
            with contextlib.suppress(ReleaseError):  # an unreadable version is equal to none
                if version.endswith(ending) and self.manifest(version).previous == manifest.previous:
                    return version
        return None

    def rollback(self, version: str | None = None) -> str:
        """Point CURRENT at an earlier version; by default at the one that was served before the current one.

        Raises:
            NoRelease: there is no such version, or none before the current one.
            CorruptFile: it is damaged; CURRENT stays unchanged.
            PublishConflict: another process moved CURRENT meanwhile.
        """
        current = self.current()
        version = version or self.manifest(current).previous
        if version is None:
            raise NoRelease(f"{self.folder.url}: nothing was served before {current} that could be restored")
        self.verify(version)
        self._pointer.move(version, expected=current)
        return version

    def reasons_to_keep(self, versions: list[str], keep: int, grace: float = VERSION_GRACE_SECONDS) -> dict[str, str]:
        """Return the versions that `prune` keeps, of these sorted ones, each with the reason in a few words."""
        return reasons_to_keep(versions, self.current(), self.manifest, keep, grace)

    def prune(self, keep: int, *, grace_seconds: float = GRACE_SECONDS, engines: EnginePool | None = None) -> list[str]:
        """Remove old versions, segments that no version names, and leftovers.

        The newest `keep` versions are kept, the current one, and the newest version of the base before: with a refresh
        every few minutes, the newest versions differ in their deltas only. Versions younger than VERSION_GRACE_SECONDS
        are kept as well: with a stream, the newest ones are a minute old, and other processes work on what follows an
        older one. The segments that only the removed versions name go with them. This machine's cache is pruned, too.

        Args:
            grace_seconds: age up to which other segments, incomplete versions and leftovers are kept: a build that has
                not published yet may be writing them. Versions and their segments are kept no longer either.
            engines: of this process. A segment whose rows an engine has is removed from both, some time after it was
                first found unnamed; see `artifacts.store.collections`.

        Returns:
            The removed paths within the store.

        Raises:
            CorruptFile: a kept manifest cannot be read; nothing is removed then.
        """
        versions, version_grace = self.versions(), min(grace_seconds, VERSION_GRACE_SECONDS)
        kept = self.reasons_to_keep(versions, keep, version_grace)
        named = {segment.id for version in kept for segment in self.manifest(version).segments}
        urls = engine_urls(set(versions).difference(kept), self.manifest)
        removed = remove_versions(self.folder, versions, kept, grace_seconds)
        keep_collections(self.folder, named)
        ages = dict.fromkeys([*urls, *unnamed_segments(self.folder)], version_grace)
        drop = partial(drop_collection, self.folder, engines, min(grace_seconds, COLLECTION_GRACE_SECONDS))
        removed += remove_segments(self.folder, named, ages, grace_seconds, lambda each: drop(each, urls.get(each, "")))
        remove_temporaries(self.folder, self.segments.local_folder, grace_seconds)
        self.prune_cache(grace_seconds=grace_seconds)
        return removed

    def prune_cache(self, in_use: Collection[str] = (), *, grace_seconds: float = CACHE_GRACE_SECONDS) -> list[str]:
        """Remove the segments of a remote store from this machine that no version names, and leftovers.

        Other processes may share the cache: what they have open stays readable, and what they fetch meanwhile is
        kept, or fetched again.

        Args:
            in_use: ids of further segments to keep: those that this process has open.
            grace_seconds: time since a segment was fetched last up to which it is kept.

        Returns:
            The ids of the removed segments.
        """
        if self.folder.is_local:
            return []
        remove_temporaries(self.folder, self.segments.local_folder, GRACE_SECONDS)
        unused = self.segments.unused(grace_seconds).difference(in_use)
        if not unused:  # no need to read manifests
            return []
        for version in self.versions():
            with contextlib.suppress(ReleaseError):  # removed meanwhile, or unreadable: then nobody can open it
                unused.difference_update(segment.id for segment in self.manifest(version).segments)
        return [name for name in sorted(unused) if self.segments.discard_unused(name, grace_seconds)]
