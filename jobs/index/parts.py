"""Step 4b: writes the parts of the planned segment, each by a task of its own.

    <workspace>/index/<segment>/
      shard-00042.parquet    what the catalog says of the products of part 42: STATE
      shard-00042.json       its ShardReport, written last: the part is done
      part-00042.json        PartRecord
      rejects-00042.parquet  products of the part that are not in the index, with the reason

The part itself waits in the store of releases. A task needs memory for one part: its codes, and a block of its vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.encoders.identity import encoder_identity
from artifacts.errors import StepFailed
from artifacts.schema import REJECTS, STATE, attributes_of, segment_schema
from artifacts.segments.info import FileInfo
from artifacts.store.store import Store
from jobs.catalog.shards import read_products
from jobs.index import quantizers
from jobs.index.built import built_candidate
from jobs.index.join import Tally, add_shard
from jobs.index.plan import IndexPlan, Part, current_plan
from jobs.spark.gpu import assigned_gpu
from jobs.steps import (
    Progress,
    ShardPlan,
    ShardTask,
    StepContext,
    StepResult,
    no_progress,
    run_plan,
    split_shards,
)
from jobs.workspace.records import read_record, write_record
from jobs.workspace.shards import ShardCounts, ShardReport, ShardTotals
from jobs.workspace.workspace import Workspace

if TYPE_CHECKING:
    from artifacts.segments.part_writer import PartWriter


@dataclass(frozen=True)
class PartRecord:
    """What sealing the segment needs to know of a part.

    Attributes:
        products: number of products.
        max_pictures: of one product.
        similarity: sum of the cosines of all rows with the centroids of their lists; 0 for a flat index.
        failed_pictures: Reason -> pictures of indexed products.
        files: by name within the part's folder.
    """

    products: int
    max_pictures: int
    similarity: float
    failed_pictures: dict[str, int] = field(default_factory=dict)
    files: dict[str, FileInfo] = field(default_factory=dict)


def run_parts(context: StepContext, parts: Sequence[int] | None = None) -> StepResult[ShardTotals]:
    """Write some parts of the planned segment, or all; see `run_plan`. Progress counts shards.

    A segment of one part is written in this process.

    Raises:
        StepFailed: the train step has not been done, or a part failed.
        EncoderError: the encoder cannot be loaded.
    """
    plan, work = _plan_work(context, parts)
    shards = {part.number: part.shards for part in plan.parts}
    chosen = [report.shard for report in work.unchanged] + list(work.changed)
    total, done = sum(shards[part] for part in chosen), 0

    def on_part(report: ShardReport) -> None:
        nonlocal done
        done += shards[report.shard]
        context.progress(done, total)
        context.on_shard(report)

    in_process = context.in_process or len(plan.parts) == 1
    totals = run_plan(
        StepContext(
            context.config, context.workspace, context.store, spark=context.spark, on_shard=on_part,
            in_process=in_process,
        ),
        work,
    )  # fmt: skip
    rows = sum(plan.parts[report.shard].rows for report in totals.reports if not report.skipped)
    rate = f" ({rows / totals.seconds:,.0f}/s)" if rows and totals.seconds else ""
    note = f"{rows:,} pictures indexed{rate}" if rows else "as before"
    return StepResult(totals.changed, note, totals)


def plan_parts(context: StepContext, parts: Sequence[int] | None = None) -> ShardPlan:
    """Find the parts that have to be written; none, if the segment is complete.

    Args:
        parts: numbers of the parts to look at; all by default.

    Raises:
        StepFailed: the train step has not been done.
    """
    return _plan_work(context, parts)[1]


def _plan_work(context: StepContext, parts: Sequence[int] | None) -> tuple[IndexPlan, ShardPlan]:
    workspace, config = context.workspace, context.config
    identity = encoder_identity(config.encoder.encoder, config.encoder.device, config.cache)
    plan = current_plan(workspace, identity, config)
    numbers = range(len(plan.parts)) if parts is None else parts
    if built_candidate(context, plan.segment_id) is not None:
        return plan, ShardPlan([], [], lambda threads: _no_task)
    folder = workspace.index_parts(plan.segment_id, len(plan.parts))

    def unchanged(number: int) -> ShardReport | None:
        return folder.unchanged(number, plan.segment_id, partial(_is_missing, workspace, context.store, plan))

    def make_task(threads: int) -> ShardTask:
        return partial(
            write_part,
            workspace,
            releases=config.releases,
            cache=config.cache,
            plan=plan,
            thumbnail_side=config.thumbnail_side,
            device=config.index.index_device,
            threads=threads,
            progress=context.progress if len(plan.parts) == 1 else no_progress,
        )

    done, changed = split_shards(list(numbers), unchanged)
    return plan, ShardPlan(done, changed, make_task, noun="part")


def _no_task(number: int) -> ShardReport:
    raise StepFailed(f"part {number} has no work to do")


def _is_missing(workspace: Workspace, store: Store, plan: IndexPlan, report: ShardReport) -> bool:
    """Whether a part that was written is no longer in the store."""
    record = read_part(workspace, plan, report.shard)
    return record is None or not store.staged_parts(plan.segment_id).has(report.shard, record.files)


def read_part(workspace: Workspace, plan: IndexPlan, number: int) -> PartRecord | None:
    """Return what a task has recorded of a part; None if it has not been written."""
    return read_record(workspace.index / plan.segment_id, _record_name(number), PartRecord)


def part_rejects(workspace: Workspace, plan: IndexPlan, number: int) -> pa.Table:
    """Return the products of a part that are not in the index, as REJECTS."""
    with (workspace.index / plan.segment_id).open(_rejects_name(number)) as file:
        return pq.read_table(file)


def write_part(
    workspace: Workspace,
    number: int,
    *,
    releases: str,
    cache: Path,
    plan: IndexPlan,
    thumbnail_side: int,
    device: str,
    threads: int,
    progress: Progress = no_progress,
) -> ShardReport:
    """Write one part of a planned segment, unless that is done.

    Args:
        number: of the part.
        releases: URL of the store.
        cache: of the store, on this machine.
        thumbnail_side: longest side in px.
        device: see `artifacts.index.devices.opening`; for `auto`, the GPU that Spark has assigned to the task.
        threads: for FAISS and for thumbnails.
        progress: called with the part's shards.

    Raises:
        StepFailed: pictures are not embedded, or their number is not the planned one.
        CorruptFile: the quantizer is damaged.
        DeviceError: there is no such device.
    """
    store = Store(releases, cache)
    staged = store.staged_parts(plan.segment_id)
    folder = workspace.index_parts(plan.segment_id, len(plan.parts))

    def work(path: Path) -> ShardCounts:
        import faiss

        faiss.omp_set_num_threads(threads)
        tally = Tally()
        with staged.writing(number) as part_folder:
            record = _write_files(
                part_folder, path, workspace, plan, plan.parts[number], tally, thumbnail_side, device, threads, progress
            )
        own = workspace.index / plan.segment_id
        with own.writing(_rejects_name(number)) as rejects:
            rows = [{"input_row": None, **reject} for reject in tally.rejects]
            pq.write_table(pa.Table.from_pylist(rows, schema=REJECTS), rejects, compression="zstd")
        write_record(own, _record_name(number), record)
        failed = dict(tally.rejected)
        return ShardCounts(tally.indexed + sum(failed.values()), tally.indexed, failed)

    return folder.run(number, plan.segment_id, work, again=partial(_is_missing, workspace, store, plan))


def _write_files(
    folder: Path,
    state_path: Path,
    workspace: Workspace,
    plan: IndexPlan,
    part: Part,
    tally: Tally,
    thumbnail_side: int,
    device: str,
    threads: int,
    progress: Progress,
) -> PartRecord:
    from artifacts.segments.part_writer import PartWriter  # imports FAISS
    from artifacts.segments.sealing import seal_files

    schema = segment_schema(attributes_of(read_products(workspace, 0).schema))
    writer = PartWriter(folder, plan.dim, schema, part.first_row)
    with pq.ParquetWriter(state_path, STATE, compression="zstd") as state_writer:
        for shard in range(part.first_shard, part.first_shard + part.shards):
            add_shard(
                workspace, shard, plan, writer, state_writer, tally,
                schema=schema, thumbnail_side=thumbnail_side, read_at=plan.read_at, threads=threads,
            )  # fmt: skip
            progress(shard - part.first_shard + 1, part.shards)
    writer.close()
    if writer.rows != part.rows:
        raise StepFailed(
            f"part {part.number} has {writer.rows} pictures with a vector, not {part.rows}: "
            "the workspace has changed since it was planned; run the train step again"
        )
    similarity = _write_index(folder, workspace, plan, writer, device)
    counts = writer.counts
    return PartRecord(counts.products, counts.max_pictures, similarity, dict(tally.failed_pictures), seal_files(folder))


def _write_index(folder: Path, workspace: Workspace, plan: IndexPlan, writer: PartWriter, device: str) -> float:
    """Write the index of a part; returns the sum of the cosines of its rows with their centroids."""
    from artifacts.index.devices.opening import open_device
    from artifacts.segments.index_writer import fill_part, write_flat_index

    vectors = writer.vectors()
    if not plan.quantizer:
        write_flat_index([(folder, vectors)], graph=plan.codec == "hnsw")
        return 0.0
    trained = quantizers.load(workspace, plan.quantizer)
    if device == "auto" and (gpu := assigned_gpu()):
        device = gpu
    return fill_part(folder, vectors, writer.first_row, trained, device=open_device(device)).total


def _record_name(number: int) -> str:
    return f"part-{number:05d}.json"


def _rejects_name(number: int) -> str:
    return f"rejects-{number:05d}.parquet"
