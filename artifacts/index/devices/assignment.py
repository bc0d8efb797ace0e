"""Assigns vectors to their nearest centroids, with the same result whatever the device, block size and threads."""

from __future__ import annotations

import faiss
import numpy as np

from artifacts.index.devices.device import Device

#: Centroids of each vector that are scored on the CPU. The last bits of a matrix product depend on its shape, on the
#: threads and on the device, so it only chooses these: the nearest one is among them unless more are equally near.
#: 8 instead of 1 cost nothing with 2,048 centroids of 512 numbers, and their scores 4 % of the products.
_CANDIDATES = 8

#: Vectors that are on a device at once: 134 MB of float32 at 512-d.
_BLOCK = 65_536


def assign(vectors: np.ndarray, centroids: np.ndarray, device: Device) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest centroid of each vector by inner product; of equally near ones that of the lowest number.

    Args:
        vectors: float32 or float16 [n, dim].
        centroids: float32[count, dim], contiguous and aligned.

    Returns:
        Numbers of centroids int64[n], and the inner products with them float32[n].
    """
    numbers, products = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    if not len(vectors):
        return numbers, products
    loaded = device.load(centroids)
    for start in range(0, len(vectors), _BLOCK):
        block = np.ascontiguousarray(vectors[start : start + _BLOCK], np.float32)
        candidates = loaded.nearest(block, min(_CANDIDATES, len(centroids)))
        candidates.sort(axis=1)
        scores = inner_products(block, centroids, candidates)
        best = scores.argmax(axis=1)[:, None]  # the first of equal ones
        numbers[start : start + _BLOCK] = np.take_along_axis(candidates, best, axis=1)[:, 0]
        products[start : start + _BLOCK] = np.take_along_axis(scores, best, axis=1)[:, 0]
    return numbers, products


def inner_products(vectors: np.ndarray, matrix: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return inner products of vectors and rows of a matrix, each computed alone.

    Args:
        vectors: float32[n, dim], contiguous.
        matrix: float32[count, dim], contiguous and aligned.
        numbers: rows of the matrix for each vector, int64[n, m], contiguous.

    Returns:
        float32[n, m].
    """
    products = np.empty(numbers.shape, np.float32)
    faiss.fvec_inner_products_by_idx(
        faiss.swig_ptr(products), faiss.swig_ptr(vectors), faiss.swig_ptr(matrix), faiss.swig_ptr(numbers),
        vectors.shape[1], *numbers.shape,
    )  # fmt: skip
    return products
