"""Parts of a segment that are written by separate tasks, maybe on several machines, before the segment is sealed.

In a store on this machine, they wait in a temporary folder beside the segments, and become files of the segment by a
hard link. In any other store they are put where the segment will be, which is invisible until its segment.json is
there; sealing downloads them once. `Store.prune` removes what is left of a build that is never completed.

A segment that is complete is never written to: equal ids stand for equal parts, so a part that is written once more is
dropped.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from artifacts.segments.info import INFO_FILE, FileInfo, part_name
from artifacts.storage import TEMPORARY, Folder, fsync, sha256_of, temporary_in
from artifacts.store.prune import GRACE_SECONDS, remove_temporaries

#: Of a rename onto a folder that is not empty.
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
#: Of a hard link to a file of another user, on another device, or on a file system without links.
_NO_LINK = (errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EMLINK)


class StagedParts:
    """The finished parts of one segment that is being built.

    Args:
        folder: of the store.
        local_folder: the folder on this machine with segments of the store.
        segment_id: names the segment; equal ids stand for equal parts.
    """

    def __init__(self, folder: Folder, local_folder: Path, segment_id: str) -> None:
        self._folder, self._local_folder, self._segment_id = folder, local_folder, segment_id
        self._staging = local_folder / f"{TEMPORARY}parts-{segment_id}"

    def has(self, number: int, files: Mapping[str, FileInfo]) -> bool:
        """Return whether a part is there with these files, by their sizes.

        Args:
            files: by name within the part's folder.
        """
        try:
            return all(self._size(number, name) == file.bytes for name, file in files.items())
        except FileNotFoundError:
            return False

    def _size(self, number: int, name: str) -> int:
        if self._folder.is_local:
            return (self._staging / part_name(number) / name).stat().st_size
        return self._folder.size(self._remote(number, name))

    def _remote(self, number: int, name: str) -> str:
        return f"segments/{self._segment_id}/{part_name(number)}/{name}"

    @contextlib.contextmanager
    def writing(self, number: int) -> Iterator[Path]:
        """Yield an empty folder on this machine to write a part to; it becomes the part if the block succeeds.

        The files must be sealed, see `artifacts.segments.sealing`.
        """
        temporary = self._temporary(number)
        if not self._folder.is_local:  # nothing else removes what killed tasks have left on a machine of a cluster
            remove_temporaries(self._folder, self._local_folder, GRACE_SECONDS)
        temporary.mkdir()
        try:
            yield temporary
            if self._folder.exists(f"segments/{self._segment_id}/{INFO_FILE}"):
                return
            if self._folder.is_local:
                self._keep(temporary, number)
            else:
                for path in sorted(temporary.iterdir()):
                    self._folder.put(path, self._remote(number, path.name))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _temporary(self, number: int) -> Path:
        return temporary_in(self._local_folder, f"{self._segment_id}-{part_name(number)}")

    def _keep(self, written: Path, number: int) -> None:
        fsync(written)
        target = self._staging / part_name(number)
        while True:
            self._staging.mkdir(exist_ok=True)
            try:
                written.rename(target)
                break
            except FileNotFoundError:
                continue  # another process has just removed the staging folder
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
            # by an earlier run whose record is missing, or by a process that was faster
            aside = self._temporary(number)
            with contextlib.suppress(FileNotFoundError):
                target.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        fsync(self._staging)

    def bring(self, number: int, folder: Path, files: Mapping[str, FileInfo]) -> None:
        """Put the files of a part into its folder within a segment's folder on this machine.

        Args:
            files: of the part, by name.

        Raises:
            FileNotFoundError: a file is missing, or is another one.
        """
        target = folder / part_name(number)
        shutil.rmtree(target, ignore_errors=True)  # of an earlier call that failed
        target.mkdir()
        for name, file in files.items():
            if self._folder.is_local:
                _link(self._staging / part_name(number) / name, target / name)
                intact = (target / name).stat().st_size == file.bytes
            else:
                self._folder.fs.get_file(self._folder.path(self._remote(number, name)), str(target / name))
                intact = sha256_of(target / name) == file.sha256  # cheap, beside the download
            if not intact:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._remote(number, name))
        fsync(target)

    def remove(self) -> None:
        """Remove what waits on this machine, once the segment is complete or will not be completed."""
        shutil.rmtree(self._staging, ignore_errors=True)


def _link(path: Path, target: Path) -> None:
    """Link a file, or copy it where that is not possible."""
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(path, target)
        target.chmod(0o444)
        fsync(target)
