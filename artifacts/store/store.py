"""The store of releases: immutable segments, immutable versions, and one pointer to the version being served.

    CURRENT                          one line: the version being served
    versions/<version>/manifest.json written last: with it the version exists
    segments/<id>/…                  shared between versions; without a manifest that names them they are invisible

The store may be a folder or any fsspec URL; segments of a remote store are kept in a cache on this machine. A crash at
any point leaves CURRENT as it was, and doing the same again ends as if there had been no crash.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from artifacts.errors import CorruptFile, IncompatibleRelease, NoRelease, PublishConflict, ReleaseError
from artifacts.schema import FORMAT_VERSION
from artifacts.segments.info import INFO_FILE, VERIFY_THREADS
from artifacts.storage import TEMPORARY, Folder
from artifacts.store.manifest import Manifest, SegmentRef
from artifacts.store.segment_store import SegmentStore

POINTER = "CURRENT"
_LOCK = "CURRENT.lock"
#: Moving the pointer takes milliseconds; a lock older than this was left by a process that died.
_LOCK_SECONDS = 60
#: Segments no version names are kept so long: they may belong to a build that has not published yet.
_GRACE_SECONDS = 24 * 3600


class Store:
    """Releases under one folder or URL.

    Args:
        url: folder or fsspec URL.
        cache: folder on this machine for segments of a remote store.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self.folder = Folder(url)
        self._segments = SegmentStore(self.folder, cache)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    def current(self) -> str | None:
        """The version being served, or None if nothing has been published."""
        return self.folder.read_text(POINTER).strip() if self.folder.exists(POINTER) else None

    def versions(self) -> list[str]:
        """All complete versions, oldest first."""
        return [name for name in self.folder.names("versions") if self.folder.exists(_manifest_name(name))]

    def manifest(self, version: str | None = None) -> Manifest:
        """The manifest of a version, of the current one if none is named.

        Raises:
            NoRelease: nothing has been published, or there is no such version.
            CorruptFile: the manifest cannot be read.
            IncompatibleRelease: it is of another format.
        """
        version = version or self.current()
        if version is None:
            raise NoRelease(f"{self.folder.url}: nothing has been published yet; run `lookalike build` first")
        name = _manifest_name(version)
        if "/" in version or not self.folder.exists(name):
            raise NoRelease(f"{self.folder.url}: there is no version {version!r}; see `lookalike releases list`")
        try:
            content = json.loads(self.folder.read_bytes(name))
            # Another format may have other fields: look at this one first.
            if isinstance(content, dict) and content.get("format") not in (None, FORMAT_VERSION):
                raise IncompatibleRelease(
                    f"version {version} is of format {content['format']}; this build reads format {FORMAT_VERSION}"
                )
            return Manifest.model_validate(content)
        except ValueError as error:
            raise CorruptFile(f"{self.folder.url}/{name}", f"is not a manifest: {error}") from error

    def fetch(self, manifest: Manifest) -> list[Path]:
        """Folders on this machine with a version's segments, oldest first; those of a URL are downloaded once.

        The files are not verified here: opening a Segment does that.
        """
        return [self._segments.fetch(segment.id, segment.info_sha256) for segment in manifest.segments]

    def verified(self, segment: SegmentRef, *, threads: int = VERIFY_THREADS) -> Path:
        """A segment's folder on this machine, every file checked. A damaged copy in the cache is fetched again.

        Raises:
            CorruptFile: names the first file that differs.
        """
        return self._segments.verified(segment.id, segment.info_sha256, threads=threads)

    def verify(self, version: str | None = None) -> Manifest:
        """Check every file of a version against its digests. A damaged copy in the cache is fetched again.

        Raises:
            CorruptFile: names the first file that differs.
        """
        manifest = self.manifest(version)
        for segment in manifest.segments:
            self.verified(segment)
        return manifest

    # ── segments ─────────────────────────────────────────────────────────────────────────────────────────────────

    def segment_path(self, segment_id: str) -> Path:
        """Where a segment is, or will be, on this machine."""
        return self._segments.path(segment_id)

    def new_segment(self, segment_id: str) -> AbstractContextManager[Path]:
        """An empty folder to write a segment in; it becomes `segment_id` when the block ends well, else it is gone.

        If there is a whole segment of that id by then, that one stays.
        """
        return self._segments.new(segment_id)

    def reference(self, segment_id: str) -> SegmentRef:
        """What a manifest says of a segment that is on this machine."""
        return self._segments.reference(segment_id)

    # ── the pointer ──────────────────────────────────────────────────────────────────────────────────────────────

    def publish(self, manifest: Manifest, files: Mapping[str, bytes], *, expected: str | None) -> str:
        """Make a version and point CURRENT at it.

        Args:
            files: further files of the version, by name (evaluation.json, report.html, …).
            expected: what CURRENT must still be; somebody else's newer version is never overwritten unseen.

        Returns:
            The version now served: an older one of the same content, left by a publish that was cut short, if any.

        Raises:
            PublishConflict: CURRENT is no longer `expected`. The version exists, but is not served.
            CorruptFile: a segment is not in the store; no version is made.
        """
        for segment in manifest.segments:
            if self._segments.digest(segment.id) != segment.info_sha256:
                path = f"{self.folder.url}/segments/{segment.id}/{INFO_FILE}"
                raise CorruptFile(path, "is missing, or is not the one that the manifest names")
        manifest = manifest.model_copy(update={"previous": expected})
        version = self._same_version(manifest)
        if version is None:
            manifest = manifest.named(after=self.versions())
            version = manifest.version
            for name, content in files.items():
                self.folder.write_bytes(f"versions/{version}/{name}", content)
            self.folder.write_text(_manifest_name(version), manifest.to_json())
        self._point_to(version, expected=expected)
        return version

    def _same_version(self, manifest: Manifest) -> str | None:
        """A version that can stand for this one: of the same content, and served already or with the same `previous`.

        One that was served long ago cannot: rolling back from it would lead to what was served before it then.
        """
        current, ending = self.current(), f"-{manifest.content_id}"
        for version in reversed(self.versions()):
            if version == manifest.version or (version == current and version.endswith(ending)):
                return version
            with contextlib.suppress(ReleaseError):  # one that cannot be read stands for nothing
                if version.endswith(ending) and self.manifest(version).previous == manifest.previous:
                    return version
        return None

    def rollback(self, version: str | None = None) -> str:
        """Point CURRENT at an earlier version: the one named, or the one that was served before the current one.

        Raises:
            NoRelease: there is no such version, or none before the current one.
            CorruptFile: it is damaged; CURRENT stays as it is.
        """
        now = self.current()
        version = version or self.manifest(now).previous
        if version is None:
            raise NoRelease(f"{self.folder.url}: nothing was served before {now}")
        self.verify(version)
        self._point_to(version, expected=now)
        return version

    def _point_to(self, version: str, *, expected: str | None) -> None:
        with self._locked():
            now = self.current()
            if now == version:
                return
            if now != expected:
                raise PublishConflict(
                    f"{self.folder.url}: CURRENT is {now}, not {expected} as when this began; "
                    f"{version} was not put in its place. Run the build again"
                )
            self.folder.write_text(POINTER, version + "\n")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time compares and swaps the pointer."""
        if self.folder.is_local:
            path = self.folder.local(_LOCK)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # the system lets go of it when the process dies
                yield
            return
        claim = f"{datetime.now(UTC).isoformat()} {uuid.uuid4().hex}".encode()
        if not self.folder.create(_LOCK, claim):
            if self._lock_is_fresh():
                raise PublishConflict(f"{self.folder.url}: another process is publishing; try again")
            self.folder.remove(_LOCK)
            if not self.folder.create(_LOCK, claim):
                raise PublishConflict(f"{self.folder.url}: another process is publishing; try again")
        try:
            yield
        finally:
            if self.folder.read_bytes(_LOCK) == claim:
                self.folder.remove(_LOCK)

    def _lock_is_fresh(self) -> bool:
        try:
            since = datetime.fromisoformat(self.folder.read_text(_LOCK).split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return False  # let go of meanwhile, or not a claim
        return (datetime.now(UTC) - since).total_seconds() < _LOCK_SECONDS

    # ── housekeeping ─────────────────────────────────────────────────────────────────────────────────────────────

    def prune(self, keep: int, *, grace_seconds: float = _GRACE_SECONDS) -> list[str]:
        """Remove all but the newest `keep` versions and the current one, segments that no version names, and leftovers.

        Args:
            grace_seconds: what is younger than this may belong to a build that has not published yet, and stays.

        Returns:
            What was removed, as paths within the store.
        """
        current = self.current()
        versions = self.versions()
        kept = set(versions[max(0, len(versions) - keep) :]) | ({current} if current else set())
        removed = [f"versions/{version}" for version in versions if version not in kept]
        incomplete = [f"versions/{name}" for name in self.folder.names("versions") if name not in versions]
        removed += [name for name in incomplete if self._age(name) > grace_seconds]
        named = {segment.id for version in kept for segment in self.manifest(version).segments}
        for name in removed:
            # The manifest first: without it the version is invisible, however far the rest gets.
            self.folder.remove(_manifest_name(name.removeprefix("versions/")))
            self.folder.remove(name)
        for segment_id in self.folder.names("segments"):
            if segment_id not in named and self._age(f"segments/{segment_id}") > grace_seconds:
                self.folder.remove(f"segments/{segment_id}")
                removed.append(f"segments/{segment_id}")
        self._remove_temporaries(grace_seconds)
        return removed

    def _remove_temporaries(self, grace_seconds: float) -> None:
        """Remove files and folders on this machine that a process was writing when it died."""
        found = list(self._segments.here.glob(f"{TEMPORARY}*"))
        if self.folder.is_local:
            root = self.folder.local()
            found += [*root.glob(f"{TEMPORARY}*"), *root.glob(f"versions/*/{TEMPORARY}*")]
        for leftover in found:
            if time.time() - leftover.stat().st_mtime > grace_seconds:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()

    def _age(self, name: str) -> float:
        """Seconds since a folder of the store was written; 0 where the store cannot tell, so it is kept."""
        if self.folder.is_local:
            return time.time() - self.folder.local(name).stat().st_mtime
        try:
            times = [self.folder.fs.modified(path) for path in self.folder.fs.find(self.folder.path(name))]
        # A file went meanwhile, or the file system keeps no times: fsspec says the latter by NotImplementedError.
        except (FileNotFoundError, NotImplementedError):
            return 0.0
        newest = max((each.astimezone(UTC) for each in times), default=datetime.now(UTC))
        return (datetime.now(UTC) - newest).total_seconds()


def _manifest_name(version: str) -> str:
    return f"versions/{version}/manifest.json"


def usable_segment(store: Store, segment_id: str) -> bool:
    """Whether a segment is already in the store, whole and unharmed; if so it is on this machine then."""
    return store._segments.usable(segment_id)
