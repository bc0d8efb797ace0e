"""Step 1: from any catalog to validated product shards.

    workspace/catalog/
      shard-00000.parquet …   catalog_schema(attributes), sorted by product_id; one for every shard, empty ones too
      shard-00000.json    …   ShardReport; later steps use its sha256 as the fingerprint of their input
      rejects.parquet         REJECTS, sorted by input_row
      report.json             CatalogReport, removed before anything else changes and written last

Rows never pass through Python's memory as a whole: they are staged in a file (catalog_sources), judged and sorted by
DuckDB, which spills to disk (catalog_rules), and written group by group. A shard's bytes depend on its rows and the
attributes' types alone, so a product that changes leaves the other shards as they were.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import duckdb

from artifacts.errors import CatalogError, StepFailed
from artifacts.schema import EXPECTED_REASONS, catalog_schema
from artifacts.settings import Settings
from artifacts.storage import TEMPORARY, Folder, sha256_of
from jobs.catalog.attribute_types import attribute_types, sort_accepted_rows
from jobs.catalog.report import REPORT, STEP, CatalogReport
from jobs.catalog.rules import RULES, example, validate_rows
from jobs.catalog.shards import REJECTS_FILE, write_rejects, write_shard
from jobs.catalog.source import Source
from jobs.catalog.sources import open_source, without_password
from jobs.catalog.staging import Progress, Staging, run_sql
from jobs.workspace import fingerprint, report_name, run_shard, shard_name

#: Scratch of a run that was killed is removed by a later run once it is so old.
STALE_SECONDS = 24 * 3600


def run_catalog(
    source: str,
    workspace: Folder,
    settings: Settings,
    *,
    progress: Callable[[int, int | None], None] | None = None,
) -> CatalogReport:
    """Validate a catalog and write it as product shards.

    Args:
        source: see catalog_sources for the forms: a file, a folder, a glob, `URL#table`, `URL#SELECT …`.
        workspace: as open_workspace returns it, with settings.shards.
        progress: called with (rows read, None) while the catalog is read, then with (rows written, rows to write).

    Raises:
        CatalogError: the catalog as a whole cannot be used; nothing was changed.
        StepFailed: too many rows were rejected: rejects.parquet and report.json say why, the shards are left as they
            were. Or the machine failed (disk full).
    """
    began = time.monotonic()
    folder = workspace / STEP
    progress = progress or (lambda done, total: None)
    try:
        with _scratch(folder) as scratch:
            opened = open_source(source, scratch)
            report = _validate(opened, folder, settings, scratch, progress)
    except CatalogError as error:
        name, message = without_password(source), str(error)
        raise CatalogError(message if name in message else f"{name}: {message}") from error
    except duckdb.Error as error:
        raise StepFailed(f"reading the catalog failed: {error}") from error
    if report.skipped:
        return report
    report = replace(report, seconds=round(time.monotonic() - began, 3))
    folder.write_text(REPORT, report.to_json())
    return report


def _validate(source: Source, folder: Folder, settings: Settings, scratch: Path, progress: Progress) -> CatalogReport:
    def key(content: str | None) -> str:
        return fingerprint(STEP, RULES, content, source.base, settings.shards, settings.max_reject_rate)

    earlier = _earlier(folder, settings.shards)
    if source.content and earlier and earlier.input == key(source.content):
        return replace(earlier, source=source.display_name, skipped=True, seconds=0.0)
    with closing(_database(scratch)) as con:
        staging = Staging(con, scratch / "staged.parquet", progress)
        source.stage(staging)
        if not staging.rows:
            raise CatalogError("the catalog has columns but no rows")
        # What has to be read to be known (a database) can still turn out to be what it was the last time.
        content = source.content or fingerprint(sha256_of(staging.path), staging.styles)
        if earlier and earlier.input == key(content):
            return replace(earlier, source=source.display_name, skipped=True, seconds=0.0)
        rejected = validate_rows(staging)
        ok = staging.rows - sum(rejected.values())
        report = CatalogReport(
            source.display_name,
            key(content),
            source.base,
            staging.rows,
            ok,
            rejected,
            attributes={},
            shards=settings.shards,
        )
        folder.remove(REPORT)  # an old report must not vouch for new files, should we die on the way
        unexpected = sum(count for reason, count in rejected.items() if reason not in EXPECTED_REASONS)
        if not ok or unexpected > settings.max_reject_rate * staging.rows:
            write_rejects(con, folder)
            folder.write_text(REPORT, replace(report, accepted=False).to_json())
            raise StepFailed(_refusal(report, unexpected, settings, con, folder))
        types = attribute_types(staging)
        sort_accepted_rows(staging, settings.shards, types)
        staging.path.unlink()  # the room may be needed
        schema = catalog_schema({name: kind for name, (_, kind) in types.items()})
        written = 0
        for shard in range(settings.shards):
            shard_input = fingerprint(STEP, RULES, content, settings.shards, str(schema))
            done = run_shard(
                folder, STEP, shard, settings.shards, shard_input, partial(write_shard, con, shard, schema)
            )
            written += done.ok
            progress(written, ok)
        write_rejects(con, folder)
    return replace(report, attributes={name: str(kind) for name, (_, kind) in types.items()})


def _earlier(folder: Folder, shards: int) -> CatalogReport | None:
    """The report of a catalog that is here whole, if there is one."""
    wanted = {REPORT, REJECTS_FILE, *map(shard_name, range(shards)), *map(report_name, range(shards))}
    if not wanted.issubset(folder.names()):
        return None
    report = CatalogReport.from_json(folder.read_text(REPORT))
    return report if report.accepted else None


def _refusal(
    report: CatalogReport, unexpected: int, settings: Settings, con: duckdb.DuckDBPyConnection, folder: Folder
) -> str:
    most = sorted(report.rejected.items(), key=lambda item: (-item[1], item[0]))[:3]
    reasons = "; ".join(f"{count:,} {reason} ({example(con, reason)})" for reason, count in most)
    if unexpected > settings.max_reject_rate * report.input_rows:
        limit = f"{settings.max_reject_rate:.1%} are allowed (LOOKALIKE_MAX_REJECT_RATE)"
        what = (
            f"{unexpected:,} of {report.input_rows:,} rows are rejected ({unexpected / report.input_rows:.1%}); {limit}"
        )
    else:
        what = f"not one of {report.input_rows:,} rows is left"
    return f"{report.source}: {what}: {reasons}. All of them are in {folder.path(REJECTS_FILE)}"


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _scratch(folder: Folder) -> Iterator[Path]:
    """A folder for what does not fit in memory: beside the shards, where room for them has to be anyway."""
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
    # Sorting wants some memory for each thread; beyond that, disk is as good.
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
