"""The release candidate of a refresh: the served base with the next delta, and where every product has ended."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.encoders.identity import EncoderIdentity
from artifacts.products.conform import merged_schema
from artifacts.release.release import Release
from artifacts.schema import FORMAT_VERSION, REJECTS, segment_schema
from artifacts.segments.info import STATE_FILE
from artifacts.storage import sha256_of
from artifacts.store.manifest import Position, SegmentRef
from jobs.candidate import Candidate
from jobs.catalog.changes import CatalogChanges
from jobs.catalog.compare.state import StateFiles
from jobs.download.refetch import Refetch
from jobs.refresh.changed import changed_products, in_shard
from jobs.refresh.delta import DeltaBuild, DeltaTally
from jobs.refresh.obtained import ObtainedShard
from jobs.refresh.served import Served, State, counts_of, rejected_rows
from jobs.steps import StepContext
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.workspace import CANDIDATE_REJECTS, Workspace


def write_delta(
    context: StepContext,
    workspace: Workspace,
    served: Served,
    changes: CatalogChanges,
    release: Release,
    state: State,
    refetch: Refetch,
    identity: EncoderIdentity,
    applied_at: datetime,
) -> tuple[SegmentRef | None, DeltaTally]:
    """Write the next delta; returns its reference, or None if the release is as its base again.

    Args:
        context: of the refresh.
        workspace: of the refresh, with the pictures that the release lacks.
        release: the served one, open.
        applied_at: when the catalog was read.
    """
    config, store = context.config, context.store
    inputs = _inputs(served, workspace, changes, identity)
    changed = frozenset(_ids(changes.changed)) | frozenset(_ids(changes.deleted))
    schema = merged_schema(segment_schema(changes.attributes), served.schema)
    with store.new_segment(inputs[:16]) as folder:
        build = DeltaBuild(
            folder, release.base, state, release, schema, changes.attributes, applied_at, config.thumbnail_side
        )
        if release.delta is not None:
            build.carry(release.delta, changed, applied_at - timedelta(days=config.tombstone_days))
        for shard in range(workspace.shards):
            products = (
                product
                for product in changed_products(changes, state, refetch)
                if in_shard(product.product_id, shard, workspace.shards)
            )
            with ObtainedShard(workspace, shard, identity) as obtained:
                build.add(products, obtained)
        build.delete(pq.read_table(changes.deleted))
        if build.is_empty:
            return None, build.tally
        build.finish(inputs[:16], config.index, inputs)
    return store.reference(inputs[:16]), build.tally


def _inputs(served: Served, workspace: Workspace, changes: CatalogChanges, identity: EncoderIdentity) -> str:
    """Fingerprint of everything that the delta depends on."""
    obtained: list[str] = []
    for folder in (workspace.images, workspace.embeddings(identity.slug)):
        if folder.exists(0):
            obtained += [report.digest for report in folder.reports()]
    segments = [segment.info_sha256 for segment in served.manifest.segments]
    changed = [sha256_of(path) for path in (changes.changed, changes.deleted)]
    return fingerprint("delta", FORMAT_VERSION, segments, changed, changes.base, obtained)


def _ids(path: Path) -> list[str]:
    return pq.read_table(path, columns=["product_id"])["product_id"].to_pylist()


def make_candidate(
    context: StepContext,
    workspace: Workspace,
    served: Served,
    changes: CatalogChanges,
    delta: SegmentRef | None,
    tally: DeltaTally,
    *,
    changes_only: bool,
    sources: dict[str, Position],
) -> Candidate:
    """Return the candidate, and save it with the rejects in the refresh's workspace.

    Args:
        sources: the positions of all sources of changes.
    """
    manifest = served.manifest
    base = manifest.segments[0]
    segments = [base] if delta is None else [base, delta]
    folders = [context.store.segment_path(segment.id) for segment in segments]
    # What the last whole catalog rejected by its rules still is, when only changes are read.
    by_rules = rejected_rows(manifest.counts) if changes_only else changes.counts.rejected or {}
    candidate = Candidate(
        expected=manifest.version,
        source=changes.source,
        encoder=manifest.encoder,
        segments=segments,
        counts=counts_of(folders, by_rules),
        settings=manifest.settings,
        sources=sources,
        calibrated=True,
        search=manifest.search,
    )
    candidate.save(workspace)
    with State(StateFiles(*(folder / STATE_FILE for folder in folders))) as state:
        _write_rejects(workspace, changes, state.rejected(), tally)
    return candidate


def _write_rejects(workspace: Workspace, changes: CatalogChanges, without_picture: pa.Table, tally: DeltaTally) -> None:
    """Write the rows that the rules reject, and every product without a usable picture, as REJECTS."""
    details = {str(reject["product_id"]): str(reject["detail"]) for reject in tally.rejects}
    ids = without_picture["product_id"].to_pylist()
    columns = {
        "input_row": pa.nulls(len(ids), pa.int64()),
        "product_id": ids,
        "reason": without_picture["reason"],
        "detail": [details.get(product_id, "see the version that first rejected it") for product_id in ids],
    }
    own = pa.table(columns).cast(REJECTS)
    with workspace.candidate.writing(CANDIDATE_REJECTS) as path:
        pq.write_table(pa.concat_tables([pq.read_table(changes.rejects).cast(REJECTS), own]), path, compression="zstd")
