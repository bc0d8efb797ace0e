"""Step 4: one segment from the catalog, the pictures and the vectors; every catalog row ends indexed or rejected.

The segment's id is a digest of everything that it is made from, so a segment that is in the store is not built again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.encoders.identity import EncoderIdentity, encoder_identity
from artifacts.errors import CorruptFile, StepFailed
from artifacts.schema import FORMAT_VERSION, REJECTS, attributes_of, segment_schema
from artifacts.store.manifest import Counts
from jobs.candidate import Candidate, recorded_settings
from jobs.catalog.report import CatalogReport, read_catalog_report
from jobs.catalog.shards import read_products, read_rejects
from jobs.index.join import Tally, add_shard
from jobs.steps import StepContext, StepResult
from jobs.workspace.fingerprints import Recorded, fingerprint, if_changed
from jobs.workspace.records import read_record
from jobs.workspace.workspace import CANDIDATE, CANDIDATE_REJECTS, Workspace


def run_index(context: StepContext) -> StepResult[Candidate]:
    """Build the candidate's segment and save the candidate. Progress counts shards.

    Raises:
        StepFailed: an earlier step is not complete, or no product has a usable picture, or too many have none.
        EncoderError: the encoder cannot be loaded.
    """
    config = context.config.encoder
    identity = encoder_identity(config.encoder, config.device, context.config.cache)
    catalog = read_catalog_report(context.workspace)
    segment_id = _segment_id(context, identity)
    recorded = _recorded(context, segment_id)
    outcome = if_changed(segment_id, recorded, lambda: _build(context, catalog, identity, segment_id))
    candidate = outcome.value.model_copy(
        update={"expected": context.store.current(), "source": catalog.source, "read_at": catalog.read_at}
    )
    if outcome.changed or candidate != outcome.value:
        candidate.save(context.workspace)
    counts = candidate.counts
    note = f"{counts.indexed:,} products, {counts.pictures:,} pictures{'' if outcome.changed else ', as before'}"
    return StepResult(outcome.changed, note, candidate)


def _segment_id(context: StepContext, identity: EncoderIdentity) -> str:
    workspace = context.workspace
    folders = (workspace.catalog, workspace.images, workspace.embeddings(identity.slug))
    digests = [[report.digest for report in folder.reports()] for folder in folders]
    shaping = {**asdict(context.config.index), "thumbnail_side": context.config.thumbnail_side}
    return fingerprint(FORMAT_VERSION, identity.id, shaping, digests)[:16]


def _recorded(context: StepContext, segment_id: str) -> Recorded[Candidate] | None:
    """Return the workspace's candidate, if its segment has this id and in the store, undamaged."""
    try:
        candidate = read_record(context.workspace.candidate, CANDIDATE, Candidate)
    except CorruptFile:
        return None
    if candidate is None or [segment.id for segment in candidate.segments[:1]] != [segment_id]:
        return None
    return Recorded(segment_id, candidate) if context.store.has_segment(segment_id) else None


def _build(context: StepContext, catalog: CatalogReport, identity: EncoderIdentity, segment_id: str) -> Candidate:
    from artifacts.segments.writer import SegmentWriter  # imports FAISS and DuckDB

    config, workspace, store = context.config, context.workspace, context.store
    tally = Tally()
    with store.new_segment(segment_id) as folder:
        schema = segment_schema(attributes_of(read_products(workspace, 0).schema))
        writer = SegmentWriter(folder, identity.dim, schema, config.index)
        for shard in range(workspace.shards):
            add_shard(workspace, shard, identity, config.thumbnail_side, writer, schema, tally, catalog.read_at)
            context.progress(shard + 1, workspace.shards)
        _require_products(catalog, tally, config.max_reject_rate)
        info = writer.finish(segment_id, identity.id)
    counts = Counts(
        input_rows=catalog.input_rows,
        indexed=info.products,
        pictures=info.rows,
        rejected=dict(sorted((Counter(catalog.rejected) + tally.rejected).items())),
        rejected_pictures=dict(sorted(tally.rejected.items())),
        failed_pictures=dict(sorted(tally.failed_pictures.items())),
    )
    if counts.input_rows != counts.indexed + sum(counts.rejected.values()):
        raise StepFailed(f"rows do not add up: {counts}; this is a bug in Lookalike, please report it")
    _write_rejects(workspace, tally)
    return Candidate(
        expected=store.current(),
        source=catalog.source,
        encoder=identity.describe(),
        segments=[store.reference(segment_id)],
        counts=counts,
        settings=recorded_settings(config),
    )


def _require_products(catalog: CatalogReport, tally: Tally, max_reject_rate: float) -> None:
    """Stop before anything is sealed if too few products are left."""
    failed = sum(tally.rejected.values())
    common = ", ".join(f"{reason} ({count})" for reason, count in tally.rejected.most_common(3))
    if tally.indexed == 0:
        raise StepFailed(f"none of the {catalog.ok} products has a usable picture: {common or 'the catalog is empty'}")
    rate = failed / catalog.input_rows
    if rate > max_reject_rate:
        example = tally.rejects[0]
        raise StepFailed(
            f"{failed} of {catalog.input_rows} products ({rate:.0%}) have no usable picture, more than max_reject_rate "
            f"{max_reject_rate:.0%} allows: {common}; for example {example['product_id']}: {example['detail']}"
        )


def _write_rejects(workspace: Workspace, tally: Tally) -> None:
    """Write the catalog's rejects and those of this step as one table."""
    own = pa.Table.from_pylist([{"input_row": None, **reject} for reject in tally.rejects], schema=REJECTS)
    with workspace.candidate.writing(CANDIDATE_REJECTS) as path:
        pq.write_table(pa.concat_tables([read_rejects(workspace), own]), path, compression="zstd")
