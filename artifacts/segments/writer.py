"""Writes a segment: vectors and thumbnails stream in, then the index is trained and filled, then it is sealed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from artifacts.config import IndexConfig
from artifacts.index import build, params
from artifacts.index.vectors import Vectors
from artifacts.products.writer import write_products
from artifacts.segments.info import (
    INFO_FILE,
    LISTS_FILE,
    TOMBSTONES_FILE,
    VECTORS_FILE,
    FileInfo,
    IndexInfo,
    SegmentInfo,
)
from artifacts.segments.thumbnails import THUMBNAILS_FILE, ThumbnailWriter
from artifacts.storage import fsync, sha256_of

#: Rows whose vectors are in memory at once while the index is filled: 256 MB of float32 at 512-d.
_ADD_BLOCK = 131_072


class SegmentWriter:
    """Writes one segment into an empty folder on this machine.

    Call `add` for every block of rows, in their final order, then `finish` once.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim, self.rows = folder, dim, 0
        folder.mkdir(parents=True, exist_ok=True)
        (folder / VECTORS_FILE).touch(exist_ok=False)
        self._tables: list[pa.Table] = []
        self._thumbnails: ThumbnailWriter | None = None

    def add(self, products: pa.Table, vectors: np.ndarray, thumbnails: Sequence[bytes | None] = ()) -> None:
        """Append rows.

        Args:
            products: in `segment_schema`; the pictures of one product next to each other.
            vectors: float16[n, dim], L2-normalised.
            thumbnails: JPEG bytes of each row, or None where the picture has a public URL.
        """
        if vectors.shape != (products.num_rows, self.dim) or vectors.dtype != np.float16:
            raise ValueError(f"{products.num_rows} product rows with {vectors.dtype}{vectors.shape} vectors")
        if not np.isfinite(vectors).all():
            # FAISS takes such rows without a word and never finds them again.
            raise ValueError("a vector holds NaN or infinity")
        present = [(self.rows + number, jpeg) for number, jpeg in enumerate(thumbnails) if jpeg is not None]
        if present:
            self._thumbnails = self._thumbnails or ThumbnailWriter(self.folder / THUMBNAILS_FILE)
            self._thumbnails.write(present)
        # Opened for each block: a build that fails halfway leaves no file open.
        with (self.folder / VECTORS_FILE).open("ab") as file:
            file.write(np.ascontiguousarray(vectors).data)
        self._tables.append(products)
        self.rows += products.num_rows

    def finish(
        self,
        segment_id: str,
        encoder_id: str,
        schema: pa.Schema,
        config: IndexConfig,
        *,
        inputs: str = "",
        tombstones: Iterable[str] = (),
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> SegmentInfo:
        """Build the index, write the product rows, and seal the segment with segment.json, written last.

        Args:
            schema: the product rows' schema (there may be no rows).
            config: how the index is built.
            progress: called with rows added to the index and rows in all.
        """
        if self._thumbnails:
            self._thumbnails.__exit__()
        products = pa.concat_tables([schema.empty_table(), *self._tables])
        self._tables = []
        counts = products.column("product_id").value_counts().field("counts").to_numpy(zero_copy_only=False)
        write_products(products, self.folder)
        index = self._build_index(config, progress)
        deleted = sorted(set(tombstones))
        if deleted:
            (self.folder / TOMBSTONES_FILE).write_bytes(json.dumps(deleted).encode())
        info = SegmentInfo(
            id=segment_id,
            rows=self.rows,
            products=len(counts),
            max_pictures=int(counts.max(initial=0)),
            dim=self.dim,
            encoder_id=encoder_id,
            index=index,
            columns={name: str(kind) for name, kind in zip(schema.names, schema.types, strict=True)},
            tombstones=len(deleted),
            inputs=inputs,
            files={path.name: _sealed(path) for path in sorted(self.folder.iterdir())},
        )
        path = self.folder / INFO_FILE
        path.write_bytes(f"{info.model_dump_json(indent=1)}\n".encode())
        _sealed(path)
        return info

    def _build_index(self, config: IndexConfig, progress: Callable[[int, int], None]) -> IndexInfo:
        vectors = Vectors(self.folder / VECTORS_FILE, self.rows, self.dim).array
        if config.codec == "flat" or self.rows <= max(config.flat_max_rows, params.MIN_TRAIN_ROWS):
            blocks = (vectors[start : start + _ADD_BLOCK] for start in range(0, self.rows, _ADD_BLOCK))
            build.write_flat(blocks, self.dim, self._index_file(0))
            progress(self.rows, self.rows)
            return IndexInfo(codec="flat", factory="SQfp16")
        lists = params.lists_for(self.rows)
        wanted = max(lists * config.train_rows_per_list, params.MIN_TRAIN_ROWS)
        sample = training_rows(self.rows, wanted, config.seed)
        factory = params.factory_string(config.codec, self.dim, lists)
        trained = build.train(factory, self.dim, vectors[sample].astype(np.float32), seed=config.seed)
        files = 0
        with (self.folder / LISTS_FILE).open("wb") as list_file:
            for first in range(0, self.rows, config.rows_per_index):
                index = build.empty_copy(trained)
                last = min(first + config.rows_per_index, self.rows)
                for start in range(first, last, _ADD_BLOCK):
                    block = vectors[start : min(start + _ADD_BLOCK, last)].astype(np.float32)
                    list_file.write(build.add(index, block, start).tobytes())
                    progress(start + len(block), self.rows)
                build.write(index, self._index_file(files))
                files += 1
        return IndexInfo(
            codec=config.codec, factory=factory, lists=lists, train_rows=len(sample), seed=config.seed, files=files
        )

    def _index_file(self, number: int) -> Path:
        return self.folder / f"index-{number:05d}.faiss"


def training_rows(rows: int, wanted: int, seed: int) -> np.ndarray:
    """Distinct row numbers drawn at random, ascending. Never the head of a catalog: it may come sorted by category."""
    chosen = np.random.default_rng(seed).choice(rows, size=min(rows, wanted), replace=False)
    return np.sort(chosen)


def _sealed(path: Path) -> FileInfo:
    """Digest a finished file, make it survive a power cut, and take away the right to change it."""
    path.chmod(0o444)
    fsync(path)
    return FileInfo(bytes=path.stat().st_size, sha256=sha256_of(path))
