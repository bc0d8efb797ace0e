"""The plan of a segment: which shards make which part, and the numbers of their rows.

It follows from what the steps before have written, so every process that makes it makes the same, however many tasks
do the parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime

import pyarrow.compute as pc

from artifacts.config import PipelineConfig
from artifacts.encoders.identity import EncoderIdentity
from artifacts.engines.reference import EngineRef
from artifacts.errors import CorruptFile, StepFailed
from artifacts.schema import FORMAT_VERSION, OK
from jobs.embed.engine import require_engine_url
from jobs.parquet import read_parquet
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.records import read_record, write_record
from jobs.workspace.workspace import INDEX_PLAN, Workspace


@dataclass(frozen=True)
class Part:
    """A part of a segment: consecutive shards, and consecutive rows."""

    number: int
    first_shard: int
    shards: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class IndexPlan:
    """What a segment is built from, and how it is split in parts.

    Attributes:
        inputs: see `inputs_of`.
        read_at: when the catalog was read.
        segment_id: see the function of this name.
        encoder_id: of the vectors.
        slug: the encoder's name in the workspace.
        dim: length of a vector.
        rows: pictures with a vector.
        codec: of the index; "engine" where an engine finds the candidates.
        factory: FAISS factory string, or the kind of the engine.
        lists: IVF lists; 0 for an index without.
        quantizer: sha256 of the trained, empty index; empty for an index without.
        kept_quantizer: whether it was trained for an earlier segment.
        train_rows: vectors that it was trained on.
        engine: that finds the candidates in place of an index.
        trained_similarity: mean cosine of rows with their centroids in the segment that the quantizer was trained for;
            None if that is this segment, or was never completed.
        parts: in order.
    """

    inputs: str
    read_at: datetime
    segment_id: str
    encoder_id: str
    slug: str
    dim: int
    rows: int
    codec: str
    factory: str
    lists: int = 0
    quantizer: str = ""
    kept_quantizer: bool = False
    train_rows: int = 0
    trained_similarity: float | None = None
    engine: EngineRef | None = None
    parts: list[Part] = field(default_factory=list)

    def save(self, workspace: Workspace) -> None:
        write_record(workspace.index, INDEX_PLAN, self)


def rows_of(workspace: Workspace, identity: EncoderIdentity, config: PipelineConfig) -> str:
    """Return the fingerprint of everything that the rows of a segment depend on.

    Raises:
        StepFailed: a step before is not complete; names the shards.
    """
    folders = (workspace.catalog, workspace.images, workspace.embeddings(identity.slug))
    digests = [[report.digest for report in folder.reports()] for folder in folders]
    return fingerprint(FORMAT_VERSION, identity.id, config.thumbnail_side, digests)


def inputs_of(workspace: Workspace, identity: EncoderIdentity, config: PipelineConfig) -> str:
    """Return the fingerprint of everything that a plan depends on but the quantizers that are kept.

    Raises:
        StepFailed: a step before is not complete; names the shards.
    """
    shaping = asdict(config.index)
    del shaping["index_device"]  # every device gives the same index
    engine = engine_of(config)
    return fingerprint(rows_of(workspace, identity, config), shaping, *([engine.model_dump()] if engine else []))


def engine_of(config: PipelineConfig) -> EngineRef | None:
    """Return the engine that a new base will have, without the name of its collection; None for files of FAISS.

    Raises:
        InputError: its address is missing.
    """
    engine = config.engine
    if engine.engine == "faiss":
        return None
    require_engine_url(engine)
    return EngineRef(kind=engine.engine, name="", vectors=engine.engine_vectors, options=dict(engine.engine_options))


def segment_id(rows: str, plan: IndexPlan) -> str:
    """Return the id of a planned segment: a digest of all that it is made from.

    Settings that lead to the same plan lead to the same segment.

    Args:
        rows: see `rows_of`.
    """
    engine = [plan.engine.model_dump(exclude={"name"})] if plan.engine else []
    parts = [asdict(part) for part in plan.parts]
    return fingerprint(rows, plan.codec, plan.factory, plan.quantizer, parts, *engine)[:16]


def read_plan(workspace: Workspace) -> IndexPlan | None:
    """Return the plan that was made last; None if there is none, or if it is damaged."""
    try:
        return read_record(workspace.index, INDEX_PLAN, IndexPlan)
    except CorruptFile:
        return None


def current_plan(workspace: Workspace, identity: EncoderIdentity, config: PipelineConfig) -> IndexPlan:
    """Return the plan for what the workspace has now.

    Raises:
        StepFailed: the train step has not been done since something changed.
    """
    plan = read_plan(workspace)
    if plan is None or plan.inputs != inputs_of(workspace, identity, config):
        raise StepFailed(
            f"{workspace.url}: the index is not planned for these pictures and settings; run the train step first"
        )
    return plan


def count_rows(workspace: Workspace, slug: str) -> list[int]:
    """Return the number of pictures with a vector of each shard."""
    reports = workspace.embeddings(slug).reports()
    return [_count(workspace, slug, report.shard) if report.pictures is None else report.pictures for report in reports]


def _count(workspace: Workspace, slug: str, shard: int) -> int:
    """Count the rows of a shard whose report is of a version that did not."""
    with workspace.images.open(shard) as file:
        pictures = read_parquet(file, columns=["sha256"])["sha256"]
    with workspace.embeddings(slug).open(shard) as file:
        embedded = read_parquet(file, columns=["sha256", "status"])
    usable = embedded.filter(pc.field("status") == OK)["sha256"]
    found = pc.call_function("is_in", [pictures], pc.SetLookupOptions(value_set=usable, skip_nulls=True))
    return int(pc.call_function("sum", [found]).as_py() or 0)


def split_parts(rows: Iterable[int], rows_per_part: int | None) -> list[Part]:
    """Split shards into parts of about the same size, the fewest that hold at most `rows_per_part` rows each.

    A part is larger if a shard is.

    Args:
        rows: of each shard.
        rows_per_part: None for one part of all shards.
    """
    shards = list(rows)
    total = sum(shards)
    count = 1 if rows_per_part is None else max(1, -(-total // rows_per_part))
    target = min(total / count, rows_per_part or total)
    parts: list[Part] = []
    first_shard, first_row, size = 0, 0, 0
    for shard, shard_rows in enumerate(shards):
        too_many = rows_per_part is not None and size + shard_rows > rows_per_part
        # A part ends where it comes nearest to the target.
        if size and (too_many or size + shard_rows / 2 > target) and rows_per_part is not None:
            parts.append(Part(len(parts), first_shard, shard - first_shard, first_row, size))
            first_shard, first_row, size = shard, first_row + size, 0
        size += shard_rows
    return [*parts, Part(len(parts), first_shard, len(shards) - first_shard, first_row, size)]
