"""Step 4c: makes the parts one segment, and names it as the candidate's base; every catalog row has an end then."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.encoders.identity import EncoderIdentity, encoder_identity
from artifacts.engines.reference import EngineRef, collection_name
from artifacts.errors import CorruptFile, StepFailed
from artifacts.schema import REJECTS, STATE, attributes_of, segment_schema
from artifacts.store.identity import identity_of
from artifacts.store.manifest import Counts
from artifacts.store.store import Store
from jobs.candidate import Candidate, recorded_settings
from jobs.catalog.report import CatalogReport, read_catalog_report
from jobs.catalog.shards import product_schema, read_rejects
from jobs.index import quantizers
from jobs.index.built import built_candidate
from jobs.index.parts import PartRecord, part_rejects, read_part, state_name
from jobs.index.plan import IndexPlan, current_plan
from jobs.parquet import open_for_batches
from jobs.steps import StepContext, StepResult
from jobs.workspace.workspace import CANDIDATE_REJECTS, INDEX_PLAN, Workspace

if TYPE_CHECKING:
    from artifacts.segments.info import FileInfo

#: Age up to which the records of other segments are kept: a build may be writing them, or return to them.
_KEPT = timedelta(days=7)

#: Seconds that another build may take to put a part in the place of an equal one: two renames.
_REPLACING_SECONDS = 2.0

#: Rows of the catalog's state that are copied at once.
_BLOCK = 65_536


def run_seal(context: StepContext) -> StepResult[Candidate]:
    """Complete the candidate's segment from its parts, and save the candidate. Progress counts parts.

    Raises:
        StepFailed: an earlier step is not complete, or no product has a usable picture, or too many have none.
        EncoderError: the encoder cannot be loaded.
    """
    config = context.config.encoder
    identity = encoder_identity(config.encoder, config.device, context.config.cache)
    catalog = read_catalog_report(context.workspace)
    plan = current_plan(context.workspace, identity, context.config)
    before = built_candidate(context, plan.segment_id)
    built = before or _build(context, catalog, identity, plan)
    candidate = built.model_copy(
        update={
            "expected": context.store.current(),
            "source": catalog.source,
            "read_at": catalog.read_at,
            "settings": recorded_settings(context.config),
            "engine_url": context.config.engine.engine_url if plan.engine else "",
            "engine_options": _further_options(context, plan),
        }
    )
    if candidate != before:
        candidate.save(context.workspace)
    _clean_up(context, plan)
    counts = candidate.counts
    note = f"{counts.indexed:,} products, {counts.pictures:,} pictures{', as before' if before else ''}"
    return StepResult(before is None, note, candidate)


def _build(context: StepContext, catalog: CatalogReport, identity: EncoderIdentity, plan: IndexPlan) -> Candidate:
    workspace, store = context.workspace, context.store
    folder = workspace.index_parts(plan.segment_id, len(plan.parts))
    reports = folder.reports()
    records = [_recorded(workspace, plan, part.number) for part in plan.parts]
    rejected: Counter[str] = Counter()
    failed_pictures: Counter[str] = Counter()
    for report, record in zip(reports, records, strict=True):
        rejected.update(report.failed)
        failed_pictures.update(record.failed_pictures)
    indexed = sum(record.products for record in records)
    _require_products(context, catalog, plan, rejected, indexed)
    similarity = _seal(context, plan, records)
    counts = Counts(
        input_rows=catalog.input_rows,
        indexed=indexed,
        pictures=plan.rows,
        rejected=dict(sorted((Counter(catalog.rejected) + rejected).items())),
        rejected_pictures=dict(sorted(rejected.items())),
        failed_pictures=dict(sorted(failed_pictures.items())),
    )
    if counts.input_rows != counts.indexed + sum(counts.rejected.values()):
        raise StepFailed(f"rows do not add up: {counts}; this is a bug in Lookalike, please report it")
    with (
        workspace.candidate.writing(CANDIDATE_REJECTS) as path,
        pq.ParquetWriter(path, REJECTS, compression="zstd") as writer,
    ):
        writer.write_table(read_rejects(workspace))
        for part in plan.parts:
            writer.write_table(part_rejects(workspace, plan, part.number))
    if plan.quantizer and plan.trained_similarity is None:
        quantizers.record_similarity(workspace, plan.quantizer, similarity)
    return Candidate(
        expected=store.current(),
        source=catalog.source,
        encoder=identity.describe(),
        segments=[store.reference(plan.segment_id)],
        counts=counts,
        settings=recorded_settings(context.config),
    )


def _recorded(workspace: Workspace, plan: IndexPlan, number: int) -> PartRecord:
    try:
        record = read_part(workspace, plan, number)
    except CorruptFile:
        record = None
    if record is None:
        raise StepFailed(f"{workspace.index.url}: part {number} has not been written; run the index step again")
    return record


def _require_products(
    context: StepContext, catalog: CatalogReport, plan: IndexPlan, rejected: Counter[str], indexed: int
) -> None:
    """Stop before anything is sealed if too few products are left."""
    max_reject_rate = context.config.max_reject_rate
    failed = sum(rejected.values())
    common = ", ".join(f"{reason} ({count})" for reason, count in rejected.most_common(3))
    if indexed == 0:
        raise StepFailed(f"none of the {catalog.ok} products has a usable picture: {common or 'the catalog is empty'}")
    rate = failed / catalog.input_rows
    if rate > max_reject_rate:
        tables = (part_rejects(context.workspace, plan, part.number) for part in plan.parts)
        example = next(table for table in tables if table.num_rows).slice(0, 1).to_pylist()[0]
        raise StepFailed(
            f"{failed} of {catalog.input_rows} products ({rate:.0%}) have no usable picture, more than max_reject_rate "
            f"{max_reject_rate:.0%} allows: {common}; for example {example['product_id']}: {example['detail']}"
        )


def _seal(context: StepContext, plan: IndexPlan, records: list[PartRecord]) -> float | None:
    """Write the segment's own files beside its parts, and complete it; returns the mean cosine with the centroids."""
    from artifacts.products.database import DUCKDB_FILE  # imports DuckDB and FAISS
    from artifacts.products.table import ARROW_FILE
    from artifacts.products.writer import numbered_rows, write_database
    from artifacts.segments.info import (
        QUANTIZER_FILE,
        SIMILARITY_FILE,
        STATE_FILE,
        IndexInfo,
        PartInfo,
        SegmentInfo,
        part_name,
    )
    from artifacts.segments.sealing import seal_segment

    workspace, store = context.workspace, context.store
    schema = segment_schema(attributes_of(product_schema(workspace)))
    files = {
        f"{part_name(number)}/{name}": file
        for number, record in enumerate(records)
        for name, file in record.files.items()
    }
    mean = sum(record.similarity for record in records) / plan.rows if plan.quantizer else None
    if _is_sealed(store, plan):  # by another build of the same parts; the train step has verified it
        return mean
    with store.new_segment(plan.segment_id, files) as folder:
        for part in plan.parts:
            if not _bring(store, plan, part.number, folder, records[part.number].files):
                return mean
        with pq.ParquetWriter(folder / STATE_FILE, STATE, compression="zstd") as writer:
            for batch in _state(workspace, plan):
                writer.write_batch(batch)
        if plan.quantizer:
            with quantizers.file_of(workspace, plan.quantizer) as path:
                shutil.copyfile(path, folder / QUANTIZER_FILE)
            similarity = quantizers.list_similarity(workspace, plan.quantizer)
            if similarity is not None:
                similarity.tofile(folder / SIMILARITY_FILE)

        def product_rows() -> Iterator[pa.RecordBatch]:
            for part in plan.parts:
                yield from numbered_rows(folder / part_name(part.number) / ARROW_FILE, part.first_row)
                context.progress(part.number + 1, len(plan.parts))

        write_database(folder / DUCKDB_FILE, schema, [product_rows()])
        index = IndexInfo(
            codec=plan.codec,
            factory=plan.factory,
            lists=plan.lists,
            train_rows=plan.train_rows,
            seed=context.config.index.seed if plan.quantizer else 0,
            trained_similarity=mean if plan.trained_similarity is None else plan.trained_similarity,
            centroid_similarity=mean,
        )
        info = SegmentInfo(
            id=plan.segment_id,
            rows=plan.rows,
            products=sum(record.products for record in records),
            max_pictures=max(record.max_pictures for record in records),
            dim=plan.dim,
            encoder_id=plan.encoder_id,
            parts=[PartInfo(rows=part.rows) for part in plan.parts],
            index=index,
            engine=_engine_of(store, plan),
            columns={name: str(dtype) for name, dtype in zip(schema.names, schema.types, strict=True)},
        )
        seal_segment(folder, info, files)
    return mean


def _engine_of(store: Store, plan: IndexPlan) -> EngineRef | None:
    """Return the planned engine with the name of the collection: a plan may have been made for another store."""
    if plan.engine is None:
        return None
    return plan.engine.model_copy(update={"name": collection_name(plan.segment_id, identity_of(store.folder))})


def _further_options(context: StepContext, plan: IndexPlan) -> dict[str, int | float | str]:
    """Return the options that say how the engine loads and searches the segment, and not what it holds."""
    if plan.engine is None:
        return {}
    given = context.config.engine.engine_options
    return {name: value for name, value in given.items() if name not in plan.engine.options}


def _bring(store: Store, plan: IndexPlan, number: int, folder: Path, files: Mapping[str, FileInfo]) -> bool:
    """Put a part into the segment's folder; return False if another build has sealed the segment meanwhile.

    Raises:
        StepFailed: the part is not there.
    """
    staged, ends = store.segments.staged(plan.segment_id), time.monotonic() + _REPLACING_SECONDS
    while True:
        try:
            staged.bring(number, folder, files)
            return True
        except FileNotFoundError:
            if _is_sealed(store, plan):  # and its parts were removed afterwards
                return False
            if time.monotonic() > ends:
                raise StepFailed(f"part {number} is no longer in the store; run the index step again") from None
        time.sleep(0.05)  # another build of the same parts may be putting its own in the place of this one


def _is_sealed(store: Store, plan: IndexPlan) -> bool:
    """Return whether the store has the segment; if so, it is then on this machine."""
    digest = store.segments.digest(plan.segment_id)
    if digest is not None:
        store.segments.fetch(plan.segment_id, digest)
    return digest is not None


def _state(workspace: Workspace, plan: IndexPlan) -> Iterator[pa.RecordBatch]:
    records = workspace.index / plan.segment_id
    for part in plan.parts:
        with records.open(state_name(part.number)) as file:
            yield from open_for_batches(file).iter_batches(_BLOCK)


def _clean_up(context: StepContext, plan: IndexPlan) -> None:
    """Remove what is no longer needed once the candidate is saved; other builds may be at work beside this one."""
    workspace = context.workspace
    records = workspace.index / plan.segment_id
    states = [name for name in records.names() if name.startswith("state-")]
    if states:
        context.store.segments.staged(plan.segment_id).remove()
        quantizers.remove_old(workspace, plan.quantizer)
    for name in states:
        records.remove(name)
    for name in workspace.index.names():
        written = (workspace.index / name).last_written() if name not in (INDEX_PLAN, plan.segment_id) else None
        if written is not None and datetime.now(UTC) - written > _KEPT:
            workspace.index.remove(name)
