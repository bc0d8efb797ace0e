"""Nearest centroids by torch, for GPUs that FAISS does not see: other vendors', or beside FAISS without CUDA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from artifacts.index.devices.device import Centroids

#: Bytes of scores that are on the device at once.
_SCORE_BYTES = 256_000_000


class TorchDevice:
    """A device of torch.

    Args:
        name: as torch names it: cuda, cuda:1, cpu.
    """

    def __init__(self, name: str) -> None:
        self._device = torch.device(name)
        self.name = f"torch {name}"

    def load(self, centroids: np.ndarray) -> Centroids:
        return _TorchCentroids(torch.tensor(centroids, device=self._device))


@contextmanager
def _full_precision() -> Iterator[None]:
    """Multiply in float32, whatever the process has set: TF32 errs by more than `assignment` makes up for."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class _TorchCentroids:
    def __init__(self, centroids: torch.Tensor) -> None:
        self._transposed = centroids.T

    def nearest(self, vectors: np.ndarray, count: int) -> np.ndarray:
        nearest = np.empty((len(vectors), count), np.int64)
        step = max(1, _SCORE_BYTES // (4 * self._transposed.shape[1]))
        with torch.inference_mode(), _full_precision():
            for start in range(0, len(vectors), step):
                block = torch.tensor(vectors[start : start + step], device=self._transposed.device)
                scores = block @ self._transposed
                nearest[start : start + step] = scores.topk(count, dim=1, sorted=False).indices.cpu().numpy()
        return nearest
