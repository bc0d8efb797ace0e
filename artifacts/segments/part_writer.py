"""Writes the rows of one part of a segment while they stream in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from artifacts.index.vectors import map_vectors
from artifacts.products.table import ARROW_FILE
from artifacts.products.writer import ArrowWriter, ProductCounts
from artifacts.segments.info import VECTORS_FILE
from artifacts.segments.thumbnails import THUMBNAILS_FILE, ThumbnailWriter


class PartWriter:
    """Writes vectors, product rows and thumbnails into an empty folder on this machine.

    Args:
        folder: created if it does not exist.
        dim: length of a vector.
        schema: of the product rows.
        first_row: number of the part's first row in the segment.

    Attributes:
        rows: number of rows so far.
        counts: of the products so far.

    Raises:
        FileExistsError: the folder contains a part, or the beginning of one.
    """

    def __init__(self, folder: Path, dim: int, schema: pa.Schema, first_row: int = 0) -> None:
        self.folder, self.first_row, self.rows = folder, first_row, 0
        self.counts = ProductCounts()
        self._dim = dim
        folder.mkdir(parents=True, exist_ok=True)
        (folder / VECTORS_FILE).touch(exist_ok=False)
        self._products = ArrowWriter(folder / ARROW_FILE, schema)
        self._thumbnails: ThumbnailWriter | None = None

    @property
    def next_row(self) -> int:
        """The segment's number of the row that is added next."""
        return self.first_row + self.rows

    def add(self, products: pa.Table, vectors: np.ndarray, thumbnails: Sequence[bytes | None] = ()) -> None:
        """Append rows.

        Args:
            products: in the schema; the pictures of one product next to each other.
            vectors: float16[n, dim], L2-normalised.
            thumbnails: JPEG bytes of each row, or None where the picture has a public URL.

        Raises:
            ValueError: the vectors do not fit the product rows, or contain NaN or infinity.
        """
        check_shape(products, vectors, self._dim)
        if not np.isfinite(vectors).all():
            # FAISS would add such rows without an error and never find them again.
            raise ValueError("vectors must not contain NaN or infinity")
        first = self.next_row
        present = [(first + number, jpeg) for number, jpeg in enumerate(thumbnails) if jpeg is not None]
        if present:
            self._thumbnails = self._thumbnails or ThumbnailWriter(self.folder / THUMBNAILS_FILE)
            self._thumbnails.write(present)
        # Opened for each block: a build that fails halfway leaves no file open.
        with (self.folder / VECTORS_FILE).open("ab") as file:
            file.write(np.ascontiguousarray(vectors).data)
        self._products.add(products)
        self.counts.add(products["product_id"])
        self.rows += len(vectors)

    def close(self) -> None:
        """Complete the files that rows were streamed into."""
        self._products.close()
        if self._thumbnails:
            self._thumbnails.close()

    def vectors(self) -> np.ndarray:
        """Return the vectors so far, float16[rows, dim], mapped."""
        return map_vectors(self.folder / VECTORS_FILE, self.rows, self._dim)


def check_shape(products: pa.Table, vectors: np.ndarray, dim: int) -> None:
    """Check that there is a vector float16[dim] for each product row.

    Raises:
        ValueError: there is not; the message has both shapes.
    """
    if vectors.shape != (products.num_rows, dim) or vectors.dtype != np.float16:
        raise ValueError(
            f"vectors must be float16({products.num_rows}, {dim}) for these product rows, "
            f"not {vectors.dtype}{vectors.shape}"
        )
