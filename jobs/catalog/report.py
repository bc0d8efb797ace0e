"""TODO."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import pyarrow as pa

from artifacts.errors import StepFailed
from artifacts.schema import ATTRIBUTE_TYPES
from artifacts.storage import Folder

STEP = "catalog"
REPORT = "report.json"


@dataclass(frozen=True)
class CatalogReport:
    """What became of a catalog. input_rows == ok + the sum of rejected."""

    source: str  # as it was named, without passwords
    input: str  # fingerprint of all that the outcome depends on
    base: str | None  # folder or URL that relative pictures are resolved against; None: there is none (a database)
    input_rows: int
    ok: int
    rejected: dict[str, int]  # Reason -> rows
    attributes: dict[str, str]  # name -> type as Arrow writes it; see attribute_types
    shards: int
    accepted: bool = True  # False: over max_reject_rate; the shards are then those of an earlier catalog
    seconds: float = 0.0
    skipped: bool = False  # nothing was done: the same catalog was validated before (never stored as true)

    @property
    def attribute_types(self) -> dict[str, pa.DataType]:
        names = {str(kind): kind for kind in ATTRIBUTE_TYPES}
        return {name: names[kind] for name, kind in self.attributes.items()}

    def to_json(self) -> str:
        stored = asdict(self)
        del stored["skipped"]
        return json.dumps(stored, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CatalogReport:
        return cls(**json.loads(text))


# ── for later steps ──────────────────────────────────────────────────────────────────────────────────────────────────


def read_catalog_report(workspace: Folder) -> CatalogReport:
    """The report of the catalog in this workspace.

    Raises:
        StepFailed: there is no catalog yet, or the last one was refused, so the shards are not its own.
    """
    folder = workspace / STEP
    if not folder.exists(REPORT):
        raise StepFailed(f"{folder.url} has no {REPORT}: the catalog step has not been run to its end; run it")
    report = CatalogReport.from_json(folder.read_text(REPORT))
    if not report.accepted:
        raise StepFailed(
            f"the last catalog, {report.source}, was refused ({sum(report.rejected.values()):,} of "
            f"{report.input_rows:,} rows rejected); mend it and run the catalog step again"
        )
    return report
