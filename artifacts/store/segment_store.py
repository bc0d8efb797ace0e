"""The segments of a store: written on this machine, kept in the store, and for a remote store cached on this machine.

A segment never changes once it is in the store. Writing the same rows again does not give the same bytes in every
file, so a segment that is there and whole is kept, and the new one is dropped: a version may already name its digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from artifacts.errors import CorruptFile, ReleaseError
from artifacts.segments.info import INFO_FILE, VERIFY_THREADS, read_info, sha256_of_info, verify_segment
from artifacts.storage import TEMPORARY, Folder, fsync
from artifacts.store.manifest import SegmentRef


class SegmentStore:
    """Segments under `segments/` of a store's folder.

    Args:
        folder: of the store.
        cache: folder on this machine for segments of a remote store.
    """

    def __init__(self, folder: Folder, cache: Path) -> None:
        self.folder = folder
        self.here = folder.local("segments") if folder.is_local else cache.expanduser() / "segments"

    def path(self, segment_id: str) -> Path:
        """Where a segment is, or will be, on this machine."""
        return self.here / segment_id

    def digest(self, segment_id: str) -> str | None:
        """sha256 of a segment's segment.json in the store; None if the segment is not there, or not whole yet."""
        try:
            return hashlib.sha256(self.folder.read_bytes(_info_name(segment_id))).hexdigest()
        except FileNotFoundError:
            return None

    def reference(self, segment_id: str) -> SegmentRef:
        """What a manifest says of a segment that is on this machine."""
        folder = self.path(segment_id)
        info = read_info(folder)
        return SegmentRef(
            id=info.id,
            rows=info.rows,
            products=info.products,
            bytes=sum(file.bytes for file in info.files.values()),
            info_sha256=sha256_of_info(folder),
        )

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    def fetch(self, segment_id: str, digest: str) -> Path:
        """A segment's folder on this machine; one of a remote store is downloaded once. Not verified here.

        Args:
            digest: of its segment.json; what is in the cache under this id, but is another or not whole, is replaced.

        Raises:
            CorruptFile: the store does not hold it.
        """
        target = self.path(segment_id)
        if self.folder.is_local:
            return target
        if target.exists():
            if _is_complete(target, digest):
                return target
            self._discard(segment_id)
        temporary = self._temporary(segment_id)
        source = self.folder.path(f"segments/{segment_id}")
        try:
            self.folder.fs.get(f"{source}/", f"{temporary}/", recursive=True)
            with contextlib.suppress(OSError):  # another process may have been faster
                temporary.rename(target)
        except FileNotFoundError:
            raise CorruptFile(f"{self.folder.url}/segments/{segment_id}", "is missing") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return target

    def verified(self, segment_id: str, digest: str, *, threads: int = VERIFY_THREADS) -> Path:
        """A segment's folder on this machine, every file checked. A damaged copy in the cache is fetched again.

        Args:
            threads: that read files side by side.

        Raises:
            CorruptFile: names the first file that differs.
        """
        try:
            return _verified(self.fetch(segment_id, digest), digest, threads=threads)
        except CorruptFile:
            if self.folder.is_local:
                raise
            self._discard(segment_id)
            return _verified(self.fetch(segment_id, digest), digest, threads=threads)

    def usable(self, segment_id: str) -> bool:
        """Whether a segment is in the store, whole and unharmed; if so it is on this machine then.

        For `prune` it counts as new again: a version that will name it may be under way.
        """
        digest = self.digest(segment_id)
        if digest is None:
            return False
        try:
            folder = self.verified(segment_id, digest)
        except ReleaseError:
            return False
        os.utime(folder)
        return read_info(folder).id == segment_id

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def new(self, segment_id: str) -> Iterator[Path]:
        """An empty folder to write a segment in; it becomes `segment_id` when the block ends well, else it is gone."""
        temporary = self._temporary(segment_id)
        temporary.mkdir()
        try:
            yield temporary
            fsync(temporary)
            self._keep(temporary, segment_id)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _keep(self, written: Path, segment_id: str) -> None:
        if self.usable(segment_id):
            return
        if not self.folder.is_local:
            # Sent before it is in the cache, and segment.json last: with that it is whole.
            for path in sorted(written.iterdir(), key=lambda path: path.name == INFO_FILE):
                self.folder.put(path, f"segments/{segment_id}/{path.name}")
        target = self.path(segment_id)
        try:
            written.rename(target)
        except OSError:  # the name is taken: by a damaged one, or by a process that was faster
            if self.usable(segment_id):
                return
            self._discard(segment_id)
            written.rename(target)
        fsync(self.here)

    def _discard(self, segment_id: str) -> None:
        """Take a segment off this machine. By a rename first: half a folder must never be found under its name."""
        aside = self._temporary(segment_id)
        with contextlib.suppress(FileNotFoundError):
            self.path(segment_id).rename(aside)
            shutil.rmtree(aside)

    def _temporary(self, segment_id: str) -> Path:
        self.here.mkdir(parents=True, exist_ok=True)
        return self.here / f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{segment_id}"


def _info_name(segment_id: str) -> str:
    return f"segments/{segment_id}/{INFO_FILE}"


def _is_complete(folder: Path, digest: str) -> bool:
    """Whether a folder holds the segment of this digest, by its segment.json and the sizes of its files."""
    try:
        return sha256_of_info(folder) == digest and all(
            (folder / name).stat().st_size == file.bytes for name, file in read_info(folder).files.items()
        )
    except (ReleaseError, OSError):
        return False


def _verified(folder: Path, digest: str, *, threads: int) -> Path:
    if sha256_of_info(folder) != digest:
        raise CorruptFile(str(folder / INFO_FILE), "is not the one that the manifest names")
    verify_segment(folder, threads=threads)
    return folder
