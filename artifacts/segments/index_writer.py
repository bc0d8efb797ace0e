"""Trains and fills the index of a segment, block by block from its mapped vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

from artifacts.config import IndexConfig
from artifacts.index import build, params
from artifacts.segments.info import LISTS_FILE, QUANTIZER_FILE, IndexInfo, index_file

#: Rows whose vectors are in memory at once while the index is filled: 256 MB of float32 at 512-d.
_ADD_BLOCK = 131_072

#: Called with the number of rows added to the index and the total.
Progress = Callable[[int, int], None]


def no_progress(done: int, total: int) -> None:
    """The progress callback of a caller that shows none."""


def write_index(folder: Path, vectors: np.ndarray, config: IndexConfig, progress: Progress = no_progress) -> IndexInfo:
    """Write a new index: flat for few rows, else trained on a sample of them.

    Args:
        folder: of the segment.
        vectors: float16[rows, dim].
        config: how the index is built.
    """
    rows, dim = vectors.shape
    if config.codec == "flat" or rows <= max(config.flat_max_rows, params.MIN_TRAIN_ROWS):
        write_flat_index(folder, vectors)
        progress(rows, rows)
        return IndexInfo(codec="flat", factory="SQfp16")
    lists = params.lists_for(rows)
    sample_size = max(lists * config.train_rows_per_list, params.MIN_TRAIN_ROWS)
    sample = build.training_rows(rows, sample_size, config.seed)
    factory = params.factory_string(config.codec, dim, lists)
    trained = build.train(factory, dim, vectors[sample].astype(np.float32), seed=config.seed)
    build.write(trained, folder / QUANTIZER_FILE)
    info = IndexInfo(
        codec=config.codec, factory=factory, lists=lists, train_rows=len(sample), seed=config.seed, files=0
    )
    info = fill_index(folder, vectors, trained, info, config.rows_per_index, progress=progress)
    return info.model_copy(update={"trained_similarity": info.centroid_similarity})


def write_flat_index(folder: Path, vectors: np.ndarray) -> None:
    """Write a flat index over float16[rows, dim]."""
    blocks = (vectors[start : start + _ADD_BLOCK] for start in range(0, len(vectors), _ADD_BLOCK))
    build.write_flat(blocks, vectors.shape[1], folder / index_file(0))


def fill_index(
    folder: Path,
    vectors: np.ndarray,
    trained: faiss.Index,
    info: IndexInfo,
    rows_per_file: int,
    *,
    known_lists: np.ndarray | None = None,
    copy: Callable[[faiss.Index, int, int], None] | None = None,
    progress: Progress = no_progress,
) -> IndexInfo:
    """Fill copies of a trained index, a file at a time, and write the list of each row.

    Args:
        folder: of the segment.
        vectors: float16[rows, dim].
        trained: empty.
        info: how it was trained.
        rows_per_file: rows of one file.
        known_lists: int32[rows], the list of each row whose code `copy` adds; -1 for rows that are encoded here.
        copy: called with the index of a file and the first and last + 1 of its rows; adds those of known lists.

    Returns:
        `info` with the number of files, and the mean cosine of the encoded rows with their centroids.
    """
    rows, files, similarity, encoded = len(vectors), 0, 0.0, 0
    with (folder / LISTS_FILE).open("wb") as list_file:
        for first in range(0, max(rows, 1), rows_per_file):
            index = build.empty_copy(trained)
            last = min(first + rows_per_file, rows)
            if copy is not None:
                copy(index, first, last)
            for start in range(first, last, _ADD_BLOCK):
                stop = min(start + _ADD_BLOCK, last)
                lists = np.full(stop - start, -1, np.int32) if known_lists is None else known_lists[start:stop].copy()
                new = np.flatnonzero(lists < 0)
                if len(new):
                    block = vectors[start:stop][new].astype(np.float32)
                    lists[new], cosines = build.add(index, block, start + new)
                    similarity, encoded = similarity + float(cosines.sum(dtype=np.float64)), encoded + len(new)
                list_file.write(lists.tobytes())
                progress(stop, rows)
            build.write(index, folder / index_file(files))
            files += 1
    mean = similarity / encoded if encoded else info.centroid_similarity
    return info.model_copy(update={"files": files, "centroid_similarity": mean})
