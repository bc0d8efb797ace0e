"""What a catalog changes in the served release: new, changed and deleted products, found without writing shards.

The source is read and validated as the catalog step does (`jobs.catalog.step`), and the accepted rows are compared with
the state of the release (`jobs.catalog.compare`). Rows that say the same as before cost their reading and nothing else.
The workspace's catalog is left as it is.

Ordering: a row whose updated_at is earlier than that of the product's state is stale, and is not applied. A product
that a full catalog lacks, or whose row it rejects, is deleted, unless its state is later than the row, or than the
whole catalog where there is no row. A source of changes deletes only what it names as deleted or inactive; of several
rows of one product the last counts. A file of changes that the release has applied already is not applied again, also
where others have come beside it: newer changes may have come since, and rows without updated_at would overwrite them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import StepFailed
from artifacts.schema import DELETIONS, REJECTS, TRANSIENT_REASONS, changes_schema
from jobs.catalog.attribute_types import attribute_types
from jobs.catalog.compare.comparison import Comparison
from jobs.catalog.compare.selection import Selection
from jobs.catalog.compare.state import StateFiles, create_state_views
from jobs.catalog.rules import RULES, validate_rows
from jobs.catalog.shards import REJECTS_QUERY, write_query
from jobs.catalog.source import Source, is_database, without_password
from jobs.catalog.sources.opening import open_source
from jobs.catalog.staging import Staging, run_sql
from jobs.catalog.validation import connect, content_of, refusal, source_errors, stage_source
from jobs.steps import Progress, no_progress
from jobs.workspace.fingerprints import fingerprint

#: Folder in `scratch` for files that are removed before find_changes returns.
_WORK = "work"


@dataclass(frozen=True)
class ChangeCounts:
    """How many rows and products there are of each kind.

    input_rows == accepted + superseded + the sum of rejected.
    accepted == unchanged + new + pictures + attributes + stale.
    """

    input_rows: int = 0
    accepted: int = 0
    unchanged: int = 0
    new: int = 0  # not in the release, or deleted from it, or with no usable picture in it
    pictures: int = 0  # another list of pictures, or an edited local file, or forced; attributes may differ, too
    attributes: int = 0  # only attributes differ
    stale: int = 0  # older than the release's state of the product: not applied
    deleted: int = 0  # products to delete
    kept: int = 0  # products that would be deleted, but for a later state
    superseded: int = 0  # rows of changes that a later row of the same product replaces
    rejected: Mapping[str, int] | None = None  # Reason -> rows

    @property
    def note(self) -> str:
        """One line for people."""
        return (
            f"{self.accepted:,} of {self.input_rows:,} rows: {self.new:,} new, {self.pictures:,} with other pictures, "
            f"{self.attributes:,} with other attributes, {self.deleted:,} deleted"
        )


@dataclass(frozen=True)
class CatalogChanges:
    """The changes that a catalog makes, as Parquet files sorted by product_id.

    Attributes:
        source: display name of the source, without passwords.
        base: folder or URL that relative pictures are resolved against; None for a database.
        changed: file with changes_schema(attributes).
        deleted: file with DELETIONS.
        rejects: file with REJECTS, sorted by input_row.
        counts: of rows and products.
        attributes: name -> type.
        watermark: where the next reading may begin: the greatest updated_at of all rows, but not in the future, and
            not before `since`; None if there is neither.
        fingerprint: of a whole catalog, of everything but the state that the changes depend on; None if that is more
            than the source shows, because products have pictures on this machine, which may be edited. None of a
            source of changes.
        parts: of a source of changes in files: name -> short digest of all that are there; they are applied when these
            changes are.
        retried: whether products were taken as changed for failed pictures whose retry was due.
        failures: with a source of changes, product, reason and detail of every failed picture of the products that it
            names and that are as in the release already.
        day: the date that replaced `{date}`, if one was given.
        skipped: the source is as before; there are no changes, and no row was read or counted.
    """

    source: str
    base: str | None
    changed: Path
    deleted: Path
    rejects: Path
    counts: ChangeCounts
    attributes: dict[str, pa.DataType]
    watermark: datetime | None
    fingerprint: str | None
    parts: Mapping[str, str] = field(default_factory=dict)
    retried: bool = False
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    day: date | None = None
    skipped: bool = False


def find_changes(
    source: str,
    state: StateFiles | None,
    max_reject_rate: float,
    scratch: Path,
    *,
    changes_only: bool = False,
    day: date | None = None,
    since: datetime | None = None,
    overlap_seconds: float = 300,
    picture_base: str = "",
    force: Selection | None = None,
    served_types: Mapping[str, pa.DataType] | None = None,
    unchanged_since: str | None = None,
    applied: Mapping[str, str] | None = None,
    retry_due: bool = False,
    progress: Progress = no_progress,
) -> CatalogChanges:
    """Validate a catalog and find what it changes in the served release.

    Args:
        source: as of `jobs.catalog.step.validate_catalog`.
        state: of the served release; None if nothing is served, so that every product is new.
        max_reject_rate: share of rows that may be rejected, 0 to 1.
        scratch: an empty folder on this machine; the files of the result are left in it.
        changes_only: whether the source names only what has changed.
        day: the date that replaces `{date}` in the source; None for the newest partition that is complete.
        since: watermark of the last reading, see `jobs.catalog.sources.positions`: with `changes_only`, a database is
            asked only for rows that were updated after it; None for all. Aware.
        picture_base: folder or URL that relative pictures are resolved against; the source's own if empty.
        overlap_seconds: reading begins so long before `since`, for rows that were committed after it with an earlier
            updated_at; rows that are read twice change nothing.
        force: products that are taken as changed although they are equal: their kind is `pictures`; see
            `Selection.only`.
        served_types: attribute -> type in the served release, see `jobs.catalog.attribute_types.attribute_types`.
        unchanged_since: fingerprint of the whole catalog that the served release was made from. If the source is known
            to be the same without reading it, and nothing is forced or retried, it is skipped.
        applied: of a source of changes in files: name -> short digest of the parts that the served release has; only
            the others are read. If there are none, and nothing is retried, the source is skipped. None to read all.
        retry_due: whether an unchanged source is read again for failed pictures: products that have one whose failure
            may pass are taken as changed; of unchanged files of changes, those of which the release still says what
            the files do, and nothing else. Where files of changes are new, only these are read, and their products are
            always tried again.
        progress: called with (rows read, None), and once with (accepted rows, accepted rows).

    Raises:
        CatalogError: the catalog as a whole cannot be used.
        StepFailed: too many rows were rejected; `scratch` has all of them. Or the machine failed (disk full).
    """
    work = scratch / _WORK
    work.mkdir(parents=True)
    try:
        with source_errors(source):
            since = since if changes_only else None
            start = since - timedelta(seconds=overlap_seconds) if since else None
            opened = open_source(source, work, day=day, since=start).with_base(picture_base)
            run = _Run(opened, max_reject_rate, scratch, changes_only, since)
            parts = {part.name: part.short_digest for part in opened.parts} if changes_only else {}
            new = opened.without(applied or {})
            if changes_only:
                same = applied is not None and not new.parts
            else:
                same = unchanged_since is not None and run.fingerprint(opened.content) == unchanged_since
            if same and not force and not (retry_due and opened.parts):  # a folder may have been emptied
                nothing = no_changes(opened.display_name, scratch)
                return replace(
                    nothing, base=opened.base, watermark=since, fingerprint=unchanged_since, parts=parts, day=day
                )
            to_read = opened if same else new
            with closing(connect(work)) as con:
                staging = stage_source(to_read, con, work, progress, changes_only=changes_only)
                # A file of changes names a few products: those of a row that is sent again are tried again.
                retries = retry_due or (changes_only and not is_database(source))
                create_state_views(con, state, TRANSIENT_REASONS if retries else ())
                retries_only = same and changes_only and not force
                changes = run.compare(staging, force, served_types, retries_only=retries_only)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    progress(changes.counts.accepted, changes.counts.accepted)
    retried = retry_due and len(to_read.parts) == len(opened.parts)
    return replace(changes, parts=parts, retried=retried, day=day)


def no_changes(source: str, scratch: Path) -> CatalogChanges:
    """Return the changes of a source that is skipped; the files, which are empty, are left in `scratch`."""
    scratch.mkdir(parents=True, exist_ok=True)
    changed, deleted, rejects = _paths(scratch)
    for path, schema in ((changed, changes_schema({})), (deleted, DELETIONS), (rejects, REJECTS)):
        pq.write_table(schema.empty_table(), path)
    counts = ChangeCounts()
    return CatalogChanges(
        without_password(source), None, changed, deleted, rejects, counts, {}, None, None, skipped=True
    )


def _paths(scratch: Path) -> tuple[Path, Path, Path]:
    """Return the paths of the changed, the deleted and the rejected rows."""
    return scratch / "changed.parquet", scratch / "deleted.parquet", scratch / "rejects.parquet"


class _Run:
    """One source, and the files that its changes are written to."""

    def __init__(
        self, source: Source, max_reject_rate: float, scratch: Path, changes_only: bool, since: datetime | None
    ) -> None:
        self._source, self._max_reject_rate, self._changes_only = source, max_reject_rate, changes_only
        self._since, self._began = since, datetime.now(UTC)
        self._changed, self._deleted, self._rejects = _paths(scratch)

    def fingerprint(self, content: str | None) -> str | None:
        """Return the fingerprint of a whole catalog with this content; None if the content is unknown."""
        if content is None:
            return None
        return fingerprint("changes", RULES, content, self._source.base, self._max_reject_rate)

    def compare(
        self,
        staging: Staging,
        force: Selection | None,
        served_types: Mapping[str, pa.DataType] | None,
        *,
        retries_only: bool,
    ) -> CatalogChanges:
        """Validate the staged rows, compare them with the state, and write what is changed and deleted."""
        con = staging.con
        rejected = validate_rows(staging)
        write_query(con, REJECTS_QUERY, REJECTS, self._rejects)
        self._refuse_many_rejects(staging, rejected)
        types = attribute_types(staging, served_types)
        comparison = Comparison(staging, types, self._source.base, self._changes_only, force, retries_only=retries_only)
        attributes = {name: dtype for name, (_, dtype) in types.items()}
        write_query(con, comparison.changed_query(), changes_schema(attributes), self._changed)
        write_query(con, comparison.deletions_query(), DELETIONS, self._deleted)
        kinds, (deleted, kept) = comparison.kinds(), comparison.deletions()
        kinds.pop("missing", None)
        ((superseded,),) = run_sql(con, "SELECT count(*) FROM superseded")
        accepted = staging.rows - superseded - sum(rejected.values())
        counts = ChangeCounts(
            staging.rows,
            accepted,
            unchanged=accepted - sum(kinds.values()),
            **kinds,
            deleted=deleted,
            kept=kept,
            superseded=superseded,
            rejected=rejected,
        )
        # Pictures on this machine may be edited while the catalog is the same.
        is_all = not (self._changes_only or comparison.local_files)
        content = (self._source.content or content_of(staging)) if is_all else None
        return CatalogChanges(
            self._source.display_name,
            self._source.base,
            self._changed,
            self._deleted,
            self._rejects,
            counts,
            attributes,
            self._watermark(comparison.watermark),
            self.fingerprint(content),
            failures=comparison.failures() if self._changes_only else [],
        )

    def _watermark(self, greatest: datetime | None) -> datetime | None:
        """Return the new watermark; a row that is dated in the future must not hide the rows until then."""
        times = [time for time in (greatest, self._since) if time is not None]
        return min(max(times), self._began) if times else None

    def _refuse_many_rejects(self, staging: Staging, rejected: dict[str, int]) -> None:
        limit = self._max_reject_rate
        problem = refusal(staging.con, staging.rows, rejected, limit, changes_only=self._changes_only)
        if problem is not None:
            raise StepFailed(f"{self._source.display_name}: {problem}")
