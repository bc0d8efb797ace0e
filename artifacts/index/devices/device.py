"""What a device does for an index, and the CPU as a device."""

from __future__ import annotations

from typing import Protocol

import faiss
import numpy as np


class Centroids(Protocol):
    """Centroids on a device."""

    def nearest(self, vectors: np.ndarray, count: int) -> np.ndarray:
        """Return the centroids with the largest inner products, as the device computes them.

        Args:
            vectors: float32[n, dim], contiguous.
            count: no more than there are centroids.

        Returns:
            int64[n, count], contiguous, in any order. Rounding may put a centroid in or out where others are as near.
        """
        ...


class Device(Protocol):
    """Finds nearest centroids. Used from one thread at a time.

    Attributes:
        name: for reports.
    """

    name: str

    def load(self, centroids: np.ndarray) -> Centroids:
        """Bring centroids, float32[count, dim], contiguous, to the device. They stay there while the result lives."""
        ...


class CpuDevice:
    """FAISS on the CPU: blocks of matrix products on all threads of OpenMP."""

    name = "cpu"

    def load(self, centroids: np.ndarray) -> Centroids:
        return _CpuCentroids(centroids)


class _CpuCentroids:
    def __init__(self, centroids: np.ndarray) -> None:
        self._centroids = centroids

    def nearest(self, vectors: np.ndarray, count: int) -> np.ndarray:
        return faiss.knn(vectors, self._centroids, count, metric=faiss.METRIC_INNER_PRODUCT)[1]


CPU = CpuDevice()
