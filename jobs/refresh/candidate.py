"""The release candidate of a refresh: the served base with the next delta, and where every product has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artifacts.encoders.identity import EncoderIdentity
from artifacts.errors import StepFailed
from artifacts.products.conform import merged_schema
from artifacts.release.release import Release
from artifacts.schema import EXPECTED_REASONS, FORMAT_VERSION, OK, REJECTS, segment_schema
from artifacts.segments.info import STATE_FILE
from artifacts.storage import sha256_of
from artifacts.store.manifest import Position, SegmentRef
from artifacts.store.store import Store
from jobs.candidate import Candidate, read_rejects
from jobs.catalog.changes import CatalogChanges
from jobs.catalog.compare.state import StateFiles
from jobs.catalog.validation import MANY_REJECTS
from jobs.download.refetch import Refetch
from jobs.refresh.changed import changed_products, in_shard
from jobs.refresh.delta import DeltaBuild, DeltaTally
from jobs.refresh.obtained import ObtainedShard
from jobs.refresh.served import Served, State, counts_of
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

    Nothing is written, and the last delta is returned, if the release says all of it already.

    Args:
        context: of the refresh.
        workspace: of the refresh, with the pictures that the release lacks.
        release: the served one, open.
        applied_at: when the catalog was read.

    Raises:
        StepFailed: too many products would be lost for their pictures.
    """
    config, store = context.config, context.store
    inputs = _inputs(served, workspace, changes, identity, applied_at)
    changed, deleted = _ids(changes.changed), pq.read_table(changes.deleted)
    state.load(changed)
    named = frozenset(changed) | frozenset(deleted["product_id"].to_pylist())
    schema = merged_schema(segment_schema(changes.attributes), served.schema)
    with store.new_segment(inputs[:16]) as folder:
        build = DeltaBuild(
            folder, release.base, state, release, schema, changes.attributes, applied_at, config.thumbnail_side
        )
        if release.delta is not None:
            build.carry(release.delta, named, applied_at - timedelta(days=config.tombstone_days))
        for shard in range(workspace.shards):
            products = (
                product
                for product in changed_products(changes, state, refetch)
                if in_shard(product.product_id, shard, workspace.shards)
            )
            with ObtainedShard(workspace, shard, identity) as obtained:
                build.add(products, obtained)
        if not build.tally.changed and not deleted.num_rows:
            return served.delta, build.tally
        _refuse_many_lost(build.tally, len(changed), config.max_reject_rate)
        build.delete(deleted)
        if build.is_empty:
            return None, build.tally
        build.finish(inputs[:16], inputs)
    return store.reference(inputs[:16]), build.tally


def _refuse_many_lost(tally: DeltaTally, changed: int, max_reject_rate: float) -> None:
    """Stop before a release loses many products because their new pictures fail: a host is down, or a path is wrong.

    Args:
        changed: number of changed products.

    Raises:
        StepFailed: more than are allowed would be lost, and not just a few.
    """
    lost = len(tally.lost)
    if lost < MANY_REJECTS or lost <= max_reject_rate * changed:
        return
    first = tally.lost[0]
    raise StepFailed(
        f"{lost:,} of {changed:,} changed products would no longer be found, since none of their pictures can be used "
        f"({lost / changed:.0%}; {max_reject_rate:.0%} are allowed, LOOKALIKE_MAX_REJECT_RATE), such as "
        f"{first['product_id']}: {first['reason']}, {first['detail']}"
    )


def _inputs(
    served: Served, workspace: Workspace, changes: CatalogChanges, identity: EncoderIdentity, applied_at: datetime
) -> str:
    """Fingerprint of everything that the delta depends on; when the changes were applied is a part of its state."""
    obtained: list[str] = []
    for folder in (workspace.images, workspace.embeddings(identity.slug)):
        if folder.exists(0):
            obtained += [report.digest for report in folder.reports()]
    segments = [segment.info_sha256 for segment in served.manifest.segments]
    changed = [sha256_of(path) for path in (changes.changed, changes.deleted)]
    return fingerprint("delta", FORMAT_VERSION, segments, changed, changes.base, obtained, applied_at)


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
    rows = pq.read_table(changes.rejects).cast(REJECTS)
    with State(StateFiles(*(folder / STATE_FILE for folder in folders))) as state:
        if changes_only:
            rows = _rejects_after_changes(context.store, manifest.version, changes, rows, state)
        candidate = Candidate(
            expected=manifest.version,
            source=changes.source,
            encoder=manifest.encoder,
            segments=segments,
            counts=counts_of(folders, Counter(rows["reason"].to_pylist())),
            settings=manifest.settings,
            engine_url=served.engine_url(context.config.engine),
            engine_options=manifest.engine_options,
            sources=sources,
            calibrated=True,
            search=manifest.search,
        )
        candidate.save(workspace)
        _write_rejects(workspace, rows, state.rejected(), tally)
    return candidate


def _rejects_after_changes(
    store: Store, version: str, changes: CatalogChanges, rejects: pa.Table, state: State
) -> pa.Table:
    """Return the rows that the rules reject after a source of changes was read, as REJECTS.

    They are those of the version before whose products the source does not name, and the source's own; not those of
    products that are indexed, with what was said of them before. Deletions are no rejects. A row without a product_id
    that is read again is one.

    Args:
        version: the one that the changes are applied to.
        rejects: of the source.
        state: of the candidate.
    """
    before = pq.read_table(pa.BufferReader(read_rejects(store, version))).cast(REJECTS)
    # Products without a usable picture have no input_row.
    by_rules = before.filter(pc.call_function("is_valid", [before["input_row"]]))
    named = [*_ids(changes.changed), *_ids(changes.deleted), *rejects["product_id"].drop_null().to_pylist()]
    rows = pa.concat_tables([_without(by_rules, "product_id", named), _without(rejects, "reason", EXPECTED_REASONS)])
    rows = rows.group_by(rows.column_names, use_threads=False).aggregate([]).select(rows.column_names)
    known = state.of_products(rows["product_id"].drop_null().to_pylist())
    indexed = known.filter(pc.call_function("equal", [known["status"], pa.scalar(OK)]))["product_id"].to_pylist()
    return _without(rows, "product_id", indexed).cast(REJECTS)


def _without(table: pa.Table, column: str, values: Iterable[str]) -> pa.Table:
    """Return the rows of a table whose column has none of these values."""
    options = pc.SetLookupOptions(value_set=pa.array(values, pa.string()))
    return table.filter(pc.call_function("invert", [pc.call_function("is_in", [table[column]], options)]))


def _write_rejects(workspace: Workspace, rows: pa.Table, without_picture: pa.Table, tally: DeltaTally) -> None:
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
        pq.write_table(pa.concat_tables([rows, own]), path, compression="zstd")
