"""Writes the rows of a segment while they stream in, and seals its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.index.vectors import map_vectors
from artifacts.products.writer import ProductWriter
from artifacts.schema import STATE
from artifacts.segments.info import INFO_FILE, STATE_FILE, VECTORS_FILE, FileInfo, SegmentInfo
from artifacts.segments.thumbnails import THUMBNAILS_FILE, ThumbnailWriter
from artifacts.storage import fsync, sha256_of


class RowsWriter:
    """Writes vectors, product rows, thumbnails and the catalog's state into an empty folder on this machine.

    Args:
        folder: created if it does not exist.
        dim: length of a vector.
        schema: of the product rows, see `segment_schema`.

    Raises:
        FileExistsError: the folder contains a segment, or the beginning of one.
    """

    def __init__(self, folder: Path, dim: int, schema: pa.Schema) -> None:
        self.folder, self.dim, self.schema = folder, dim, schema
        folder.mkdir(parents=True, exist_ok=True)
        (folder / VECTORS_FILE).touch(exist_ok=False)
        self.products = ProductWriter(folder, schema)
        self._thumbnails: ThumbnailWriter | None = None
        self._state: pq.ParquetWriter | None = None

    @property
    def rows(self) -> int:
        """Number of rows so far."""
        return self.products.rows

    def add(self, products: pa.Table, vectors: np.ndarray, thumbnails: Sequence[bytes | None] = ()) -> None:
        """Append rows.

        Args:
            products: in the schema; the pictures of one product next to each other.
            vectors: float16[n, dim], L2-normalised.
            thumbnails: JPEG bytes of each row, or None where the picture has a public URL.

        Raises:
            ValueError: the vectors do not fit the product rows, or contain NaN or infinity.
        """
        if vectors.shape != (products.num_rows, self.dim) or vectors.dtype != np.float16:
            raise ValueError(
                f"vectors must be float16({products.num_rows}, {self.dim}) for these product rows, "
                f"not {vectors.dtype}{vectors.shape}"
            )
        if not np.isfinite(vectors).all():
            # FAISS would add such rows without an error and never find them again.
            raise ValueError("vectors must not contain NaN or infinity")
        present = [(self.rows + number, jpeg) for number, jpeg in enumerate(thumbnails) if jpeg is not None]
        if present:
            self._thumbnails = self._thumbnails or ThumbnailWriter(self.folder / THUMBNAILS_FILE)
            self._thumbnails.write(present)
        # Opened for each block: a build that fails halfway leaves no file open.
        with (self.folder / VECTORS_FILE).open("ab") as file:
            file.write(np.ascontiguousarray(vectors).data)
        self.products.add(products)

    def add_state(self, state: pa.Table) -> None:
        """Append what the catalog says of products, as STATE."""
        if self._state is None:
            self._state = pq.ParquetWriter(self.folder / STATE_FILE, STATE, compression="zstd")
        self._state.write_table(state)

    def close(self) -> None:
        """Complete the files that rows were streamed into."""
        self.products.close()
        if self._thumbnails:
            self._thumbnails.close()
        if self._state:
            self._state.close()

    def vectors(self) -> np.ndarray:
        """Return the vectors so far, float16[rows, dim], mapped."""
        return map_vectors(self.folder / VECTORS_FILE, self.rows, self.dim)

    def seal(self, info: SegmentInfo) -> SegmentInfo:
        """Write segment.json, with the digests of all files; the segment is complete then. Returns its content."""
        info = info.model_copy(update={"files": {path.name: _seal(path) for path in sorted(self.folder.iterdir())}})
        path = self.folder / INFO_FILE
        path.write_bytes(f"{info.model_dump_json(indent=1)}\n".encode())
        _seal(path)
        return info


def _seal(path: Path) -> FileInfo:
    """Digest a finished file, make it survive a power failure, and make it read-only."""
    path.chmod(0o444)
    fsync(path)
    return FileInfo(bytes=path.stat().st_size, sha256=sha256_of(path))
