"""The segments of a store: written on this machine, kept in the store, and for a remote store cached on this machine.

The cache has a folder for each store, and the processes of this machine share it. A segment that `discard_unused` takes
out of it can be fetched again, and one that a process has mapped stays readable.

A segment never changes once it is in the store. Writing the same rows again does not give the same bytes in every
file, so an intact segment is kept and the new one is dropped: a version may already name the digest of the first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from artifacts.errors import CorruptFile, ReleaseError
from artifacts.segments.info import INFO_FILE, VERIFY_THREADS, SegmentInfo, read_info, sha256_of_info, verify_segment
from artifacts.storage import TEMPORARY, Folder, fsync, temporary_in
from artifacts.store.collections import keep_collections
from artifacts.store.manifest import SegmentRef
from artifacts.store.staged_parts import StagedParts
from artifacts.versioned_json import parse_description


class SegmentStore:
    """Segments under `segments/` of a store's folder.

    Args:
        folder: of the store.
        cache: folder on this machine for segments of a remote store.
        to_serve: whether only files that a server needs are fetched and verified.

    Attributes:
        local_folder: the folder on this machine with the segments that are on it.
    """

    def __init__(self, folder: Folder, cache: Path, *, to_serve: bool = False) -> None:
        self.folder, self._to_serve = folder, to_serve
        if folder.is_local:
            self.local_folder = folder.local("segments")
        else:
            name = hashlib.sha256(folder.url.encode()).hexdigest()[:16]
            self.local_folder = cache.expanduser() / "stores" / name

    def path(self, segment_id: str) -> Path:
        """Return the path of a segment on this machine, whether it is there yet or not."""
        return self.local_folder / segment_id

    def digest(self, segment_id: str) -> str | None:
        """Return the sha256 of a segment's segment.json in the store; None if there is none, or it is incomplete."""
        try:
            return hashlib.sha256(self.folder.read_bytes(f"segments/{segment_id}/{INFO_FILE}")).hexdigest()
        except FileNotFoundError:
            return None

    def reference(self, segment_id: str) -> SegmentRef:
        """Return a manifest's entry for a segment that is on this machine."""
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
        """Return a segment's folder on this machine, after downloading it once if the store is remote.

        Its files are not verified.

        Args:
            digest: of its segment.json; a cached segment of the same id with another digest, or an incomplete one, is
                replaced.

        Raises:
            CorruptFile: the store has no such segment.
        """
        target = self.path(segment_id)
        if self.folder.is_local:
            return target
        if target.exists():
            if self._is_complete(target, digest) and _mark_as_used(target):
                return target
            self._discard(segment_id)
        temporary = self._temporary(segment_id)
        try:
            self._download(segment_id, temporary)
            with contextlib.suppress(OSError):  # another process may have been faster
                temporary.rename(target)
            _mark_as_used(target)
        except FileNotFoundError:
            raise CorruptFile(f"{self.folder.url}/segments/{segment_id}", "is missing") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return target

    def _download(self, segment_id: str, folder: Path) -> None:
        source = self.folder.path(f"segments/{segment_id}")
        left_out = self._left_out(segment_id) if self._to_serve else set()
        if not left_out:
            self.folder.fs.get(f"{source}/", f"{folder}/", recursive=True)
            return
        root = source.rstrip("/") + "/"
        names = [path.removeprefix(root) for path in self.folder.fs.find(source)]
        names = [name for name in names if name not in left_out]
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        self.folder.fs.get([root + name for name in names], [str(folder / name) for name in names])

    def _left_out(self, segment_id: str) -> set[str]:
        """Return the files of a segment that a server does not need."""
        path = f"segments/{segment_id}/{INFO_FILE}"
        info = parse_description(SegmentInfo, self.folder.read_bytes(path), path, "segment's description")
        return info.files.keys() - info.needed_files(to_serve=True).keys()

    def verified(self, segment_id: str, digest: str, *, threads: int = VERIFY_THREADS) -> Path:
        """Return a segment's folder on this machine after verifying every file.

        A damaged copy in the cache is fetched again.

        Args:
            digest: of its segment.json.
            threads: number of files read at the same time.

        Raises:
            CorruptFile: names the first file that differs.
        """
        try:
            return self._verify(self.fetch(segment_id, digest), digest, threads=threads)
        except (CorruptFile, FileNotFoundError):  # damaged, or discarded by another process meanwhile
            if self.folder.is_local:
                raise
            self._discard(segment_id)
            return self._verify(self.fetch(segment_id, digest), digest, threads=threads)

    def has(self, segment_id: str) -> bool:
        """Return whether the store has an intact segment of this id; if so, it is then on this machine.

        The segment counts as new again for `prune`: a version that will name it may be in progress.
        """
        digest = self.digest(segment_id)
        if digest is None:
            return False
        try:
            folder = self.verified(segment_id, digest)
        except ReleaseError:
            return False
        os.utime(folder)
        keep_collections(self.folder, {segment_id})
        return read_info(folder).id == segment_id

    def staged(self, segment_id: str) -> StagedParts:
        """Return the parts of a segment that is being built."""
        return StagedParts(self.folder, self.local_folder, segment_id)

    def remove_damaged(self, segment_id: str) -> bool:
        """Make a segment that is in the store and damaged incomplete, so that it is built again; return whether it was.

        Its files stay where they are until then: processes may have mapped those that are intact.
        """
        if self.digest(segment_id) is None or self.has(segment_id):
            return False
        self.folder.remove(f"segments/{segment_id}/{INFO_FILE}")
        return True

    # ── the cache ────────────────────────────────────────────────────────────────────────────────────────────────

    def unused(self, grace_seconds: float) -> set[str]:
        """Return the segments in a remote store's cache that no process has fetched within these seconds."""
        if not self.local_folder.exists():
            return set()
        names = (path.name for path in self.local_folder.iterdir() if not path.name.startswith(TEMPORARY))
        return {name for name in names if self._is_unused(name, grace_seconds)}

    def discard_unused(self, segment_id: str, grace_seconds: float) -> bool:
        """Remove a segment from the cache unless a process has fetched it meanwhile; return whether it was removed."""
        if not self._is_unused(segment_id, grace_seconds):
            return False
        self._discard(segment_id)
        return True

    def _is_unused(self, segment_id: str, grace_seconds: float) -> bool:
        try:
            return time.time() - self.path(segment_id).stat().st_mtime > grace_seconds
        except FileNotFoundError:
            return False

    def touch(self, segment_ids: Iterable[str]) -> None:
        """Make segments on this machine young for `prune` and `discard_unused`; those that are gone are left out."""
        for segment_id in segment_ids:
            _mark_as_used(self.path(segment_id))

    def remove(self, segment_id: str) -> None:
        """Remove a segment from the store and from this machine."""
        self.folder.remove(f"segments/{segment_id}")
        if not self.folder.is_local:
            self._discard(segment_id)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def new(self, segment_id: str, staged: Collection[str] = ()) -> Iterator[Path]:
        """Yield an empty folder to write a segment to.

        It is kept under its id if the block succeeds and has completed a segment, else it is removed.

        Args:
            staged: files, by path within the segment, that are in the store already if it is remote.
        """
        temporary = self._temporary(segment_id)
        temporary.mkdir()
        try:
            yield temporary
            if (temporary / INFO_FILE).exists():
                fsync(temporary)
                self._keep(temporary, segment_id, staged)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _keep(self, written: Path, segment_id: str, staged: Collection[str]) -> None:
        if self.has(segment_id):
            return
        if not self.folder.is_local:
            # Uploaded before it is in the cache, and segment.json last: it makes the segment complete.
            files = {path.relative_to(written).as_posix(): path for path in written.rglob("*") if path.is_file()}
            for name in sorted(files.keys() - staged, key=lambda name: name == INFO_FILE):
                self.folder.put(files[name], f"segments/{segment_id}/{name}")
        target = self.path(segment_id)
        try:
            written.rename(target)
        except OSError:  # the name is taken: by a damaged segment, or by a process that was faster
            if self.has(segment_id):
                return
            self._discard(segment_id)
            written.rename(target)
        fsync(self.local_folder)

    def _discard(self, segment_id: str) -> None:
        """Remove a segment from this machine, after a rename: no reader may see half a folder under its name."""
        aside = self._temporary(segment_id)
        with contextlib.suppress(FileNotFoundError):
            self.path(segment_id).rename(aside)
            shutil.rmtree(aside)

    def _is_complete(self, folder: Path, digest: str) -> bool:
        """Return whether a folder holds the segment of this digest, by its segment.json and the sizes of its files."""
        try:
            return sha256_of_info(folder) == digest and all(
                (folder / name).stat().st_size == file.bytes
                for name, file in read_info(folder).needed_files(to_serve=self._to_serve).items()
            )
        except (ReleaseError, OSError):
            return False

    def _verify(self, folder: Path, digest: str, *, threads: int) -> Path:
        if sha256_of_info(folder) != digest:
            raise CorruptFile(str(folder / INFO_FILE), "is not the one that the manifest names")
        verify_segment(folder, threads=threads, to_serve=self._to_serve)
        return folder

    def _temporary(self, name: str) -> Path:
        return temporary_in(self.local_folder, name)


def _mark_as_used(folder: Path) -> bool:
    """Make a cached segment young for `discard_unused`; return whether it is still there."""
    try:
        os.utime(folder)
    except FileNotFoundError:
        return False
    except OSError:
        pass  # a cache that this process may only read is not its to prune
    return True
