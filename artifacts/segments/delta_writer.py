"""Writes a delta: everything that differs from its base, anew from the last delta and what has changed since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa

from artifacts.index import build
from artifacts.products.conform import conform
from artifacts.products.database import DUCKDB_FILE
from artifacts.products.table import ROW_COLUMN
from artifacts.products.writer import ArrowWriter, signed_rows, write_database
from artifacts.segments.index_writer import FLAT_INDEX, fill_index, write_flat_index
from artifacts.segments.info import (
    DELETED_FILE,
    QUANTIZER_FILE,
    UPDATES_FILE,
    BaseRef,
    IndexInfo,
    SegmentInfo,
    sha256_of_info,
)
from artifacts.segments.rows_writer import RowsWriter
from artifacts.segments.segment import Segment

#: Rows of the base that are read at once.
_BLOCK = 65_536


class DeltaWriter:
    """Writes one delta into an empty folder on this machine.

    Every product that differs from the base is named once: by its rows (`carry`, `add`), by an update, or by a
    deletion. For products of the base that are in the delta, or are gone, `delete` gets their rows of the base.

    Args:
        folder: created if it does not exist.
        base: open.
        schema: of the product rows; has all columns of the base's.

    Raises:
        FileExistsError: the folder contains a segment, or the beginning of one.
    """

    def __init__(self, folder: Path, base: Segment, schema: pa.Schema) -> None:
        self._base, self._schema = base, schema
        self._rows = RowsWriter(folder, base.info.dim, schema)
        self._updates: list[pa.Table] = []
        self._updated: list[np.ndarray] = []
        self._deleted: list[np.ndarray] = []
        self._carried = np.empty(0, np.int64)
        self._last: Segment | None = None

    @property
    def rows(self) -> int:
        """Number of rows of the delta's own so far."""
        return self._rows.rows

    def carry(self, last: Segment, rows: np.ndarray) -> None:
        """Begin with rows of an earlier delta of the same base: their vectors, codes and lists are copied.

        Args:
            last: open.
            rows: int64, ascending.
        """
        if self.rows:
            raise ValueError("carry must come before add")
        self._last, self._carried = last, rows
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            thumbnails = last.thumbnails.take(block) if last.thumbnails else ()
            products = conform(last.products.rows_table(block), self._schema)
            self._rows.add(products, last.vectors.gather(block), thumbnails)

    def add(self, products: pa.Table, vectors: np.ndarray, thumbnails: Sequence[bytes | None] = ()) -> None:
        """Append rows; see RowsWriter.add."""
        self._rows.add(products, vectors, thumbnails)

    def update(self, products: pa.Table, base_rows: np.ndarray) -> None:
        """Give rows of the base other attributes.

        Args:
            products: in the schema, all rows of each product.
            base_rows: int64[n], the base's row of each.
        """
        self._updates.append(products)
        self._updated.append(base_rows)

    def delete(self, base_rows: np.ndarray) -> None:
        """Leave rows int64[n] of the base out of every search: all rows of each product."""
        self._deleted.append(base_rows)

    def add_state(self, state: pa.Table) -> None:
        """Append what the catalog says of products that differ from the base, as STATE."""
        self._rows.add_state(state)

    def finish(self, segment_id: str, *, inputs: str = "") -> SegmentInfo:
        """Fill the index with the base's quantizer, and seal the segment with segment.json, which is written last.

        Args:
            inputs: fingerprint of what the delta was made from.

        Raises:
            ValueError: a row of the base is named twice.
        """
        rows, base = self._rows, self._base
        rows.close()
        deleted = np.sort(_joined(self._deleted))
        updated = _joined(self._updated)
        order = np.argsort(updated, kind="stable")
        updated = updated[order]
        named = np.concatenate([deleted, updated])
        if len(np.unique(named)) != len(named):
            raise ValueError("a row of the base is deleted or updated twice")
        updates = pa.concat_tables([self._schema.empty_table(), *self._updates]).take(pa.array(order))
        self._write_changes(deleted, updated, updates)
        info = SegmentInfo(
            id=segment_id,
            rows=rows.rows,
            products=rows.counts.products,
            max_pictures=rows.counts.max_pictures,
            dim=rows.dim,
            encoder_id=base.info.encoder_id,
            index=self._write_index(),
            engine=base.info.engine_for(segment_id),
            columns={name: str(dtype) for name, dtype in zip(self._schema.names, self._schema.types, strict=True)},
            base=BaseRef(
                id=base.info.id,
                info_sha256=sha256_of_info(base.folder),
                deleted_rows=len(deleted),
                deleted_products=len(set(base.product_ids(deleted))),
                updated_rows=len(updated),
            ),
            inputs=inputs,
        )
        return rows.seal(info)

    def _write_changes(self, deleted: np.ndarray, updated: np.ndarray, updates: pa.Table) -> None:
        base, folder = self._base, self._rows.folder
        mask = np.zeros(base.info.rows, bool)
        mask[deleted] = True
        np.packbits(mask, bitorder="little").tofile(folder / DELETED_FILE)
        writer = ArrowWriter(folder / UPDATES_FILE, updates.schema.append(pa.field(ROW_COLUMN, pa.int64())))
        writer.add(updates.append_column(ROW_COLUMN, pa.array(updated, pa.int64())))
        writer.close()
        mask[updated] = True
        replaced = np.flatnonzero(mask)

        def replaced_rows() -> Iterator[pa.RecordBatch]:
            for start in range(0, len(replaced), _BLOCK):
                block = replaced[start : start + _BLOCK]
                table = conform(base.products.rows_table(block), self._schema)
                (batch,) = table.combine_chunks().to_batches()
                yield signed_rows(batch, block, -1)

        def updated_rows() -> Iterator[pa.RecordBatch]:
            for batch in updates.combine_chunks().to_batches():
                yield signed_rows(batch, updated, 1)

        own_rows = self._rows.numbered_rows(first_row=base.info.rows)
        write_database(folder / DUCKDB_FILE, self._schema, [replaced_rows(), updated_rows(), own_rows])

    def _write_index(self) -> IndexInfo:
        base, last, parts = self._base, self._last, self._rows.parts()
        if base.info.engine is not None:  # it is loaded from the delta's rows before the delta is measured
            return base.info.index
        if base.ivf is None:  # of a graph, too: a delta is small, and written anew by each refresh
            write_flat_index(parts)
            return FLAT_INDEX
        known_lists = np.full(self.rows, -1, np.int32)
        copied_from: list[faiss.Index] = []
        if last is not None and last.ivf is not None and last.lists is not None:
            known_lists[: len(self._carried)] = last.lists.gather(self._carried)
            copied_from = [build.map_file(last.folder / path) for path in last.info.index_paths]

        def copy(index: faiss.Index, first: int, stop: int) -> None:
            new_rows = np.full(0 if last is None else last.info.rows, -1, np.int64)
            carried = np.arange(first, min(stop, len(self._carried)))
            new_rows[self._carried[carried]] = carried
            for source in copied_from:
                build.copy_codes(source, index, new_rows)

        info = base.info.index.model_copy(update={"centroid_similarity": None})
        info = fill_index(parts, read_quantizer(base), info, known_lists=known_lists, copy=copy)
        return info.model_copy(update={"centroid_similarity": self._similarity(info)})

    def _similarity(self, info: IndexInfo) -> float | None:
        """Mean cosine of all rows with their centroids: of the new ones as measured, of the others as it was."""
        carried, new = len(self._carried), self.rows - len(self._carried)
        before = self._last.info.index.centroid_similarity if self._last else None
        if before is None or not carried:
            return info.centroid_similarity
        return (
            before
            if info.centroid_similarity is None
            else (before * carried + info.centroid_similarity * new) / (carried + new)
        )


def read_quantizer(base: Segment) -> faiss.Index:
    """Return the trained, empty index that the base was filled into."""
    if QUANTIZER_FILE in base.info.files:
        return build.read(base.folder / QUANTIZER_FILE)
    return build.empty_copy(build.read(base.folder / base.info.index_paths[0]))  # format 1 did not keep it


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int64), *arrays]).astype(np.int64)
