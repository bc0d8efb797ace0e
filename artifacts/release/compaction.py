"""Merges a base and its delta into a new base: vectors, codes and lists are copied, and nothing is embedded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artifacts.config import IndexConfig
from artifacts.index import build
from artifacts.release.release import Release
from artifacts.schema import DELETED
from artifacts.segments.delta_writer import read_quantizer
from artifacts.segments.index_writer import Progress, fill_index, no_progress, rows_per_part, write_index
from artifacts.segments.info import QUANTIZER_FILE, SIMILARITY_FILE, STATE_FILE, IndexInfo, SegmentInfo
from artifacts.segments.rows_writer import RowsWriter
from artifacts.segments.segment import Segment

#: Rows that are copied at once.
_BLOCK = 65_536


def write_compacted(
    release: Release,
    folder: Path,
    segment_id: str,
    config: IndexConfig,
    *,
    tombstones_since: datetime,
    inputs: str = "",
    progress: Progress = no_progress,
) -> SegmentInfo:
    """Write the products of a release as one base into an empty folder.

    The quantizer stays that of the old base. An index without lists (flat, hnsw) is written anew, as `choose` says.

    Args:
        release: with a delta.
        config: how indexes are built.
        tombstones_since: tombstones of the catalog's state that were applied before are dropped.
        inputs: fingerprint of what the segment is made from.
        progress: called with the number of rows copied and the total.

    Raises:
        ValueError: the release has no delta.
    """
    if release.delta is None:
        raise ValueError("a release without a delta cannot be compacted")
    base, delta = release.base, release.delta
    schema = delta.products.table.schema
    rows = release.searcher.rows_that_can_be_found()
    writer = RowsWriter(folder, base.info.dim, schema, rows_per_part(config))
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        vectors = release.searcher.vectors.gather(block)
        writer.add(release.rows.table(block, schema), vectors, release.thumbnails(block))
        progress(start + len(block), len(rows))
    new_rows = np.full(release.searcher.vectors.rows, -1, np.int64)
    new_rows[rows] = np.arange(len(rows))
    _write_state(writer, base, delta, new_rows, tombstones_since)
    writer.close()
    writer.write_database()
    return writer.seal(
        SegmentInfo(
            id=segment_id,
            rows=writer.rows,
            products=writer.counts.products,
            max_pictures=writer.counts.max_pictures,
            dim=writer.dim,
            encoder_id=base.info.encoder_id,
            index=_write_index(writer, base, delta, rows, new_rows, config),
            engine=base.info.engine_for(segment_id),
            columns={name: str(dtype) for name, dtype in zip(schema.names, schema.types, strict=True)},
            inputs=inputs,
        )
    )


def _write_index(
    writer: RowsWriter, base: Segment, delta: Segment, rows: np.ndarray, new_rows: np.ndarray, config: IndexConfig
) -> IndexInfo:
    if base.info.engine is not None:
        return base.info.index
    if base.lists is None or delta.lists is None:
        return write_index(writer.folder, writer.parts(), config)
    base_rows = base.info.rows
    sources = [*_sources(base, new_rows[:base_rows]), *_sources(delta, new_rows[base_rows:])]

    def copy(index: faiss.Index, first: int, stop: int) -> None:
        for path, part, numbers in sources:
            in_part = (numbers[part] >= first) & (numbers[part] < stop)
            if in_part.any():
                wanted = np.full(len(numbers), -1, np.int64)
                wanted[part] = np.where(in_part, numbers[part], -1)
                build.copy_codes(build.map_file(path), index, wanted)

    in_delta = rows >= base_rows
    lists = np.empty(len(rows), np.int32)
    lists[~in_delta], lists[in_delta] = (
        base.lists.gather(rows[~in_delta]),
        delta.lists.gather(rows[in_delta] - base_rows),
    )
    trained = read_quantizer(base)
    if QUANTIZER_FILE in base.info.files:
        shutil.copyfile(base.folder / QUANTIZER_FILE, writer.folder / QUANTIZER_FILE)
    else:
        build.write(trained, writer.folder / QUANTIZER_FILE)
    if SIMILARITY_FILE in base.info.files:
        shutil.copyfile(base.folder / SIMILARITY_FILE, writer.folder / SIMILARITY_FILE)
    info = fill_index(writer.parts(), trained, base.info.index, known_lists=lists, copy=copy)
    similarities = [
        (segment.info.index.centroid_similarity, count)
        for segment, count in ((base, int((~in_delta).sum())), (delta, int(in_delta.sum())))
        if segment.info.index.centroid_similarity is not None and count
    ]
    total = sum(count for _, count in similarities)
    mean = sum(value * count for value, count in similarities if value is not None) / total if total else None
    return info.model_copy(update={"centroid_similarity": mean})


def _sources(segment: Segment, numbers: np.ndarray) -> Iterator[tuple[Path, slice, np.ndarray]]:
    """Yield each index file of a segment, the rows of its part, and the new numbers of all the segment's rows."""
    if not segment.info.parts:  # before format 3, any file may have any row
        for path in segment.info.index_paths:
            yield segment.folder / path, slice(None), numbers
        return
    first = 0
    for path, rows in zip(segment.info.index_paths, segment.info.part_rows, strict=True):
        yield segment.folder / path, slice(first, first + rows), numbers
        first += rows


def _write_state(
    writer: RowsWriter, base: Segment, delta: Segment, new_rows: np.ndarray, tombstones_since: datetime
) -> None:
    """Write the state of all products, the delta's in place of the base's."""
    if STATE_FILE not in base.info.files or STATE_FILE not in delta.info.files:
        return
    changed = pq.read_table(delta.folder / STATE_FILE)
    named = pa.chunked_array(changed["product_id"]).unique()
    since = np.datetime64(tombstones_since.replace(tzinfo=None), "us")

    def add(state: pa.Table) -> None:
        forgotten = (np.asarray(state["status"]) == DELETED) & (state["applied_at"].to_numpy() < since)
        writer.add_state(_renumbered(state.filter(pa.array(~forgotten)), new_rows, base.info.rows))

    for batch in pq.ParquetFile(base.folder / STATE_FILE, pre_buffer=False).iter_batches(_BLOCK):
        table = pa.Table.from_batches([batch])
        kept = pc.call_function(
            "invert", [pc.call_function("is_in", [table["product_id"]], pc.SetLookupOptions(named))]
        )
        add(table.filter(kept))
    add(changed)


def _renumbered(state: pa.Table, new_rows: np.ndarray, base_rows: int) -> pa.Table:
    """Return a state whose rows are those of the new base."""
    has_row = np.asarray(state["row"].is_valid())
    rows = state["row"].fill_null(0).to_numpy() + np.where(np.asarray(state["in_delta"]), base_rows, 0)
    renumbered = pa.array(np.where(has_row, new_rows[rows], 0), pa.int64(), mask=~has_row)
    state = state.set_column(state.schema.get_field_index("row"), state.schema.field("row"), renumbered)
    column = state.schema.get_field_index("in_delta")
    return state.set_column(column, state.schema.field("in_delta"), pa.array(np.zeros(len(state), bool)))
