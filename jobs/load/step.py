"""Step 4d: loads the engine with the candidate's segments, and checks what it holds. Without an engine, does nothing.

A collection is named after its segment, so one that is complete is not loaded again: versions share it, and a load that
was interrupted goes on where it ended. While another process loads the same one, this step waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np

from artifacts.segments.info import read_info
from jobs.candidate import Candidate, load_candidate
from jobs.steps import Progress, StepContext, StepResult

if TYPE_CHECKING:
    import pyarrow as pa

    from artifacts.engines.collection import Batches
    from artifacts.engines.pool import EnginePool
    from artifacts.segments.segment import Segment

#: Longest wait, in seconds, for another process that loads the same segment; it waits for no one that has died.
_WAIT_SECONDS = 86_400.0

#: Rows whose vectors are compared with the segment's once it is loaded.
_SAMPLE = 64


@contextmanager
def engine_pool(context: StepContext) -> Iterator[EnginePool]:
    """Yield the engines of a step, with the address and the credential of its configuration; closed afterwards."""
    from artifacts.engines.pool import EnginePool

    config = context.config.engine
    pool = EnginePool(config.engine, config.engine_url, config.engine_key)
    try:
        yield pool
    finally:
        pool.close()


def uses_engine(context: StepContext) -> bool:
    """Return whether an engine finds the candidates of the workspace's candidate.

    Raises:
        StepFailed: there is no candidate.
    """
    base = load_candidate(context.workspace).segments[0]
    return read_info(context.store.segment_path(base.id)).engine is not None


def run_load(context: StepContext) -> StepResult[Candidate]:
    """Load the engine with the rows of every segment of the candidate. Progress counts rows.

    Raises:
        StepFailed: there is no candidate.
        EngineError: the engine refuses the rows, or holds others.
        EngineUnavailable: it does not answer; the next run goes on where this one ended.
    """
    candidate = load_candidate(context.workspace)
    infos = [read_info(context.store.segment_path(segment.id)) for segment in candidate.segments]
    engine = infos[0].engine
    if engine is None:
        return StepResult(False, "the index is in files", candidate)
    from artifacts.release.release import Release  # imports FAISS and DuckDB

    manifest = candidate.manifest()
    with engine_pool(context) as engines:
        release = Release(manifest, context.store.fetch(manifest), verify=False, engines=engines)
        try:
            loaded = [
                load_segment(segment, context.progress, context.store.load_lease(segment.info.id).held(_WAIT_SECONDS))
                for segment in release.segments
                if segment.info.rows
            ]
        finally:
            release.close()
    rows = sum(info.rows for info in infos)
    return StepResult(any(loaded), f"{rows:,} rows in {engine.kind}{'' if any(loaded) else ', as before'}", candidate)


def discard(context: StepContext, segment_id: str) -> None:
    """Remove a segment that was written in vain from the store and from its engine, unless a version names it."""
    with engine_pool(context) as engines:
        context.store.discard(segment_id, engines)


def load_segment(segment: Segment, progress: Progress, alone: AbstractContextManager[object] | None = None) -> bool:
    """Load the engine with one segment, and check a sample of it; return whether it was not complete before.

    Args:
        segment: open, with rows.
        progress: called with the number of rows written, and of all.
        alone: entered if there is something to load, so that nobody else does it meanwhile.

    Raises:
        EngineError: the engine refuses the rows, or holds others.
        EngineUnavailable: it does not answer.
    """
    from artifacts.engines.checking import check_sample

    engine, collection = segment.engine, segment.collection
    is_new = not engine.is_complete(collection)
    if is_new:
        with alone or nullcontext():
            engine.build(collection, _batches(segment), progress)  # nothing, if another process has done it
    rows = np.unique(np.linspace(0, segment.info.rows - 1, _SAMPLE).astype(np.int64))
    check_sample(engine, collection, rows, segment.vectors.take(rows), lambda numbers: _columns(segment, numbers))
    return is_new


def _batches(segment: Segment) -> Batches:
    from artifacts.engines.collection import BATCH_ROWS, RowBatch

    collection = segment.collection

    def read(first_row: int) -> Iterator[RowBatch]:
        for first in range(first_row, collection.rows, BATCH_ROWS):
            rows = np.arange(first, min(first + BATCH_ROWS, collection.rows))
            yield RowBatch(first, segment.vectors.gather_ascending(rows), _columns(segment, rows))

    return read


def _columns(segment: Segment, rows: np.ndarray) -> pa.Table:
    """Return the columns that can be filtered on, of these rows."""
    return segment.products.rows_table(rows).select(list(segment.collection.columns))
