"""What is known of a source that is read again and again: its position, whether it has changed, and what failed.

The position of a source of changes is part of the release's manifest. A refresh that finds nothing to publish cannot
write it there: it is in the workspace's record then, which counts while the same version is served. Positions and
records of sources that are read no more are dropped.

<workspace>/sources/<digest>.json     RefreshRecord; one for each source
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from artifacts.errors import CorruptFile
from artifacts.schema import TRANSIENT_REASONS
from artifacts.storage import Folder
from artifacts.store.manifest import Manifest, Position
from jobs.catalog.changes import CatalogChanges
from jobs.catalog.sources.dates import has_date, newest_date
from jobs.catalog.sources.positions import moved, partitions_from, source_name
from jobs.refresh.report import RefreshRecord
from jobs.refresh.served import Served, State
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.records import read_record, write_record
from jobs.workspace.workspace import Workspace

#: Folder of the records in a workspace.
_SOURCES = "sources"


class SourceMemory:
    """What a workspace and the served release know of one source.

    Args:
        workspace: the main one.
        source: as of `jobs.catalog.sources`.
        changes_only: whether it names only what has changed.
        keep_days: days for which positions and records are kept when their sources are not read.
        remember: whether the source has a record and, if it names only changes, a position.
    """

    def __init__(
        self, workspace: Workspace, source: str, changes_only: bool, *, keep_days: float, remember: bool = True
    ) -> None:
        self._workspace, self._source, self._remember = workspace, source, remember
        self._keep = timedelta(days=keep_days)
        self._changes_only, self._name = changes_only, source_name(source)
        self._has_position = remember and changes_only
        self._file = f"{fingerprint(self._name, changes_only)}.json"

    def record(self) -> RefreshRecord | None:
        """Return the last record; None if there is none."""
        return _record(_folder(self._workspace), self._file) if self._remember else None

    def retry_due(self, manifest: Manifest, now: datetime, minutes: float) -> bool:
        """Return whether it is time to try pictures again whose failure may have passed.

        Partitions that wait are applied first.

        Args:
            minutes: to wait since the last try.
        """
        record = self.record()
        return record is not None and record.retry_due(now, minutes) and not self.is_behind(manifest)

    def partitions(self, manifest: Manifest) -> Sequence[date | None]:
        """Return the partitions to look at, in order, until one has something new; (None,) if there is no choice."""
        return partitions_from(self._source, self._position(manifest)) if self._has_position else (None,)

    def newest(self) -> date | None:
        """Return the newest partition of a source of changes; None if it has no partitions."""
        return newest_date(self._source) if self._has_position and has_date(self._source) else None

    def is_behind(self, manifest: Manifest) -> bool:
        """Return whether a partition waits that is later than the last one that was applied."""
        position = self._position(manifest) if self._has_position else None
        if position is None or position.partition is None:
            return False
        return any(day != position.partition for day in partitions_from(self._source, position))

    def since(self, manifest: Manifest) -> datetime | None:
        """Return the watermark of a source of changes; None if it has none."""
        position = self._position(manifest) if self._has_position else None
        return position.watermark if position is not None else None

    def applied(self, manifest: Manifest, day: date | None) -> dict[str, str] | None:
        """Return the parts that a version has of a source of changes, or of its partition of a day; None if none."""
        position = self._position(manifest) if self._has_position else None
        return position.parts if position is not None and position.partition == day else None

    def unchanged_since(self, manifest: Manifest) -> str | None:
        """Return the fingerprint of the whole catalog that a version was compared with last; None if unknown."""
        record = self.record()
        return record.fingerprint if record is not None and record.version == manifest.version else None

    def positions(self, manifest: Manifest, changes: CatalogChanges, read_at: datetime) -> dict[str, Position]:
        """Return the positions of all sources after changes of this one are applied to a version.

        Args:
            read_at: when this source was read.
        """
        positions = known_positions(self._workspace, manifest)
        position = self._moved(manifest, changes, read_at)
        if position is not None:
            positions[self._name] = position
        oldest = read_at - self._keep
        return {name: each for name, each in positions.items() if each.read_at is not None and each.read_at >= oldest}

    def keep(self, served: Served, changes: CatalogChanges, read_at: datetime) -> None:
        """Record that the served release says what a source says, and remove the records of sources not read for long.

        Args:
            read_at: when the source was read.
        """
        if not self._remember:
            return
        with State(served.state_files) as state:
            transient = not TRANSIENT_REASONS.isdisjoint(state.failures())
        before = self.record()
        tried_at, retries = read_at, 0
        if before is not None and before.transient:
            tried_at = read_at if changes.retried else before.tried_at
            retries = before.retries + changes.retried if self._changes_only and transient else 0
        record = RefreshRecord(
            source=self._name,
            version=served.manifest.version,
            read_at=read_at,
            fingerprint=changes.fingerprint,
            position=self._moved(served.manifest, changes, read_at),
            tried_at=tried_at,
            transient=transient,
            retries=retries,
        )
        folder = _folder(self._workspace)
        write_record(folder, self._file, record)
        for name in _names(folder):
            other = _record(folder, name)
            if other is None or other.read_at < read_at - self._keep:
                folder.remove(name)

    def _position(self, manifest: Manifest) -> Position | None:
        record = self.record()
        if record is not None and record.version == manifest.version and record.position is not None:
            return record.position
        return manifest.sources.get(self._name)

    def _moved(self, manifest: Manifest, changes: CatalogChanges, read_at: datetime) -> Position | None:
        if not self._has_position:
            return None
        return moved(
            self._source, self._position(manifest), read_at,
            watermark=changes.watermark, day=changes.day, parts=changes.parts,
        )  # fmt: skip


def known_positions(workspace: Workspace, manifest: Manifest) -> dict[str, Position]:
    """Return the positions of all sources in a version: those of its manifest, and later ones of the workspace."""
    folder, positions = _folder(workspace), dict(manifest.sources)
    for record in (_record(folder, name) for name in _names(folder)):
        if record is None or record.position is None:
            continue
        position = positions.get(record.source)
        if record.version == manifest.version:
            positions[record.source] = record.position
        elif position is not None and (position.read_at is None or position.read_at < record.read_at):
            # It was read since; what it said then does not count for this version.
            positions[record.source] = position.model_copy(update={"read_at": record.read_at})
    return positions


def _folder(workspace: Workspace) -> Folder:
    return workspace.folder / _SOURCES


def _names(folder: Folder) -> list[str]:
    return [name for name in folder.names() if name.endswith(".json")]


def _record(folder: Folder, name: str) -> RefreshRecord | None:
    try:
        return read_record(folder, name, RefreshRecord)
    except CorruptFile:
        return None  # of an older version of Lookalike; it saves work and is no loss
