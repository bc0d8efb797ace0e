"""Parts of a segment that are written by separate tasks, maybe on several machines, before the segment is sealed.

In a store on this machine, they wait in a temporary folder beside the segments, and become files of the segment by a
hard link. In any other store they are put where the segment will be, which is invisible until its segment.json is
there. Either way no part is copied, and `Store.prune` removes what is left of a build that is never completed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts.segments.info import FileInfo, part_name
from artifacts.storage import TEMPORARY, fsync

if TYPE_CHECKING:
    from artifacts.store.segment_store import SegmentStore


class StagedParts:
    """The finished parts of one segment that is being built.

    Args:
        store: of the segment.
        segment_id: names the segment; equal ids stand for equal parts.
    """

    def __init__(self, store: SegmentStore, segment_id: str) -> None:
        self._store, self._segment_id = store, segment_id
        self._staging = store.local_folder / f"{TEMPORARY}parts-{segment_id}"

    def has(self, number: int, files: Mapping[str, FileInfo]) -> bool:
        """Return whether a part is there with these files, by their sizes.

        Args:
            files: by name within the part's folder.
        """
        for name, file in files.items():
            try:
                size = self._size(number, name)
            except FileNotFoundError:
                return False
            if size != file.bytes:
                return False
        return True

    def _size(self, number: int, name: str) -> int:
        if self._store.folder.is_local:
            return (self._staging / part_name(number) / name).stat().st_size
        return self._store.folder.size(f"segments/{self._segment_id}/{part_name(number)}/{name}")

    @contextlib.contextmanager
    def writing(self, number: int) -> Iterator[Path]:
        """Yield an empty folder on this machine to write a part to; it becomes the part if the block succeeds.

        The files must be sealed, see `artifacts.segments.sealing`.
        """
        temporary = self._store.temporary(f"{self._segment_id}-{part_name(number)}")
        temporary.mkdir()
        try:
            yield temporary
            if self._store.folder.is_local:
                self._keep(temporary, number)
            else:
                for path in sorted(temporary.iterdir()):
                    self._store.folder.put(path, f"segments/{self._segment_id}/{part_name(number)}/{path.name}")
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _keep(self, written: Path, number: int) -> None:
        self._staging.mkdir(exist_ok=True)
        target = self._staging / part_name(number)
        fsync(written)
        try:
            written.rename(target)
        except OSError:  # an earlier run's, whose record is missing; or another process was faster
            aside = self._store.temporary(f"{self._segment_id}-{part_name(number)}")
            with contextlib.suppress(FileNotFoundError):
                target.rename(aside)
            written.rename(target)
            shutil.rmtree(aside, ignore_errors=True)
        fsync(self._staging)

    def bring(self, number: int, folder: Path) -> None:
        """Put the files of a part into its folder within a segment's folder on this machine.

        Raises:
            FileNotFoundError: there is no such part.
        """
        target = folder / part_name(number)
        if self._store.folder.is_local:
            target.mkdir()
            for path in (self._staging / part_name(number)).iterdir():
                os.link(path, target / path.name)
            fsync(target)
        else:
            source = self._store.folder.path(f"segments/{self._segment_id}/{part_name(number)}")
            self._store.folder.fs.get(f"{source}/", f"{target}/", recursive=True)

    def remove(self) -> None:
        """Remove the parts once the segment is complete, or will not be completed."""
        shutil.rmtree(self._staging, ignore_errors=True)
