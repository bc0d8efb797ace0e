"""Writes a base: rows stream in, then the index is trained and filled, then the files are sealed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from artifacts.config import IndexConfig
from artifacts.engines.reference import EngineRef
from artifacts.segments.index_writer import Progress, no_progress, rows_per_part, write_index
from artifacts.segments.info import IndexInfo, SegmentInfo
from artifacts.segments.rows_writer import RowsWriter


class SegmentWriter:
    """Writes one base into an empty folder on this machine.

    Call `add` for every block of rows, in their final order, then `finish` once.

    Args:
        folder: created if it does not exist.
        dim: length of a vector.
        schema: of the product rows, of which there may be none.
        config: how the index is built.

    Raises:
        FileExistsError: the folder contains a segment, or the beginning of one.
    """

    def __init__(self, folder: Path, dim: int, schema: pa.Schema, config: IndexConfig) -> None:
        self._rows = RowsWriter(folder, dim, schema, rows_per_part(config))
        self._config = config

    @property
    def rows(self) -> int:
        """Number of rows so far."""
        return self._rows.rows

    def add(self, products: pa.Table, vectors: np.ndarray, thumbnails: Sequence[bytes | None] = ()) -> None:
        """Append rows; see RowsWriter.add."""
        self._rows.add(products, vectors, thumbnails)

    def add_state(self, state: pa.Table) -> None:
        """Append what the catalog says of products, as STATE."""
        self._rows.add_state(state)

    def finish(
        self,
        segment_id: str,
        encoder_id: str,
        *,
        inputs: str = "",
        engine: EngineRef | None = None,
        progress: Progress = no_progress,
    ) -> SegmentInfo:
        """Build the index unless an engine has it, and seal the segment with segment.json, which is written last.

        Args:
            inputs: fingerprint of what the segment was built from.
            engine: that finds the candidates in place of an index; it is loaded afterwards.
            progress: called with the number of rows added to the index and the total.
        """
        rows = self._rows
        rows.close()
        rows.write_database()
        if engine is None:
            index = write_index(rows.folder, rows.parts(), self._config, progress)
        else:
            index = IndexInfo(codec="engine", factory=engine.kind)
        return rows.seal(
            SegmentInfo(
                id=segment_id,
                rows=rows.rows,
                products=rows.counts.products,
                max_pictures=rows.counts.max_pictures,
                dim=rows.dim,
                encoder_id=encoder_id,
                index=index,
                engine=engine,
                columns={name: str(dtype) for name, dtype in zip(rows.schema.names, rows.schema.types, strict=True)},
                inputs=inputs,
            )
        )
