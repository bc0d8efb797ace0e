"""The workspace: what the steps keep between runs, and how one shard's work is done once.

    <workspace>/
      workspace.json               number of shards; a workspace is never used with another
      catalog/   images/   embeddings/<encoder>/
        shard-00042.parquet        the rows of this shard
        shard-00042.json           its ShardReport, written after it: the shard is done

A shard whose report carries the same `input` fingerprint is not done again, so a step can be killed anywhere and run
again: what was finished is kept, what was not is invisible.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from artifacts.errors import StepFailed
from artifacts.storage import Folder, sha256_of


@dataclass(frozen=True)
class ShardReport:
    """What one shard's task did: the only thing that it hands back."""

    step: str
    shard: int
    shards: int
    input: str  # fingerprint of everything the output depends on
    rows: int = 0  # rows of the output file
    ok: int = 0
    failed: dict[str, int] = field(default_factory=dict)  # Reason -> rows
    reused: int = 0  # of `ok`, how many were carried over from an earlier run
    bytes: int = 0  # size of the output file
    sha256: str = ""  # of the output file
    seconds: float = 0.0
    skipped: bool = False  # nothing was done: an earlier report matched (never stored as true)

    def to_json(self) -> str:
        stored = asdict(self)
        del stored["skipped"]
        return json.dumps(stored, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ShardReport:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class ShardCounts:
    """What a shard's work returns: the part of its report that only it can know."""

    rows: int
    ok: int
    failed: dict[str, int] = field(default_factory=dict)
    reused: int = 0


def shard_name(shard: int) -> str:
    return f"shard-{shard:05d}.parquet"


def report_name(shard: int) -> str:
    return f"shard-{shard:05d}.json"


def read_report(folder: Folder, shard: int) -> ShardReport | None:
    """The report of a finished shard, or None if it has none."""
    if not folder.exists(report_name(shard)):
        return None
    return ShardReport.from_json(folder.read_text(report_name(shard)))


def read_reports(folder: Folder, shards: int) -> list[ShardReport]:
    """The reports of all shards of a step, in order.

    Raises:
        StepFailed: a shard has not been done.
    """
    reports = [read_report(folder, shard) for shard in range(shards)]
    missing = [shard for shard, report in enumerate(reports) if report is None]
    if missing:
        raise StepFailed(f"{folder.url}: shards {missing[:10]} of {shards} have not been done; run the step again")
    return [report for report in reports if report is not None]


def run_shard(
    folder: Folder,
    step: str,
    shard: int,
    shards: int,
    fingerprint: str,
    work: Callable[[Path], ShardCounts],
    *,
    again: Callable[[ShardReport], bool] = lambda report: False,
) -> ShardReport:
    """Do one shard of a step, unless it is done.

    Args:
        folder: where the step's shards are kept.
        fingerprint: of everything the output depends on; the same fingerprint means the same output.
        work: writes the shard's Parquet to the path it is given and returns its counts.
        again: asked with a matching earlier report; True does the shard all the same (failures that may have passed).
    """
    earlier = read_report(folder, shard)
    if earlier and earlier.input == fingerprint and not again(earlier) and folder.exists(shard_name(shard)):
        return replace(earlier, skipped=True, reused=earlier.ok, seconds=0.0)
    began = time.monotonic()
    with folder.writing(shard_name(shard)) as temporary:
        counts = work(temporary)
        size, digest = temporary.stat().st_size, sha256_of(temporary)
        # An old report must not vouch for a new file, should we die between the two.
        folder.remove(report_name(shard))
    report = ShardReport(
        step, shard, shards, fingerprint,
        rows=counts.rows, ok=counts.ok, failed=dict(sorted(counts.failed.items())), reused=counts.reused,
        bytes=size, sha256=digest, seconds=round(time.monotonic() - began, 3),
    )  # fmt: skip
    folder.write_text(report_name(shard), report.to_json())
    return report


def fingerprint(*parts: object) -> str:
    """A short digest of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def open_workspace(url: str, shards: int) -> Folder:
    """The workspace folder, made if need be; remembers its number of shards.

    Raises:
        StepFailed: the workspace was made with another number of shards, so its files would be in the wrong places.
    """
    folder = Folder(url)
    recorded = _recorded_shards(folder)
    if recorded and recorded != shards:
        raise StepFailed(
            f"workspace {url} was made with {recorded} shards, not {shards}: "
            f"set LOOKALIKE_SHARDS={recorded}, or name a new workspace"
        )
    if not recorded:
        folder.write_text("workspace.json", json.dumps({"shards": shards}) + "\n")
    return folder


def recorded_shards(url: str) -> tuple[Folder, int]:
    """An existing workspace and its number of shards.

    Raises:
        StepFailed: there is no workspace there.
    """
    folder = Folder(url)
    recorded = _recorded_shards(folder)
    if recorded is None:
        raise StepFailed(f"{url} is not a workspace: build there first, or name another with --workspace")
    return folder, recorded


def _recorded_shards(folder: Folder) -> int | None:
    return json.loads(folder.read_text("workspace.json"))["shards"] if folder.exists("workspace.json") else None
