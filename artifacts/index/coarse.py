"""The centroids of an IVF.

With many lists the centroids are nodes of an HNSW graph, so that a search scores a few thousand of them instead of all.
A row that is added is assigned to the nearest of all centroids nevertheless: what a graph misses then would be missed
by every search.
"""

from __future__ import annotations

import faiss
import numpy as np

from artifacts.index.devices.threads import one_thread

#: efSearch of the graph for the assignments that a codec is trained on; 16 by default, which misses many.
_EF_SEARCH = 256


def exact_quantizer(ivf: faiss.IndexIVF) -> faiss.IndexFlat:
    """Return the flat index over all centroids of an IVF, which lives as long as the IVF."""
    quantizer = faiss.downcast_index(ivf.quantizer)
    return faiss.downcast_index(quantizer.storage) if isinstance(quantizer, faiss.IndexHNSW) else quantizer


def centroids_of(ivf: faiss.IndexIVF) -> np.ndarray:
    """Return the centroids float32[lists, dim], aligned: a copy where they are mapped from a file at an odd address."""
    flat = exact_quantizer(ivf)
    centroids = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, -1)
    return np.require(centroids, requirements="A")  # NumPy would copy them for every product


def set_centroids(ivf: faiss.IndexIVF, centroids: np.ndarray) -> None:
    """Give an IVF without centroids those that were trained, float32[lists, dim].

    One thread links them in a graph: FAISS would do it on all threads, and the links would differ each time.
    """
    ivf.quantizer.train(centroids)
    with one_thread():
        ivf.quantizer.add(centroids)
    if isinstance(graph := faiss.downcast_index(ivf.quantizer), faiss.IndexHNSW):
        graph.hnsw.efSearch = _EF_SEARCH
