"""Trains and fills FAISS indexes, and writes them to files.

An IVF index may be spread over several files: all are copies of one trained index, so they share their lists, and each
holds some of the rows under their row numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import faiss
import numpy as np

from artifacts.index.coarse import exact_quantizer, fill_graph, has_graph
from artifacts.index.ivf_space import to_ivf_space, train_rotation
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
    train_rotation(index, sample)
    if has_graph(ivf):
        fill_graph(ivf, to_ivf_space(index, sample)[1])
    index.train(sample)
    return index


def empty_copy(trained: faiss.Index) -> faiss.Index:
    """Return another empty index with the same trained parts, for a further file."""
    copy = faiss.clone_index(trained)
    copy.reset()
    return copy


def add(index: faiss.Index, vectors: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add rows to an index.

    Args:
        vectors: float32[n, dim].
        rows: row numbers int64[n].

    Returns:
        The IVF list of each row, int32[n], and its cosine with the list's centroid as trained, float32[n].
    """
    ivf, inner = to_ivf_space(index, vectors)
    scores, nearest = exact_quantizer(ivf).search(inner, 1)
    lists = np.ascontiguousarray(nearest.ravel())
    rows = np.ascontiguousarray(rows, np.int64)
    # add_with_ids would find the lists a second time.
    ivf.add_core(len(inner), faiss.swig_ptr(inner), faiss.swig_ptr(rows), faiss.swig_ptr(lists))
    index.ntotal = ivf.ntotal
    return lists.astype(np.int32), scores.ravel()


def centroid_cosines(index: faiss.Index, vectors: np.ndarray) -> np.ndarray:
    """Return the cosine of each vector with the centroid of its list, float32[n].

    Args:
        index: trained.
        vectors: float32[n, dim], L2-normalised.
    """
    ivf, inner = to_ivf_space(index, vectors)
    return exact_quantizer(ivf).search(inner, 1)[0].ravel()


def write(index: faiss.Index, path: Path) -> None:
    """Write an index to a file."""
    faiss.write_index(index, str(path))


def write_flat(blocks: Iterable[np.ndarray], dim: int, path: Path) -> None:
    """Write a flat index file over blocks of float16[n, dim]."""
    index = fp16_index(dim)
    for block in blocks:
        index.add_sa_codes(np.ascontiguousarray(block).view(np.uint8).reshape(len(block), 2 * dim))
    faiss.write_index(index, str(path))


def read(path: Path) -> faiss.Index:
    """Read an index file into memory, to be filled."""
    return faiss.read_index(str(path))


def list_codes(index: faiss.Index) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield for each IVF list that holds rows its number, the row numbers int64[n] and the codes uint8[n, code_size].

    The arrays are views of the index, valid while it lives.
    """
    ivf = faiss.extract_index_ivf(index)
    for number in range(ivf.nlist):
        if size := ivf.invlists.list_size(number):
            rows = faiss.rev_swig_ptr(ivf.invlists.get_ids(number), size)
            codes = faiss.rev_swig_ptr(ivf.invlists.get_codes(number), size * ivf.code_size)
            yield number, rows, codes.reshape(size, -1)


def copy_codes(source: faiss.Index, target: faiss.Index, new_rows: np.ndarray) -> None:
    """Add rows of an index to another one that is filled into a copy of the same quantizer, without encoding them.

    Args:
        new_rows: int64[rows of the source], the number of each row in the target; -1 for rows to leave out.
    """
    ivf = faiss.extract_index_ivf(target)
    for number, rows, codes in list_codes(source):
        kept = new_rows[rows] >= 0
        ids = np.ascontiguousarray(new_rows[rows[kept]])
        if len(ids):
            block = np.ascontiguousarray(codes[kept])
            ivf.invlists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(block))
            ivf.ntotal += len(ids)
    target.ntotal = ivf.ntotal


def map_file(path: Path) -> faiss.Index:
    """Map an index file, to copy codes from it: its pages are read as they are needed."""
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY)
