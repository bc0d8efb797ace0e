"""Trains and fills FAISS indexes, and writes them to files.

An IVF index may be spread over several files: all are copies of one trained index, so they share their lists, and each
holds some of the rows under their row numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import faiss
import numpy as np

from artifacts.index.devices.assignment import assign
from artifacts.index.devices.device import CPU, Device
from artifacts.index.devices.threads import one_thread
from artifacts.index.ivf_space import rotate_sample, to_ivf_space, train_rotation
from artifacts.index.lists.coarse import centroids_of, set_centroids
from artifacts.index.training import Progress, no_progress, train_clusters
from artifacts.index.vectors import fp16_index

#: Vectors that a codec and a rotation are trained on; FAISS takes 65,536 of them for PQ and OPQ.
_CODEC_ROWS = 100_000

#: Iterations of the k-means of each part of PQ. FAISS's default of 25 takes 7.4 s instead of 3.0 for 64 parts of
#: 65,536 x 512-d, and lowers the error by 0.5 %. Half the vectors would take 1.6 s and raise it by 0.6 %.
_PQ_ITERATIONS = 10


def training_rows(rows: int, sample: int, seed: int) -> np.ndarray:
    """Draw distinct row numbers at random to train on: int64[min(rows, sample)], ascending.

    They must not be the first rows: a catalog may be sorted by category. Memory is in proportion to the sample: NumPy's
    `choice` makes an array of all rows if more than a fiftieth is drawn.
    """
    random = np.random.default_rng(seed)
    if sample >= rows / 2:
        return np.sort(random.choice(rows, size=min(rows, sample), replace=False))
    chosen = np.empty(0, np.int64)
    while len(chosen) < sample:  # numbers that come up again are drawn anew
        chosen = np.union1d(chosen, random.integers(rows, size=sample - len(chosen)))
    return chosen


def train(
    factory: str,
    dim: int,
    sample: np.ndarray,
    *,
    seed: int,
    device: Device = CPU,
    overwrite_sample: bool = False,
    progress: Progress = no_progress,
) -> tuple[faiss.Index, np.ndarray]:
    """Train an index on a sample. It does not depend on the device.

    Args:
        factory: FAISS factory string with an IVF, whose quantizer is flat or an HNSW graph.
        sample: float32 or float16 [n, dim], L2-normalised, at least as many as lists; see `training_rows`.
        overwrite_sample: whether a codec that rotates vectors may rotate the sample in place; else a rotated copy of
            all of it is in memory.
        progress: called after each step of the k-means.

    Returns:
        The trained, empty index, and how alike the sample's vectors in each list are, float32[lists]; see
        `artifacts.index.training.Clusters`.

    Raises:
        ValueError: there are fewer vectors than lists.
    """
    index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    few = sample[training_rows(len(sample), _CODEC_ROWS, seed)].astype(np.float32)
    train_rotation(index, few)
    ivf, few = to_ivf_space(index, few)
    sample = rotate_sample(index, sample, overwrite=overwrite_sample)
    centroids, similarity = train_clusters(sample, ivf.nlist, seed=seed, device=device, progress=progress)
    set_centroids(ivf, centroids)
    ivf = faiss.downcast_index(ivf)
    if isinstance(ivf, faiss.IndexIVFPQ):
        # On by default, and most of the training's time: it renumbers codes for a Hamming test that is not used here.
        ivf.do_polysemous_training = False
        ivf.pq.cp.niter = _PQ_ITERATIONS
        ivf.pq.cp.min_points_per_centroid = 1  # the caller draws enough; FAISS would only print a warning
    lists, _ = assign(few, centroids, device)
    few = few - centroids[lists] if ivf.by_residual else few
    with one_thread():  # the k-means of PQ are small: two threads that share their cores took 18 s, one took 3
        ivf.train_encoder(len(few), faiss.swig_ptr(few), faiss.swig_ptr(lists))
    ivf.is_trained = index.is_trained = True
    return index, similarity


def empty_copy(trained: faiss.Index) -> faiss.Index:
    """Return another empty index with the same trained parts, for a further file."""
    copy = faiss.clone_index(trained)
    copy.reset()
    return copy


def add(
    index: faiss.Index, vectors: np.ndarray, rows: np.ndarray, *, device: Device = CPU
) -> tuple[np.ndarray, np.ndarray]:
    """Add rows to an index. Their lists and codes depend on nothing but themselves and the trained index.

    Args:
        vectors: float32[n, dim].
        rows: row numbers int64[n].

    Returns:
        The IVF list of each row, int32[n], and its cosine with the list's centroid as trained, float32[n].
    """
    ivf, inner = to_ivf_space(index, vectors)
    lists, cosines = assign(inner, centroids_of(ivf), device)
    rows = np.ascontiguousarray(rows, np.int64)
    # add_with_ids would find the lists a second time, with the rounding of a matrix product.
    ivf.add_core(len(inner), faiss.swig_ptr(inner), faiss.swig_ptr(rows), faiss.swig_ptr(lists))
    index.ntotal = ivf.ntotal
    return lists.astype(np.int32), cosines


def centroid_cosines(index: faiss.Index, vectors: np.ndarray, *, device: Device = CPU) -> np.ndarray:
    """Return the cosine of each vector with the centroid of its list, float32[n].

    Args:
        index: trained.
        vectors: float32[n, dim], L2-normalised.
    """
    ivf, inner = to_ivf_space(index, vectors)
    return assign(inner, centroids_of(ivf), device)[1]


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
    """Map an index file: it opens in milliseconds, pages are read as they are needed, and processes share them."""
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY)
