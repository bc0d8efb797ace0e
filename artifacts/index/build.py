"""TODO."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np

from artifacts.index.faiss_index import to_ivf_space
from artifacts.index.vectors import fp16_index


def train(factory: str, dim: int, sample: np.ndarray, *, seed: int) -> faiss.Index:
    """An empty index trained on a sample.

    Args:
        factory: FAISS factory string with an IVF.
        sample: float32[n, dim], L2-normalised; drawn at random from all rows, never their head: catalogs come sorted.
    """
    index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    ivf = faiss.extract_index_ivf(index)
    ivf.cp.seed = seed
    ivf.cp.min_points_per_centroid = 1  # lists_for already asks for enough; FAISS would only print a warning
    if isinstance(precise := faiss.downcast_index(ivf), faiss.IndexIVFPQ):
        # On by default, and most of the training's time: it renumbers the codes for a Hamming test that we do not use.
        precise.do_polysemous_training = False
    index.train(sample)
    return index


def empty_copy(trained: faiss.Index) -> faiss.Index:
    """Another empty index with the same trained parts, to be filled as a further file."""
    copy = faiss.clone_index(trained)
    copy.reset()
    return copy


def add(index: faiss.Index, vectors: np.ndarray, first_row: int) -> np.ndarray:
    """Add float32[n, dim] under the row numbers from `first_row` on; returns the list of each, int32[n]."""
    rows = np.arange(first_row, first_row + len(vectors), dtype=np.int64)
    ivf, inner = to_ivf_space(index, vectors)
    lists = np.ascontiguousarray(ivf.quantizer.search(inner, 1)[1].ravel())
    # add_with_ids would find the lists a second time.
    ivf.add_core(len(inner), faiss.swig_ptr(inner), faiss.swig_ptr(rows), faiss.swig_ptr(lists))
    index.ntotal = ivf.ntotal
    return lists.astype(np.int32)


def write(index: faiss.Index, path: Path) -> None:
    faiss.write_index(index, str(path))


def write_flat(vectors: Iterator[np.ndarray], dim: int, path: Path) -> None:
    """A flat index file over blocks of float16[n, dim]."""
    index = fp16_index(dim)
    for block in vectors:
        index.add_sa_codes(np.ascontiguousarray(block).view(np.uint8).reshape(len(block), 2 * dim))
    faiss.write_index(index, str(path))
