"""Access to the IVF inside a FAISS index, for filling and for searching it."""

from __future__ import annotations

import faiss
import numpy as np


def to_ivf_space(index: faiss.Index, vectors: np.ndarray) -> tuple[faiss.IndexIVF, np.ndarray]:
    """Return the IVF inside an index, and the vectors in its space.

    Some codecs rotate vectors before the IVF sees them; for those the index begins with a transform.

    Args:
        vectors: float32[n, dim].

    Returns:
        The IVF, and float32[n, dim], contiguous.
    """
    ivf = faiss.extract_index_ivf(index)
    if isinstance(faiss.downcast_index(index), faiss.IndexPreTransform):
        vectors = faiss.downcast_index(index).chain.at(0).apply(vectors)
    return ivf, np.ascontiguousarray(vectors, np.float32)
