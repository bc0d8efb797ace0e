"""The report of the catalog step: written last, read by every later step."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import pyarrow as pa
from pydantic import Field

from artifacts.errors import StepFailed
from artifacts.schema import ATTRIBUTE_TYPES
from jobs.workspace.records import read_record
from jobs.workspace.workspace import CATALOG_REPORT, Workspace

#: Before any other time.
UNKNOWN_TIME = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class CatalogReport:
    """Where the rows of a catalog ended: input_rows == ok + the sum of rejected."""

    source: str  # as the caller named it, without passwords
    input: str  # fingerprint of everything that the outcome depends on
    base: str | None  # folder or URL that relative pictures are resolved against; None for a database
    input_rows: int
    ok: int
    rejected: dict[str, int]  # Reason -> rows
    attributes: dict[str, str]  # name -> type as Arrow writes it; see attribute_types
    shards: int
    accepted: bool = True  # False: over max_reject_rate; the shards are then those of an earlier catalog
    seconds: float = 0.0
    read_at: datetime = UNKNOWN_TIME  # when its content was last found to be this; unknown before
    skipped: Annotated[bool, Field(exclude=True)] = False  # the same catalog was validated before; never stored

    @property
    def attribute_types(self) -> dict[str, pa.DataType]:
        names = {str(dtype): dtype for dtype in ATTRIBUTE_TYPES}
        return {name: names[dtype] for name, dtype in self.attributes.items()}

    @property
    def note(self) -> str:
        """One line for people."""
        rejected = ", ".join(f"{count:,} {reason}" for reason, count in self.rejected.items())
        same = ", as before" if self.skipped else ""
        return f"{self.ok:,} of {self.input_rows:,} rows{f'; rejected: {rejected}' if rejected else ''}{same}"


def read_catalog_report(workspace: Workspace) -> CatalogReport:
    """Return the report of the catalog in a workspace.

    Raises:
        StepFailed: there is no catalog yet, or the last one was refused, so the shards are not its own.
        CorruptFile: the report cannot be read.
    """
    folder = workspace.catalog.folder
    report = read_record(folder, CATALOG_REPORT, CatalogReport)
    if report is None:
        raise StepFailed(f"{folder.url} has no {CATALOG_REPORT}: the catalog step has not been run to its end; run it")
    if not report.accepted:
        raise StepFailed(
            f"the last catalog, {report.source}, was refused ({sum(report.rejected.values()):,} of "
            f"{report.input_rows:,} rows rejected); correct it and run the catalog step again"
        )
    return report
