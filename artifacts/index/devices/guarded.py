"""GPUs that may fail: the CPU goes on for them, or an error says what to do."""

from __future__ import annotations

import logging

import numpy as np

from artifacts.errors import DeviceError
from artifacts.index.devices.device import CPU, Centroids, Device

_log = logging.getLogger(__name__)


class GuardedDevice:
    """A device of GPUs. FAISS and torch raise a RuntimeError where a GPU fails, mostly for want of memory.

    Args:
        gpu: the device.
        falls_back: whether the CPU takes over from the first failure on, with the same result; otherwise each failure
            is a DeviceError.
    """

    def __init__(self, gpu: Device, *, falls_back: bool) -> None:
        self.name = gpu.name
        self._gpu: Device | None = gpu
        self._falls_back = falls_back

    def load(self, centroids: np.ndarray) -> Centroids:
        return _GuardedCentroids(self, centroids)

    def load_on_gpu(self, centroids: np.ndarray) -> Centroids | None:
        """Return centroids on the GPUs; None if the CPU has taken over."""
        if self._gpu is None:
            return None
        try:
            return self._gpu.load(centroids)
        except RuntimeError as error:
            self.fail(error)
            return None

    def fail(self, error: RuntimeError) -> None:
        """Let the CPU take over.

        Raises:
            DeviceError: it is not to.
        """
        if not self._falls_back:
            raise DeviceError(
                f"index_device: {self.name} failed: {error}; free the GPU's memory, or use auto, where the CPU goes on "
                "for it, or cpu"
            ) from error
        if self._gpu is not None:
            _log.warning("index_device auto: %s failed; the CPU goes on, with the same result: %s", self.name, error)
        self._gpu = None  # and its memory with it


class _GuardedCentroids:
    def __init__(self, device: GuardedDevice, centroids: np.ndarray) -> None:
        self._device, self._centroids = device, centroids
        self._loaded = device.load_on_gpu(centroids)

    def nearest(self, vectors: np.ndarray, count: int) -> np.ndarray:
        if self._loaded is not None:
            try:
                return self._loaded.nearest(vectors, count)
            except RuntimeError as error:
                self._loaded = None
                self._device.fail(error)
        return CPU.load(self._centroids).nearest(vectors, count)
