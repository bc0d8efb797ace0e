"""Access to the IVF inside a FAISS index, for filling and for searching it."""

from __future__ import annotations

import faiss
import numpy as np

from artifacts.index.devices.assignment import inner_products
from artifacts.index.devices.threads import one_thread

#: Rounds in which OPQ improves its rotation; FAISS's default is 50. By codes alone, 0.82 of the best hundred were found
#: with PQ, 0.88 with OPQ of 5 rounds, 0.91 of 10, 0.92 of 25; training took 4, 18, 25 and 47 s (60,000 x 512-d).
_OPQ_ROUNDS = 10

#: Vectors that are rotated at once: 17 MB of row numbers at 512-d.
_ROTATED_BLOCK = 4096

#: Vectors of a sample that are rotated before they are written back: 134 MB of float32 at 512-d.
_SAMPLE_BLOCK = 65_536


def to_ivf_space(index: faiss.Index, vectors: np.ndarray) -> tuple[faiss.IndexIVF, np.ndarray]:
    """Return the IVF inside an index, and the vectors in its space.

    Some codecs rotate vectors before the IVF sees them; for those the index begins with a transform.

    Args:
        vectors: float32 or float16 [n, dim].

    Returns:
        The IVF, and float32[n, dim], contiguous.
    """
    return faiss.extract_index_ivf(index), rotate(rotation_matrix(index), vectors)


def rotation_matrix(index: faiss.Index) -> np.ndarray | None:
    """Return the rotation that an index begins with as float32[dim, dim], valid while the index lives; None if none."""
    rotation = rotation_of(index)
    if rotation is None:
        return None
    return faiss.rev_swig_ptr(rotation.A.data(), rotation.d_out * rotation.d_in).reshape(rotation.d_out, -1)


def rotation_of(index: faiss.Index) -> faiss.LinearTransform | None:
    """Return the rotation that an index begins with; None if it has none."""
    outer = faiss.downcast_index(index)
    return faiss.downcast_VectorTransform(outer.chain.at(0)) if isinstance(outer, faiss.IndexPreTransform) else None


def rotate_sample(index: faiss.Index, sample: np.ndarray, *, overwrite: bool) -> np.ndarray:
    """Return a sample in the IVF's space: the sample itself if the index begins with no rotation.

    Args:
        sample: float32 or float16 [n, dim].
        overwrite: whether a float32 sample is rotated in place, block by block. One that is mapped from a file stays
            there.

    Returns:
        float32 or float16 [n, dim].
    """
    matrix = rotation_matrix(index)
    if matrix is None:
        return sample
    if not overwrite or sample.dtype != np.float32 or len(matrix) != sample.shape[1]:
        return rotate(matrix, sample)
    for start in range(0, len(sample), _SAMPLE_BLOCK):
        sample[start : start + _SAMPLE_BLOCK] = rotate(matrix, sample[start : start + _SAMPLE_BLOCK])
    return sample


def codec_of(index: faiss.Index) -> str:
    """Return the codec of an index with an IVF: pq, opq, rabitq or sq8."""
    ivf = faiss.extract_index_ivf(index)
    if isinstance(ivf, faiss.IndexIVFPQ):
        return "pq" if rotation_of(index) is None else "opq"
    return "rabitq" if isinstance(ivf, faiss.IndexIVFRaBitQ) else "sq8"


def rotate(matrix: np.ndarray | None, vectors: np.ndarray) -> np.ndarray:
    """Return vectors rotated, each independent of the others: float32[n, dim], contiguous.

    FAISS's own matrix product rounds a vector differently with other vectors beside it: one number of 35, in blocks of
    100 and of 20,000. Codes would depend on how a catalog is cut into blocks. 16 µs a vector instead of 5 at 512-d.

    Args:
        matrix: of `rotation_matrix`; None to rotate nothing.
        vectors: float32 or float16 [n, dim].
    """
    if matrix is None:
        return np.ascontiguousarray(vectors, np.float32)
    rows = np.empty((min(len(vectors), _ROTATED_BLOCK), len(matrix)), np.int64)
    rows[:] = np.arange(len(matrix))
    rotated = np.empty((len(vectors), len(matrix)), np.float32)
    for start in range(0, len(vectors), _ROTATED_BLOCK):
        block = np.ascontiguousarray(vectors[start : start + _ROTATED_BLOCK], np.float32)
        rotated[start : start + _ROTATED_BLOCK] = inner_products(block, matrix, rows[: len(block)])
    return rotated


def train_rotation(index: faiss.Index, sample: np.ndarray) -> None:
    """Train the rotation that an index begins with, if it has one; training the index does not repeat it.

    On one thread: the rotation would depend on their number, and they wait for each other. OPQ of 65,536 x 512-d took
    39 s of one core, and 160 s on two that were shared.

    Args:
        sample: float32[n, dim].
    """
    rotation = rotation_of(index)
    if rotation is None:
        return
    if isinstance(rotation, faiss.OPQMatrix):
        rotation.niter = _OPQ_ROUNDS
        rotation.pq = pq = faiss.ProductQuantizer(rotation.d_out, rotation.M, 8)
        pq.cp.min_points_per_centroid = 1  # else FAISS prints a warning for each part in each round
        if len(sample) < rotation.d_in:  # FAISS 1.15 would write beyond its memory, and crash
            sample = np.resize(sample, (rotation.d_in, rotation.d_in))  # repeats the vectors
    with one_thread():
        rotation.train(sample)
    if isinstance(rotation, faiss.OPQMatrix):
        rotation.pq = None
