"""Step 4b: writes the parts of the planned segment, each by a task of its own.

    <workspace>/index/<segment>/
      shard-00042.parquet    products of part 42 that are not in the index: REJECTS
      shard-00042.json       its ShardReport, written last: the part is done
      part-00042.json        PartRecord
      state-00042.parquet    what the catalog says of the part's products: STATE; until the segment is complete

The part itself waits in the store of releases. A task needs memory for the codes of one part and for a block of its
vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.encoders.identity import encoder_identity
from artifacts.errors import CorruptFile, StepFailed
from artifacts.schema import REJECTS, STATE, attributes_of, segment_schema
from artifacts.segments.info import FileInfo
from artifacts.store.store import Store
from jobs.catalog.shards import product_schema
from jobs.index import quantizers
from jobs.index.join import Tally, add_shard
from jobs.index.plan import IndexPlan, Part, current_plan
from jobs.parquet import read_parquet
from jobs.spark.gpu import gpu_number
from jobs.steps import Progress, ShardPlan, ShardTask, StepContext, StepResult, no_progress, run_plan, split_shards
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
        similarity: sum of the cosines of all rows with the centroids of their lists; 0 for an index without lists.
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
    plan = _current_plan(context)
    work = _find_work(context, plan, parts)
    chosen = [report.shard for report in work.unchanged] + list(work.changed)
    total, done = sum(plan.parts[number].shards for number in chosen), 0

    def on_part(report: ShardReport) -> None:
        nonlocal done
        done += plan.parts[report.shard].shards
        context.progress(done, total)
        context.on_shard(report)

    in_process = context.in_process or len(plan.parts) == 1
    totals = run_plan(replace(context, progress=no_progress, on_shard=on_part, in_process=in_process), work)
    return StepResult(totals.changed, parts_note(totals), totals)


def parts_note(totals: ShardTotals) -> str:
    """Return one line for people about parts that were written, or had been written before."""
    if totals.changed:
        return totals.note("products", "indexed")
    count = len(totals.reports)
    return f"nothing left to write: {totals.ok:,} products are in {count:,} finished part{'' if count == 1 else 's'}"


def plan_parts(context: StepContext, parts: Sequence[int] | None = None) -> ShardPlan:
    """Find the parts that have to be written.

    Args:
        parts: numbers of the parts to look at; all by default.

    Raises:
        StepFailed: the train step has not been done.
    """
    return _find_work(context, _current_plan(context), parts)


def _current_plan(context: StepContext) -> IndexPlan:
    config = context.config
    identity = encoder_identity(config.encoder.encoder, config.encoder.device, config.cache)
    return current_plan(context.workspace, identity, config)


def _find_work(context: StepContext, plan: IndexPlan, parts: Sequence[int] | None) -> ShardPlan:
    folder = context.store.folder
    task = PartTask(
        context.workspace,
        # Tasks run in another working directory: a relative path would lead elsewhere there.
        folder.root if folder.is_local else folder.url,
        context.config.cache,
        plan,
        context.config.thumbnail_side,
        context.config.index.index_device,
        progress=context.progress if len(plan.parts) == 1 else no_progress,
    )

    def make_task(threads: int) -> ShardTask:
        return partial(write_part, replace(task, threads=threads))

    numbers = range(len(plan.parts)) if parts is None else parts
    done, changed = split_shards(numbers, task.unchanged)
    return ShardPlan(done, changed, make_task, noun="part")


@dataclass(frozen=True)
class PartTask:
    """What a task needs to write any part of a segment. Picklable.

    Attributes:
        releases: URL of the store.
        cache: of the store, on the task's machine.
        thumbnail_side: longest side in px.
        device: see `artifacts.index.devices.opening`; a task on Spark takes one GPU, see `jobs.spark.gpu`.
        threads: for FAISS and for thumbnails.
        progress: called with a part's shards.
    """

    workspace: Workspace
    releases: str
    cache: Path
    plan: IndexPlan
    thumbnail_side: int
    device: str
    threads: int = 1
    progress: Progress = no_progress

    def unchanged(self, number: int) -> ShardReport | None:
        """Return the report of a part that is written; None if there is work to do."""
        folder = self.workspace.index_parts(self.plan.segment_id, len(self.plan.parts))
        return folder.unchanged(number, self.plan.segment_id, self.is_missing)

    def is_missing(self, report: ShardReport) -> bool:
        """Return whether a part that was written is no longer in the store, nor its segment."""
        try:
            record = read_part(self.workspace, self.plan, report.shard)
        except CorruptFile:
            return True
        if record is None:
            return True
        segments = Store(self.releases, self.cache).segments
        if segments.digest(self.plan.segment_id) is not None:
            return False
        state = (self.workspace.index / self.plan.segment_id).exists(state_name(report.shard))
        return not state or not segments.staged(self.plan.segment_id).has(report.shard, record.files)


def read_part(workspace: Workspace, plan: IndexPlan, number: int) -> PartRecord | None:
    """Return what a task has recorded of a part; None if it has not been written.

    Raises:
        CorruptFile: the record is damaged.
    """
    return read_record(workspace.index / plan.segment_id, _record_name(number), PartRecord)


def part_rejects(workspace: Workspace, plan: IndexPlan, number: int) -> pa.Table:
    """Return the products of a part that are not in the index, as REJECTS."""
    with workspace.index_parts(plan.segment_id, len(plan.parts)).open(number) as file:
        return read_parquet(file)


def write_part(task: PartTask, number: int) -> ShardReport:
    """Write one part of a planned segment, unless that is done.

    Args:
        number: of the part.

    Raises:
        StepFailed: pictures are not embedded, or their number is not the planned one.
        CorruptFile: the quantizer is damaged.
        DeviceError: there is no such device, or a GPU that was named has failed.
    """
    plan, records = task.plan, task.workspace.index / task.plan.segment_id

    def work(path: Path) -> ShardCounts:
        import faiss

        faiss.omp_set_num_threads(task.threads)
        tally = Tally()
        staged = Store(task.releases, task.cache).segments.staged(plan.segment_id)
        with records.writing(state_name(number)) as state, staged.writing(number) as folder:
            record = _write_files(task, plan.parts[number], folder, state, tally)
        write_record(records, _record_name(number), record)
        rejects = [{"input_row": None, **reject} for reject in tally.rejects]
        pq.write_table(pa.Table.from_pylist(rejects, schema=REJECTS), path, compression="zstd")
        failed = dict(tally.rejected)
        return ShardCounts(tally.indexed + sum(failed.values()), tally.indexed, failed)

    folder = task.workspace.index_parts(plan.segment_id, len(plan.parts))
    return folder.run(number, plan.segment_id, work, again=task.is_missing)


def _write_files(task: PartTask, part: Part, folder: Path, state: Path, tally: Tally) -> PartRecord:
    from artifacts.segments.part_writer import PartWriter  # imports FAISS
    from artifacts.segments.sealing import seal_files

    workspace, plan = task.workspace, task.plan
    schema = segment_schema(attributes_of(product_schema(workspace)))
    writer = PartWriter(folder, plan.dim, schema, part.first_row)
    with pq.ParquetWriter(state, STATE, compression="zstd") as state_writer:
        for shard in range(part.first_shard, part.first_shard + part.shards):
            add_shard(
                workspace, shard, plan, writer, state_writer, tally,
                schema=schema, thumbnail_side=task.thumbnail_side, read_at=plan.read_at, threads=task.threads,
            )  # fmt: skip
            task.progress(shard - part.first_shard + 1, part.shards)
    writer.close()
    if writer.rows != part.rows:
        raise StepFailed(
            f"part {part.number} has {writer.rows} pictures with a vector, not {part.rows}: "
            "the workspace has changed since it was planned; run the train step again"
        )
    similarity = _write_index(task, part.number, writer)
    counts = writer.counts
    failed_pictures = dict(sorted(tally.failed_pictures.items()))
    return PartRecord(counts.products, counts.max_pictures, similarity, failed_pictures, seal_files(folder))


def _write_index(task: PartTask, number: int, writer: PartWriter) -> float:
    """Write the index of a part; returns the sum of the cosines of its rows with their centroids."""
    from artifacts.index.devices.opening import open_device
    from artifacts.segments.index_writer import fill_part, write_flat_index

    vectors = writer.vectors()
    if task.plan.engine is not None:
        return 0.0
    if not task.plan.quantizer:
        write_flat_index([(writer.folder, vectors)], graph=task.plan.codec == "hnsw")
        return 0.0
    trained = quantizers.load(task.workspace, task.plan.quantizer)
    device = open_device(task.device, gpu_number(number))
    return fill_part(writer.folder, vectors, writer.first_row, trained, device=device).total


def state_name(number: int) -> str:
    """Return the name of the file with a part's STATE."""
    return f"state-{number:05d}.parquet"


def _record_name(number: int) -> str:
    return f"part-{number:05d}.json"
