"""Trains and fills FAISS indexes, and writes them to files.

An IVF index may be spread over several files: all are copies of one trained index, so they share their lists, and each
holds some of the rows under their row numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import faiss
import numpy as np

from artifacts.index.ivf_space import to_ivf_space
from artifacts.index.vectors import fp16_index


def training_rows(rows: int, sample: int, seed: int) -> np.ndarray:
    """Draw distinct row numbers at random to train on: int64[min(rows, sample)], ascending.

    They must not be the first rows: a catalog may be sorted by category.
    """
    chosen = np.random.default_rng(seed).choice(rows, size=min(rows, sample), replace=False)
    return np.sort(chosen)


def train(factory: str, dim: int, sample: np.ndarray, *, seed: int) -> faiss.Index:
    """Train an index on a sample, and return it empty.

    Args:
        factory: FAISS factory string with an IVF.
        sample: float32[n, dim], L2-normalised; see `training_rows`.
    """
    index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    ivf = faiss.extract_index_ivf(index)
    ivf.cp.seed = seed
    ivf.cp.min_points_per_centroid = 1  # the caller draws enough; FAISS would only print a warning
    if isinstance(ivfpq := faiss.downcast_index(ivf), faiss.IndexIVFPQ):
        # On by default, and most of the training's time: it renumbers codes for a Hamming test that is not used here.
        ivfpq.do_polysemous_training = False
    index.train(sample)
    return index


def empty_copy(trained: faiss.Index) -> faiss.Index:
    """Return another empty index with the same trained parts, for a further file."""
    copy = faiss.clone_index(trained)
    copy.reset()
    return copy


def add(index: faiss.Index, vectors: np.ndarray, first_row: int) -> np.ndarray:
    """Add rows to an index under consecutive row numbers.

    Args:
        vectors: float32[n, dim].
        first_row: row number of the first vector.

    Returns:
        The IVF list of each row, int32[n].
    """
    rows = np.arange(first_row, first_row + len(vectors), dtype=np.int64)
    ivf, inner = to_ivf_space(index, vectors)
    lists = np.ascontiguousarray(ivf.quantizer.search(inner, 1)[1].ravel())
    # add_with_ids would find the lists a second time.
    ivf.add_core(len(inner), faiss.swig_ptr(inner), faiss.swig_ptr(rows), faiss.swig_ptr(lists))
    index.ntotal = ivf.ntotal
    return lists.astype(np.int32)


def write(index: faiss.Index, path: Path) -> None:
    """Write an index to a file."""
    faiss.write_index(index, str(path))


def write_flat(blocks: Iterable[np.ndarray], dim: int, path: Path) -> None:
    """Write a flat index file over blocks of float16[n, dim]."""
    index = fp16_index(dim)
    for block in blocks:
        index.add_sa_codes(np.ascontiguousarray(block).view(np.uint8).reshape(len(block), 2 * dim))
    faiss.write_index(index, str(path))
