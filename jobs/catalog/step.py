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

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import duckdb

from artifacts.errors import CatalogError, CorruptFile, StepFailed
from artifacts.schema import EXPECTED_REASONS, catalog_schema
from artifacts.storage import TEMPORARY, Folder, sha256_of
from jobs.catalog.attribute_types import attribute_types, sort_accepted_rows
from jobs.catalog.report import CatalogReport
from jobs.catalog.rules import RULES, example, validate_rows
from jobs.catalog.shards import write_rejects, write_shard
from jobs.catalog.source import Source
from jobs.catalog.sources import open_source, without_password
from jobs.catalog.staging import Staging, run_sql
from jobs.steps import Progress, StepContext, StepResult, no_progress
from jobs.workspace.fingerprints import Outcome, Recorded, fingerprint, if_changed
from jobs.workspace.records import read_record, write_record
from jobs.workspace.workspace import CATALOG_REJECTS, CATALOG_REPORT, Workspace

#: Scratch files of a killed run are removed by a later run once they are this old.
STALE_SECONDS = 24 * 3600


def run_catalog(context: StepContext) -> StepResult[CatalogReport]:
    """Validate the context's catalog and write it as product shards; see `validate_catalog`."""
    limit = context.config.max_reject_rate
    report = validate_catalog(context.catalog, context.workspace, limit, progress=context.progress)
    return StepResult(not report.skipped, report.note, report)


def validate_catalog(
    source: str, workspace: Workspace, max_reject_rate: float, *, progress: Progress = no_progress
) -> CatalogReport:
    """Validate a catalog and write it as product shards, unless it is the one that is there.

    Args:
        source: a file, a folder, a glob, `URL#table`, `URL#SELECT …`; see `jobs.catalog.sources` for the forms.
        max_reject_rate: share of rows that may be rejected, 0 to 1.
        progress: called with (rows read, None) while the catalog is read, then with (rows written, rows to write).

    Raises:
        CatalogError: the catalog as a whole cannot be used; nothing was changed.
        StepFailed: too many rows were rejected: rejects.parquet and report.json say why, the shards are left as they
            were. Or the machine failed (disk full).
    """
    began = time.monotonic()
    folder = workspace.catalog.folder
    try:
        with _scratch(folder) as scratch:
            opened = open_source(source, scratch)
            outcome = _Validation(opened, workspace, max_reject_rate, scratch, progress).run()
    except CatalogError as error:
        name, message = without_password(source), str(error)
        raise CatalogError(message if name in message else f"{name}: {message}") from error
    except duckdb.Error as error:
        raise StepFailed(f"reading the catalog failed: {error}") from error
    if not outcome.changed:
        return replace(outcome.value, source=opened.display_name, skipped=True, seconds=0.0)
    report = replace(outcome.value, seconds=round(time.monotonic() - began, 3))
    write_record(folder, CATALOG_REPORT, report)
    return report


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
        with closing(_database(self._scratch)) as con:
            staging = self._stage(con)
            content = _content_of(staging)  # a database has to be read before it is known to be unchanged
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
        with closing(_database(self._scratch)) as con:
            staging = self._stage(con)
            return self._write(staging, self._source.content or _content_of(staging))

    def _stage(self, con: duckdb.DuckDBPyConnection) -> Staging:
        staging = Staging(con, self._scratch / "staged.parquet", self._progress)
        self._source.stage(staging)
        if not staging.rows:
            raise CatalogError("the catalog has columns but no rows")
        return staging

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
        unexpected = sum(count for reason, count in report.rejected.items() if reason not in EXPECTED_REASONS)
        too_many = unexpected > self._max_reject_rate * report.input_rows
        if report.ok and not too_many:
            return
        write_rejects(con, self._workspace)
        write_record(self._shards.folder, CATALOG_REPORT, replace(report, accepted=False))
        most = sorted(report.rejected.items(), key=lambda item: (-item[1], item[0]))[:3]
        reasons = "; ".join(f"{count:,} {reason} ({example(con, reason)})" for reason, count in most)
        problem = f"not one of {report.input_rows:,} rows is left"
        if too_many:
            share = unexpected / report.input_rows
            limit = f"{self._max_reject_rate:.1%} are allowed (LOOKALIKE_MAX_REJECT_RATE)"
            problem = f"{unexpected:,} of {report.input_rows:,} rows are rejected ({share:.1%}); {limit}"
        path = self._shards.folder.path(CATALOG_REJECTS)
        raise StepFailed(f"{report.source}: {problem}: {reasons}. All of them are in {path}")


def _content_of(staging: Staging) -> str:
    """Fingerprint of a source that is known only once it has been read."""
    return fingerprint(sha256_of(staging.path), staging.styles)


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


def _database(scratch: Path) -> duckdb.DuckDBPyConnection:
    threads = len(os.sched_getaffinity(0))
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Sorting needs some memory for each thread; beyond that, spilling to disk is as fast.
    memory = min(max(2 << 30, threads * (256 << 20)), machine // 2)
    con = duckdb.connect(
        scratch / "catalog.duckdb",
        config={
            "threads": threads,
            "memory_limit": f"{memory // (1 << 20)}MiB",
            "temp_directory": str(scratch / "spill"),
            "preserve_insertion_order": True,  # `accepted` is read in the order in which it was sorted
            "autoinstall_known_extensions": False,
        },
    )
    run_sql(con, "SET TimeZone = 'UTC'")  # a time without zone is UTC
    return con
