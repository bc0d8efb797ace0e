"""Opens a segment's files. The package's docstring lists them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from artifacts.engines.base import CollectionSearch, Engine
from artifacts.engines.collection import Collection
from artifacts.errors import CorruptFile, DeviceError, EngineError, IncompatibleRelease
from artifacts.index.faiss_index import FlatIndex, IvfIndex
from artifacts.index.gpus.pool import GpuPool
from artifacts.index.graph import GraphIndex
from artifacts.index.joined import RowLists
from artifacts.index.vectors import Vectors, map_vectors
from artifacts.products.columns import filterable_columns
from artifacts.products.database import ProductDatabase
from artifacts.products.table import ARROW_FILE, ProductTable
from artifacts.products.writer import first_pictures
from artifacts.segments.engine_vectors import EngineVectors
from artifacts.segments.info import (
    DELETED_FILE,
    INFO_FILE,
    LISTS_FILE,
    SIMILARITY_FILE,
    UPDATES_FILE,
    VECTORS_FILE,
    read_info,
    verify_segment,
)
from artifacts.segments.row_filter import RowFilterCache
from artifacts.segments.thumbnails import THUMBNAILS_FILE, Thumbnails

#: Returns the engine of a kind.
OpenEngine = Callable[[str], Engine]


class Segment:
    """An open segment: a base, or a delta with the base that it belongs to. Safe to use from several threads at once.

    Args:
        folder: on this machine.
        base: the open base; required for a delta.
        verify: check every file's size and sha256 first. False is only for callers that have just done so: FAISS loads
            damaged files without an error, and a file shorter than its mapping kills the process.
        threads: threads of one SQL statement.
        to_serve: take vectors from the engine, if it alone has them on a server.
        open_engine: returns the engine of a kind, for a segment whose candidates an engine finds; it is called when the
            engine is first needed.
        engine_options: how the engine loads and searches the segment; see Manifest.

    Attributes:
        info: the segment's description.
        vectors: float16[rows, dim], mapped; or in the engine, if it alone has them.
        flat: the index if it is flat, else None.
        graph: the index if it is an HNSW graph, else None; a delta of such a base is flat.
        ivf: the index if it is an IVF, else None; a delta's holds its base's files too.
        lists: the IVF list of each row; None if the index is flat.
        products: product rows by number.
        database: a base's product rows by filter; a delta's are opened together with its base's.
        thumbnails: stored thumbnails; None where all pictures have a public URL.
        row_filters: what filters let pass, of a base or of a base with this delta; all share the base's memory.
        deleted: of a delta, mapped uint8 with a bit for each row of the base, little-endian: 1 if no search returns it.
        updates: of a delta, product rows of the base whose attributes have changed.
        updated_rows: int64, ascending, the base's row of each of these.

    Raises:
        CorruptFile: a file is missing or differs from segment.json, or the base is another one.
        IncompatibleRelease: the segment is in another format.
    """

    def __init__(
        self,
        folder: Path,
        base: Segment | None = None,
        *,
        verify: bool = True,
        threads: int = 1,
        to_serve: bool = False,
        open_engine: OpenEngine | None = None,
        engine_options: Mapping[str, int | float | str] = MappingProxyType({}),
    ) -> None:
        self.folder, self._open_engine, self.engine_options = folder, open_engine, dict(engine_options)
        self.info = verify_segment(folder, to_serve=to_serve) if verify else read_info(folder)
        self._check_base(base)
        rows, codec = self.info.rows, self.info.index.codec
        self._check_size("rows of parts", rows, sum(self.info.part_rows))
        vectors = self._files(VECTORS_FILE, 2 * self.info.dim)
        self.vectors: Vectors | EngineVectors
        if self._scores_by_engine and to_serve:  # the files may be there, and are not verified
            self.vectors = EngineVectors(self.info.dim, [(rows, lambda: self.engine_search)])
        else:
            self.vectors = Vectors(*(map_vectors(path, part_rows, self.info.dim) for path, part_rows in vectors))
        index = [folder / path for path in self.info.index_paths]
        self.flat = FlatIndex(index[0]) if codec == "flat" else None
        self.graph = GraphIndex(index[0]) if codec == "hnsw" else None
        whole = self.flat or self.graph  # indexes without lists
        self.ivf = None
        if not whole and not self.info.engine:
            similarity = self._similarity() if SIMILARITY_FILE in self.info.files else None
            self.ivf = IvfIndex(index, None if base is None else base.ivf, similarity)
        lists = [] if self.ivf is None else self._files(LISTS_FILE, 4)
        self.lists = RowLists(*(_map_lists(path, part_rows) for path, part_rows in lists)) if lists else None
        base_rows = 0 if base is None or whole else base.info.rows
        indexed = whole.rows if whole else self.ivf.rows - base_rows if self.ivf else rows
        self._check_size("rows in the index", rows, indexed)
        self.products = ProductTable(*(folder / path for path in self.info.paths(ARROW_FILE)))
        self.database: ProductDatabase | None = None
        self.thumbnails: Thumbnails | None = None
        self.row_filters = RowFilterCache(None if base is None else base.row_filters)
        self.updates: ProductTable | None = None
        self.deleted, self.updated_rows = np.empty(0, np.uint8), np.empty(0, np.int64)
        self._engine_search: CollectionSearch | None = None
        self._engine_lock = threading.Lock()
        try:
            self._check_size("product rows", rows, self.products.rows)
            if base is None:
                self.database = ProductDatabase(folder, self.products.table.schema, threads=threads)
            else:
                self._open_changes(base)
            thumbnails = [folder / path for path in self.info.paths(THUMBNAILS_FILE) if path in self.info.files]
            if thumbnails:
                self.thumbnails = Thumbnails(*thumbnails)
        except BaseException:
            self.close()
            raise

    def _check_base(self, base: Segment | None) -> None:
        if self.info.tombstones:
            raise IncompatibleRelease(
                f"segment {self.info.id} deletes products of older segments, as Lookalike 0.1 did it; build the "
                "release again"
            )
        expected = self.info.base and self.info.base.id
        actual = base and base.info.id
        if expected != actual:
            raise CorruptFile(
                str(self.folder / INFO_FILE),
                f"belongs to base {actual}, but is a {f'delta of {expected}' if expected else 'base'}",
            )

    def _open_changes(self, base: Segment) -> None:
        reference = self.info.base
        assert reference is not None  # noqa: S101  (_check_base has looked)
        self.deleted = _map_bits(self.folder / DELETED_FILE)
        self._check_size("bits of deleted rows", (base.info.rows + 7) // 8, len(self.deleted))
        self._check_size("deleted rows", reference.deleted_rows, int(np.bitwise_count(self.deleted).sum()))
        self.updates = ProductTable(self.folder / UPDATES_FILE)
        self._check_size("updated rows", reference.updated_rows, self.updates.rows)
        if self.updates.row_numbers is not None:
            self.updated_rows = self.updates.row_numbers

    def _files(self, name: str, row_bytes: int) -> list[tuple[Path, int]]:
        """Return the path and the number of rows of a file of each part, which has so many bytes a row."""
        found = list(zip(self.info.paths(name), self.info.part_rows, strict=True))
        for path, part_rows in found:
            size = self.info.files[path].bytes if path in self.info.files else 0
            self._check_size(f"bytes of {path}", part_rows * row_bytes, size)
        return [(self.folder / path, part_rows) for path, part_rows in found]

    def _similarity(self) -> np.ndarray:
        size = self.info.files[SIMILARITY_FILE].bytes
        self._check_size(f"bytes of {SIMILARITY_FILE}", self.info.index.lists * 4, size)
        return np.fromfile(self.folder / SIMILARITY_FILE, np.float32)

    def _check_size(self, noun: str, expected: int, actual: int) -> None:
        """Refuse files that are intact but do not belong together: mapping or searching them could crash."""
        if expected != actual:
            raise CorruptFile(str(self.folder / INFO_FILE), f"does not fit its files: {actual} {noun}, not {expected}")

    # ── the engine ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _scores_by_engine(self) -> bool:
        return self.info.engine is not None and self.info.engine.vectors == "engine"

    @cached_property
    def collection(self) -> Collection:
        """What the engine holds of this segment."""
        assert self.info.engine is not None  # noqa: S101  (callers have looked)
        columns = filterable_columns(self.products.table.schema)
        options = self.info.engine.options | self.engine_options
        return Collection(self.info.engine.name, self.info.rows, self.info.dim, columns, options)

    @cached_property
    def engine(self) -> Engine:
        """The engine that finds this segment's candidates.

        Raises:
            EngineError: it cannot be opened, or this process has not been told how.
        """
        if self.info.engine is None or self._open_engine is None:
            raise EngineError(f"segment {self.info.id} cannot be searched here: no engine was given to open it with")
        return self._open_engine(self.info.engine.kind)

    @property
    def engine_search(self) -> CollectionSearch:
        """The segment's collection, which is opened by the first use.

        Raises:
            EngineError: the engine has no such collection.
            EngineUnavailable: the engine does not answer.
        """
        with self._engine_lock:
            if self._engine_search is None:
                self._engine_search = self.engine.open(self.collection)
            return self._engine_search

    def ping_engine(self, seconds: float) -> None:
        """Return if the engine can search this segment, or none has to.

        Raises:
            EngineUnavailable: it does not say so within so many seconds.
            EngineError: it lacks the segment.
        """
        if self.info.engine is not None and self.info.rows:
            self.engine.ping_collection(self.collection, seconds)

    # ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Close the files of product rows and thumbnails; mapped vectors and indexes go with the object."""
        self.products.close()
        if self.updates:
            self.updates.close()
        if self.database:
            self.database.close()
        if self.thumbnails:
            self.thumbnails.close()

    def copy_to_gpus(self, pool: GpuPool) -> None:
        """Search a base's index on GPUs from now on, where there is no filter.

        Raises:
            DeviceError: FAISS has no GPU index for its codec.
            RuntimeError: from FAISS, if there is not enough memory.
        """
        index = self.flat or self.ivf
        if index is None:
            raise DeviceError(f"FAISS has no GPU index for codec {self.info.index.codec}")
        index.copy_to_gpus(pool)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return all values of a column of the product rows, in row order."""
        return self.products.table.column(name)

    @cached_property
    def first_pictures(self) -> np.ndarray | None:
        """One row of each product as a bitmap, uint8, little-endian; None if each product has one row."""
        if self.info.max_pictures <= 1:
            return None
        if self.database is None:
            first = first_pictures(self.column("product_id"))
        else:
            first = np.zeros(self.info.rows, bool)
            first[self.database.first_pictures()] = True
        return np.packbits(first, bitorder="little")

    def product_ids(self, rows: np.ndarray) -> list[str]:
        """Return the product of each of these rows."""
        return self.products.product_ids(rows)


def joined_vectors(segments: list[Segment]) -> Vectors | EngineVectors:
    """Return the vectors of a base, or of a base and its delta, by the release's row numbers."""
    mapped = [segment.vectors for segment in segments if isinstance(segment.vectors, Vectors)]
    if len(mapped) == len(segments):
        return Vectors(*(part for vectors in mapped for part in vectors.parts))
    opening = [(segment.info.rows, lambda segment=segment: segment.engine_search) for segment in segments]
    return EngineVectors(segments[0].info.dim, opening)


def _map_bits(path: Path) -> np.ndarray:
    return np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)


def _map_lists(path: Path, rows: int) -> np.ndarray:
    # mmap refuses an empty file
    return np.memmap(path, np.int32, "r", shape=(rows,)) if rows else np.empty(0, np.int32)
