"""Trains and fills the index of a segment, block by block from its mapped vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from artifacts.config import IndexConfig
from artifacts.index import build, params
from artifacts.index.choosing import choose
from artifacts.index.devices.device import CPU, Device
from artifacts.index.devices.opening import open_device
from artifacts.index.graph import write_graph
from artifacts.index.vectors import Vectors
from artifacts.segments.info import INDEX_FILE, LISTS_FILE, QUANTIZER_FILE, SIMILARITY_FILE, IndexInfo

#: Rows whose vectors are in memory at once while the index is filled: 256 MB of float32 at 512-d.
_ADD_BLOCK = 131_072

#: Called with the number of rows added to the index and the total.
Progress = Callable[[int, int], None]

#: The folder of each part of a segment, and its vectors float16[rows, dim].
Parts = Sequence[tuple[Path, np.ndarray]]

#: The description of a flat index.
FLAT_INDEX = IndexInfo(codec="flat", factory="SQfp16")


def no_progress(done: int, total: int) -> None:
    """The progress callback of a caller that shows none."""


def rows_per_part(config: IndexConfig) -> int | None:
    """Return after how many rows a segment's next part begins; None if there is one part, as flat and hnsw need it."""
    if config.codec in ("flat", "hnsw"):
        return None
    return max(config.rows_per_index, config.flat_max_rows, params.MIN_TRAIN_ROWS)


def write_index(folder: Path, parts: Parts, config: IndexConfig, progress: Progress = no_progress) -> IndexInfo:
    """Write a new index, as `choose` says.

    Args:
        folder: of the segment.
        parts: one, if the index is flat or a graph.
        config: how the index is built.

    Raises:
        InputError: the settings allow no index for these rows.
        DeviceError: there is no such `index_device`.
    """
    vectors = Vectors(*(part for _, part in parts))
    choice = choose(vectors.rows, vectors.dim, config)
    if choice.codec in ("flat", "hnsw"):
        write_flat_index(parts, graph=choice.codec == "hnsw")
        progress(vectors.rows, vectors.rows)
        return IndexInfo(codec=choice.codec, factory=choice.factory)
    sample = build.training_rows(vectors.rows, choice.train_rows, config.seed)
    device = open_device(config.index_device)
    trained, similarity = build.train(
        choice.factory, vectors.dim, vectors.take(sample), seed=config.seed, device=device, overwrite_sample=True
    )
    build.write(trained, folder / QUANTIZER_FILE)
    similarity.tofile(folder / SIMILARITY_FILE)
    info = IndexInfo(
        codec=choice.codec, factory=choice.factory, lists=choice.lists, train_rows=len(sample), seed=config.seed
    )
    info = fill_index(parts, trained, info, device=device, progress=progress)
    return info.model_copy(update={"trained_similarity": info.centroid_similarity})


def write_flat_index(parts: Parts, *, graph: bool = False) -> None:
    """Write an index of the float16 vectors themselves: a flat one, or an HNSW graph.

    Raises:
        ValueError: there is more than one part; the rows of such an index are numbered from 0.
    """
    if len(parts) != 1:
        raise ValueError(f"an index that is flat or a graph has one part, not {len(parts)}")
    ((folder, vectors),) = parts
    blocks = (vectors[start : start + _ADD_BLOCK] for start in range(0, len(vectors), _ADD_BLOCK))
    write = write_graph if graph else build.write_flat
    write(blocks, vectors.shape[1], folder / INDEX_FILE)


@dataclass(frozen=True)
class Similarity:
    """The cosines of rows with the centroids of their lists, added up."""

    total: float = 0.0
    rows: int = 0

    @property
    def mean(self) -> float | None:
        """The mean cosine; None without rows."""
        return self.total / self.rows if self.rows else None

    def __add__(self, other: Similarity) -> Similarity:
        return Similarity(self.total + other.total, self.rows + other.rows)


def fill_part(
    folder: Path,
    vectors: np.ndarray,
    first_row: int,
    trained: faiss.Index,
    *,
    known_lists: np.ndarray | None = None,
    copy: Callable[[faiss.Index, int, int], None] | None = None,
    device: Device = CPU,
    progress: Progress = no_progress,
) -> Similarity:
    """Fill a copy of a trained index with the rows of one part, and write it and the list of each row.

    Args:
        folder: of the part.
        vectors: float16[rows, dim].
        first_row: number of the part's first row in the segment.
        trained: empty.
        known_lists: int32[rows], the list of each row whose code `copy` adds; -1 for rows that are encoded here.
        copy: called with the index and the first and last + 1 of its rows; adds those of known lists.
        device: finds the lists of the others.
        progress: called with the number of rows done and the part's.

    Returns:
        The cosines of the rows that were encoded here.
    """
    index = build.empty_copy(trained)
    similarity = Similarity()
    if copy is not None:
        copy(index, first_row, first_row + len(vectors))
    with (folder / LISTS_FILE).open("wb") as list_file:
        for start in range(0, len(vectors), _ADD_BLOCK):
            block = vectors[start : start + _ADD_BLOCK]
            lists = np.full(len(block), -1, np.int32)
            if known_lists is not None:
                lists = known_lists[start : start + len(block)].copy()
            new = np.flatnonzero(lists < 0)
            if len(new):
                rows = first_row + start + new
                lists[new], cosines = build.add(index, block[new].astype(np.float32), rows, device=device)
                similarity += Similarity(float(cosines.sum(dtype=np.float64)), len(new))
            list_file.write(lists.tobytes())
            progress(start + len(block), len(vectors))
    build.write(index, folder / INDEX_FILE)
    return similarity


def fill_index(
    parts: Parts,
    trained: faiss.Index,
    info: IndexInfo,
    *,
    known_lists: np.ndarray | None = None,
    copy: Callable[[faiss.Index, int, int], None] | None = None,
    device: Device = CPU,
    progress: Progress = no_progress,
) -> IndexInfo:
    """Fill copies of a trained index, one for each part; see `fill_part`.

    Args:
        info: how it was trained.

    Returns:
        `info` with the mean cosine of the encoded rows with their centroids.
    """
    rows = sum(len(vectors) for _, vectors in parts)
    first, similarity = 0, Similarity()
    for folder, vectors in parts:
        similarity += fill_part(
            folder,
            vectors,
            first,
            trained,
            known_lists=None if known_lists is None else known_lists[first : first + len(vectors)],
            copy=copy,
            device=device,
            progress=lambda done, _, first=first: progress(first + done, rows),
        )
        first += len(vectors)
    mean = info.centroid_similarity if similarity.mean is None else similarity.mean
    return info.model_copy(update={"centroid_similarity": mean})
