"""What writing a catalog's shards and finding its changes have in common: a source is staged, validated, or refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from artifacts.errors import CatalogError, StepFailed
from artifacts.schema import EXPECTED_REASONS
from artifacts.storage import sha256_of
from jobs.catalog.rules import example
from jobs.catalog.source import Source, without_password
from jobs.catalog.staging import Staging, run_sql
from jobs.steps import Progress
from jobs.workspace.fingerprints import fingerprint

#: Rejected rows from which on a source of changes is refused, if they are also too large a share.
MANY_REJECTS = 20
#: Rows of a source of changes that may all be rejected.
FEW_ROWS = 4


@contextmanager
def source_errors(source: str) -> Iterator[None]:
    """Name the source in the message of every CatalogError, and raise StepFailed for errors of DuckDB itself."""
    try:
        yield
    except CatalogError as error:
        name, message = without_password(source), str(error)
        raise CatalogError(message if name in message else f"{name}: {message}") from error
    except duckdb.Error as error:
        raise StepFailed(f"reading the catalog failed: {error}") from error


def connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    """Return a database in a scratch folder, for rows that do not fit in memory."""
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


def stage_source(
    source: Source, con: duckdb.DuckDBPyConnection, scratch: Path, progress: Progress, *, changes_only: bool = False
) -> Staging:
    """Read a source into the staging file.

    Args:
        changes_only: whether it names only what has changed; it may then have no rows.

    Raises:
        CatalogError: the source cannot be used, or has no rows.
    """
    staging = Staging(con, scratch / "staged.parquet", progress, changes_only)
    source.stage(staging)
    if not staging.rows and not changes_only:
        raise CatalogError("the catalog has columns but no rows")
    return staging


def content_of(staging: Staging) -> str:
    """Return the fingerprint of a source that is known only once it has been read."""
    return fingerprint(sha256_of(staging.path), staging.styles)


def refusal(
    con: duckdb.DuckDBPyConnection,
    rows: int,
    rejected: Mapping[str, int],
    max_reject_rate: float,
    *,
    changes_only: bool = False,
) -> str | None:
    """Say why a catalog is refused if more of its rows are rejected than are allowed, or all of them; else None.

    A source of changes may have a few rows, so that one bad row of two is no sign of a broken source: it is refused for
    its rate only if MANY_REJECTS rows are rejected, or all of more than FEW_ROWS. All of its rows may be deletions.

    Args:
        con: has the table `rejected` of `validate_rows`.
        rows: all rows of the catalog.
        rejected: Reason -> rows.
        max_reject_rate: share of rows that may be rejected, 0 to 1.
        changes_only: whether the catalog names only what has changed.
    """
    unexpected = sum(count for reason, count in rejected.items() if reason not in EXPECTED_REASONS)
    too_many = unexpected > max_reject_rate * rows
    if changes_only:
        too_many = too_many and (unexpected >= MANY_REJECTS or unexpected == rows > FEW_ROWS)
    if not too_many and (changes_only or rows > sum(rejected.values())):
        return None
    most = sorted(rejected.items(), key=lambda item: (-item[1], item[0]))[:3]
    reasons = "; ".join(f"{count:,} {reason} ({example(con, reason)})" for reason, count in most)
    problem = f"not one of {rows:,} rows is left"
    if too_many:
        limit = f"{max_reject_rate:.1%} are allowed (LOOKALIKE_MAX_REJECT_RATE)"
        problem = f"{unexpected:,} of {rows:,} rows are rejected ({unexpected / rows:.1%}); {limit}"
    return f"{problem}: {reasons}"
