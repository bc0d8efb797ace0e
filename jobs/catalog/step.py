"""Step 1: from any catalog to validated product shards.

    workspace/catalog/
      shard-00000.parquet …   catalog_schema(attributes), sorted by product_id; one for every shard, empty ones too
      shard-00000.json    …   ShardReport; later steps use its sha256 as the fingerprint of their input
      rejects.parquet         REJECTS, sorted by input_row
      report.json             CatalogReport, removed before anything else changes and written last

Rows never pass through Python's memory as a whole: they are staged in a file (`staging`), validated and sorted by
DuckDB, which spills to disk (`rules`), and written group by group. A shard's bytes depend on its rows and the
attributes' types alone, so a product that changes leaves the other shards as they were.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import duckdb

from artifacts.errors import CorruptFile, StepFailed
from artifacts.schema import catalog_schema
from artifacts.storage import TEMPORARY, Folder
from jobs.catalog.attribute_types import attribute_types, sort_accepted_rows
from jobs.catalog.report import CatalogReport
from jobs.catalog.rules import RULES, validate_rows
from jobs.catalog.shards import write_rejects, write_shard
from jobs.catalog.source import Source
from jobs.catalog.sources.opening import open_source
from jobs.catalog.staging import Staging
from jobs.catalog.validation import connect, content_of, refusal, source_errors, stage_source
from jobs.steps import Progress, StepContext, StepResult, no_progress
from jobs.workspace.fingerprints import Outcome, Recorded, fingerprint, if_changed
from jobs.workspace.records import read_record, write_record
from jobs.workspace.workspace import CATALOG_REJECTS, CATALOG_REPORT, Workspace

#: Scratch files of a killed run are removed by a later run once they are this old.
STALE_SECONDS = 24 * 3600


def run_catalog(context: StepContext, *, day: date | None = None) -> StepResult[CatalogReport]:
    """Validate the context's catalog and write it as product shards; see `validate_catalog`."""
    limit = context.config.max_reject_rate
    report = validate_catalog(
        context.catalog,
        context.workspace,
        limit,
        day=day,
        picture_base=context.config.picture_base,
        progress=context.progress,
    )
    return StepResult(not report.skipped, report.note, report)


def validate_catalog(
    source: str,
    workspace: Workspace,
    max_reject_rate: float,
    *,
    day: date | None = None,
    picture_base: str = "",
    progress: Progress = no_progress,
) -> CatalogReport:
    """Validate a catalog and write it as product shards, unless it is the one that is there.

    Args:
        source: a file, a folder, a glob, `URL#table`, `URL#SELECT …`; see `jobs.catalog.sources.opening`.
        max_reject_rate: share of rows that may be rejected, 0 to 1.
        day: the date that replaces `{date}` in the source; None for the newest partition that is complete.
        picture_base: folder or URL that relative pictures are resolved against; the source's own if empty.
        progress: called with (rows read, None) while the catalog is read, then with (rows written, rows to write).

    Raises:
        CatalogError: the catalog as a whole cannot be used; nothing was changed.
        StepFailed: too many rows were rejected: rejects.parquet and report.json say why, the shards are left as they
            were. Or the machine failed (disk full).
    """
    began, read_at = time.monotonic(), datetime.now(UTC)
    folder = workspace.catalog.folder
    with source_errors(source), _scratch(folder) as scratch:
        opened = open_source(source, scratch, day=day).with_base(picture_base)
        outcome = _Validation(opened, workspace, max_reject_rate, scratch, progress).run()
    report = replace(outcome.value, source=opened.display_name, read_at=read_at)
    if outcome.changed:
        report = replace(report, seconds=round(time.monotonic() - began, 3))
    write_record(folder, CATALOG_REPORT, report)
    return report if outcome.changed else replace(report, skipped=True, seconds=0.0)


class _Validation:
    """The validation of one source."""

    def __init__(
        self, source: Source, workspace: Workspace, max_reject_rate: float, scratch: Path, progress: Progress
    ) -> None:
        self._source, self._max_reject_rate = source, max_reject_rate
        self._workspace, self._shards = workspace, workspace.catalog
        self._scratch, self._progress = scratch, progress

    def run(self) -> Outcome[CatalogReport]:
        """Return the report of the source's rows; its shards are written unless they are there."""
        content = self._source.content
        if content:
            return if_changed(self._fingerprint(content), self._recorded(), self._read_and_write)
        with closing(connect(self._scratch)) as con:
            staging = stage_source(self._source, con, self._scratch, self._progress)
            content = content_of(staging)  # a database has to be read before it is known to be unchanged
            return if_changed(self._fingerprint(content), self._recorded(), lambda: self._write(staging, content))

    def _fingerprint(self, content: str) -> str:
        return fingerprint("catalog", RULES, content, self._source.base, self._workspace.shards, self._max_reject_rate)

    def _recorded(self) -> Recorded[CatalogReport] | None:
        """Return the report of the catalog that is in the workspace, if that is complete."""
        if not self._shards.is_complete(CATALOG_REPORT, CATALOG_REJECTS):
            return None
        try:
            report = read_record(self._shards.folder, CATALOG_REPORT, CatalogReport)
        except CorruptFile:
            return None
        return Recorded(report.input, report) if report and report.accepted else None

    def _read_and_write(self) -> CatalogReport:
        with closing(connect(self._scratch)) as con:
            staging = stage_source(self._source, con, self._scratch, self._progress)
            return self._write(staging, self._source.content or content_of(staging))

    def _write(self, staging: Staging, content: str) -> CatalogReport:
        rejected = validate_rows(staging)
        ok = staging.rows - sum(rejected.values())
        report = CatalogReport(
            self._source.display_name,
            self._fingerprint(content),
            self._source.base,
            staging.rows,
            ok,
            rejected,
            attributes={},
            shards=self._workspace.shards,
        )
        # An old report must not describe new files if the process dies before the new one is written.
        self._shards.folder.remove(CATALOG_REPORT)
        self._refuse_many_rejects(report, staging.con)
        types = attribute_types(staging)
        sort_accepted_rows(staging, self._workspace.shards, types)
        staging.path.unlink()  # the disk space may be needed
        schema = catalog_schema({name: dtype for name, (_, dtype) in types.items()})
        shard_input = fingerprint("catalog", RULES, content, self._workspace.shards, str(schema))
        written = 0
        for shard in range(self._workspace.shards):
            written += self._shards.run(shard, shard_input, partial(write_shard, staging.con, shard, schema)).ok
            self._progress(written, ok)
        write_rejects(staging.con, self._workspace)
        return replace(report, attributes={name: str(dtype) for name, (_, dtype) in types.items()})

    def _refuse_many_rejects(self, report: CatalogReport, con: duckdb.DuckDBPyConnection) -> None:
        """Record the refusal and raise StepFailed if more rows are rejected than the configuration allows."""
        problem = refusal(con, report.input_rows, report.rejected, self._max_reject_rate)
        if problem is None:
            return
        write_rejects(con, self._workspace)
        write_record(self._shards.folder, CATALOG_REPORT, replace(report, accepted=False))
        path = self._shards.folder.path(CATALOG_REJECTS)
        raise StepFailed(f"{report.source}: {problem}. All of them are in {path}")


@contextmanager
def _scratch(folder: Folder) -> Iterator[Path]:
    """A folder for rows that do not fit in memory: beside the shards, whose disk has to hold them anyway."""
    if not folder.is_local:
        with tempfile.TemporaryDirectory(prefix="lookalike-") as scratch:
            yield Path(scratch)
        return
    parent = folder.local()
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{TEMPORARY}scratch-*"):
        if left.stat().st_mtime < time.time() - STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY}scratch-", dir=parent) as scratch:
        yield Path(scratch)
