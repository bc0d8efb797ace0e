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
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from artifacts.errors import CorruptFile, IncompatibleRelease, NoRelease, PublishConflict, ReleaseError
from artifacts.manifest import Manifest, SegmentRef
from artifacts.schema import FORMAT_VERSION
from artifacts.segment import INFO_FILE, read_info, verify_segment
from artifacts.storage import TEMPORARY, Folder, fsync, sha256_of

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
        self._local = self.folder.local("segments") if self.folder.is_local else cache.expanduser() / "segments"

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
            manifest = Manifest.model_validate_json(self.folder.read_bytes(name))
        except ValueError as error:
            raise CorruptFile(f"{self.folder.url}/{name}", f"is not a manifest: {error}") from error
        if manifest.format != FORMAT_VERSION:
            raise IncompatibleRelease(
                f"version {version} is of format {manifest.format}; this build reads format {FORMAT_VERSION}"
            )
        return manifest

    def fetch(self, manifest: Manifest) -> list[Path]:
        """Folders on this machine with a version's segments, oldest first; those of a URL are downloaded once.

        The files are not verified here: opening a Segment does that.
        """
        return [self._fetch_segment(segment) for segment in manifest.segments]

    def verify(self, version: str | None = None) -> Manifest:
        """Check every file of a version against its digests.

        Raises:
            CorruptFile: names the first file that differs.
        """
        manifest = self.manifest(version)
        for segment, folder in zip(manifest.segments, self.fetch(manifest), strict=True):
            if sha256_of(folder / INFO_FILE) != segment.info_sha256:
                raise CorruptFile(str(folder / INFO_FILE), "is not the one that the manifest names")
            verify_segment(folder)
        return manifest

    # ── segments ─────────────────────────────────────────────────────────────────────────────────────────────────

    def segment_path(self, segment_id: str) -> Path:
        """Where a segment is, or will be, on this machine."""
        return self._local / segment_id

    @contextlib.contextmanager
    def new_segment(self, segment_id: str) -> Iterator[Path]:
        """An empty folder to write a segment in; it becomes `segment_id` when the block ends well, else it is gone."""
        self._local.mkdir(parents=True, exist_ok=True)
        temporary = self._local / f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{segment_id}"
        temporary.mkdir()
        try:
            yield temporary
            fsync(temporary)
            self._keep_segment(temporary, segment_id)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _keep_segment(self, written: Path, segment_id: str) -> None:
        target = self.segment_path(segment_id)
        if target.exists():
            # Left by an earlier run and not good enough to use, or written by another process at the same time.
            shutil.rmtree(target)
        written.rename(target)
        fsync(self._local)
        if not self.folder.is_local:
            for path in sorted(target.iterdir(), key=lambda path: path.name == INFO_FILE):  # segment.json last
                self.folder.fs.put_file(str(path), self.folder.path(f"segments/{segment_id}/{path.name}"))

    def reference(self, segment_id: str) -> SegmentRef:
        """What a manifest says of a segment that is on this machine."""
        folder = self.segment_path(segment_id)
        info = read_info(folder)
        return SegmentRef(
            id=info.id,
            rows=info.rows,
            products=info.products,
            bytes=sum(file.bytes for file in info.files.values()),
            info_sha256=sha256_of(folder / INFO_FILE),
        )

    def _fetch_segment(self, segment: SegmentRef) -> Path:
        target = self.segment_path(segment.id)
        if self.folder.is_local or target.exists():
            return target
        self._local.mkdir(parents=True, exist_ok=True)
        temporary = self._local / f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{segment.id}"
        try:
            self.folder.fs.get(self.folder.path(f"segments/{segment.id}") + "/", str(temporary) + "/", recursive=True)
            with contextlib.suppress(OSError):  # another process may have been faster
                temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return target

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
        """
        version = self._same_content(manifest) or manifest.version
        if version == manifest.version:
            for name, content in files.items():
                self.folder.write_bytes(f"versions/{version}/{name}", content)
            manifest = manifest.model_copy(update={"previous": expected})
            self.folder.write_text(_manifest_name(version), manifest.to_json())
        self._point_to(version, expected=expected)
        return version

    def _same_content(self, manifest: Manifest) -> str | None:
        ending = f"-{manifest.content_id}"
        return next((version for version in reversed(self.versions()) if version.endswith(ending)), None)

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
        claim = datetime.now(UTC).isoformat().encode()
        if not self.folder.create(_LOCK, claim):
            held = datetime.fromisoformat(self.folder.read_text(_LOCK))
            if (datetime.now(UTC) - held).total_seconds() < _LOCK_SECONDS:
                raise PublishConflict(f"{self.folder.url}: another process is publishing since {held:%H:%M:%S} UTC")
            self.folder.write_bytes(_LOCK, claim)
        try:
            yield
        finally:
            self.folder.remove(_LOCK)

    # ── housekeeping ─────────────────────────────────────────────────────────────────────────────────────────────

    def prune(self, keep: int, *, grace_seconds: float = _GRACE_SECONDS) -> list[str]:
        """Remove all but the newest `keep` versions and the current one, and segments that no version names.

        Args:
            grace_seconds: a segment younger than this may belong to a build that has not published yet, and stays.

        Returns:
            What was removed, as paths within the store.
        """
        current = self.current()
        versions = self.versions()
        kept = set(versions[-keep:]) | ({current} if current else set())
        removed = [f"versions/{version}" for version in versions if version not in kept]
        named = {segment.id for version in kept for segment in self.manifest(version).segments}
        for name in removed:
            # The manifest first: without it the version is invisible, however far the rest gets.
            self.folder.remove(_manifest_name(name.removeprefix("versions/")))
            self.folder.remove(name)
        for segment_id in self.folder.names("segments"):
            if segment_id not in named and self._age(f"segments/{segment_id}") > grace_seconds:
                self.folder.remove(f"segments/{segment_id}")
                removed.append(f"segments/{segment_id}")
        if self._local.is_dir():
            for leftover in self._local.glob(f"{TEMPORARY}*"):
                if time.time() - leftover.stat().st_mtime > grace_seconds:
                    shutil.rmtree(leftover)
        return removed

    def _age(self, name: str) -> float:
        """Seconds since a folder of the store was written; 0 where the store cannot tell, so it is kept."""
        if self.folder.is_local:
            return time.time() - self.folder.local(name).stat().st_mtime
        try:
            modified = self.folder.fs.modified(self.folder.path(f"{name}/{INFO_FILE}"))
        except (FileNotFoundError, NotImplementedError):
            return 0.0
        return (datetime.now(UTC) - modified.astimezone(UTC)).total_seconds()


def _manifest_name(version: str) -> str:
    return f"versions/{version}/manifest.json"


def usable_segment(store: Store, segment_id: str) -> bool:
    """Whether a segment is already on this machine, whole and unharmed."""
    try:
        return verify_segment(store.segment_path(segment_id)).id == segment_id
    except ReleaseError:
        return False
