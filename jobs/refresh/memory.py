"""What refreshes remember of a source: that it was as it is, what failed for a while, and how far it has been read.

<workspace>/sources/<digest>.json     RefreshRecord; one for each source that is read again and again
"""

from __future__ import annotations

from datetime import datetime

from artifacts.errors import CorruptFile, ReleaseError
from artifacts.schema import TRANSIENT_REASONS
from artifacts.storage import Folder
from artifacts.store.store import Store
from jobs.catalog.changes import CatalogChanges
from jobs.catalog.source import is_database, without_password
from jobs.catalog.sources.watermarks import read_watermark, write_watermark
from jobs.refresh.report import RefreshRecord
from jobs.refresh.served import Served, State
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.records import read_record, write_record
from jobs.workspace.workspace import Workspace

#: Versions that are looked back through for the one that a record names.
_ANCESTORS = 100


class SourceMemory:
    """The records of one source in a workspace.

    Args:
        workspace: the main one.
        source: as of `jobs.catalog.sources`.
        changes_only: whether it names only what has changed. A file of changes is read once and not remembered.

    Attributes:
        remembers: whether there are records of the source.
    """

    def __init__(self, workspace: Workspace, source: str, changes_only: bool) -> None:
        self._workspace, self._source = workspace, source
        self._incremental = changes_only and is_database(source)
        self.remembers = self._incremental or not changes_only
        query = source.partition("#")[2] if is_database(source) else ""
        self._name = f"{fingerprint(without_password(source), query, changes_only)}.json"

    @property
    def _folder(self) -> Folder:
        return self._workspace.folder / "sources"

    def record(self) -> RefreshRecord | None:
        """Return the last record; None if there is none."""
        try:
            return read_record(self._folder, self._name, RefreshRecord) if self.remembers else None
        except CorruptFile:
            return None

    def watermark(self, store: Store, served: Served) -> datetime | None:
        """Return how far a source of changes has been read into the served release; None if that is not known.

        After a rollback the changes that were read since are not in the release: all rows are read then.
        """
        record = self.record() if self._incremental else None
        if record is None or not _descends(store, served.manifest.version, record.version):
            return None
        return read_watermark(self._workspace, self._source)

    def keep(self, served: Served, changes: CatalogChanges, read_at: datetime, *, retried: bool) -> None:
        """Record that the served release says what a source says.

        Args:
            read_at: when the source was read.
            retried: whether pictures were tried again whose failure may have passed.
        """
        if not self.remembers:
            return
        with State(served.state_files) as state:
            transient = not TRANSIENT_REASONS.isdisjoint(state.failures())
        before, manifest = self.record(), served.manifest
        tried_at = before.tried_at if before is not None and before.transient and not retried else read_at
        record = RefreshRecord(manifest.version, manifest.content_id, changes.fingerprint, tried_at, transient)
        write_record(self._folder, self._name, record)
        if self._incremental and changes.watermark is not None:
            write_watermark(self._workspace, self._source, changes.watermark)


def _descends(store: Store, version: str, ancestor: str) -> bool:
    """Return whether a version was published over another one, directly or through others."""
    current: str | None = version
    for _ in range(_ANCESTORS):
        if current is None or current == ancestor:
            return current == ancestor
        try:
            current = store.manifest(current).previous
        except ReleaseError:
            return False  # it was pruned
    return False
