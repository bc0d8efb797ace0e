"""Nearest centroids by FAISS on one or several GPUs. Only the wheel faiss-gpu (extra `gpu`) has what it needs."""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np

from artifacts.index.devices.device import Centroids

#: Memory of a GPU for intermediate results.
_TEMPORARY_BYTES = 256 * 1024 * 1024


class FaissGpuDevice:
    """GPUs that share the vectors to assign: each has all centroids.

    Args:
        numbers: of the GPUs, as FAISS counts them; fewer than `faiss.get_num_gpus()`.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = list(numbers)
        self._resources = [faiss.StandardGpuResources() for _ in numbers]
        for resources in self._resources:  # tasks share GPUs: each would take 1.5 GB by default
            resources.setTempMemory(_TEMPORARY_BYTES)
        self.name = "cuda " + ", ".join(map(str, numbers))

    def load(self, centroids: np.ndarray) -> Centroids:
        flat = faiss.IndexFlatIP(centroids.shape[1])
        flat.add(centroids)
        options = faiss.GpuMultipleClonerOptions()  # by default every GPU gets a copy, in float32
        options.use_cuvs = False  # another library, in another build of FAISS, with rounding of its own
        return _GpuCentroids(faiss.index_cpu_to_gpu_multiple_py(self._resources, flat, options, self._numbers))


class _GpuCentroids:
    def __init__(self, index: faiss.Index) -> None:
        self._index = index

    def nearest(self, vectors: np.ndarray, count: int) -> np.ndarray:
        return self._index.search(vectors, count)[1]
