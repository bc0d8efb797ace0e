"""GPUs that fail while an index is built: `auto` goes on with the CPU, a GPU that was named is an error."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
import torch

from artifacts.errors import DeviceError
from artifacts.index import build
from artifacts.index.devices.device import CPU, Centroids, Device
from artifacts.index.devices.guarded import GuardedDevice
from artifacts.index.devices.opening import open_device
from tests.artifacts.building import unit_vectors
from tests.fake_gpus import FakeGpus

VECTORS = unit_vectors(600, 24, clusters=20).astype(np.float32)


class FullGpu:
    """A GPU of torch without memory."""

    name = "torch cuda"

    def load(self, centroids: np.ndarray) -> Centroids:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def built(device: Device = CPU) -> bytes:
    """Train and fill an index on a device."""
    index, _ = build.train("IVF16,PQ4", 24, VECTORS, seed=0, device=device)
    build.add(index, VECTORS, np.arange(600), device=device)
    return faiss.serialize_index(index).tobytes()


@pytest.mark.parametrize("failing", ["full", "broken"])
def test_auto_trains_and_assigns_on_the_cpu_where_a_gpu_fails_and_says_so_once(
    failing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    expected = built()
    setattr(FakeGpus(monkeypatch, 2), failing, True)
    assert built(open_device("auto")) == expected
    (record,) = caplog.records
    assert "index_device auto: cuda 0, 1 failed; the CPU goes on" in record.getMessage()


def test_auto_goes_on_with_the_cpu_where_a_gpu_fails_in_the_middle(monkeypatch: pytest.MonkeyPatch):
    expected = built()
    gpus = FakeGpus(monkeypatch, 1)
    device = open_device("auto")
    loaded = device.load(VECTORS[:16])
    loaded.nearest(VECTORS, 4)
    gpus.broken = True
    assert loaded.nearest(VECTORS, 4).shape == (600, 4)
    gpus.broken = False
    asked = gpus.searches
    assert built(device) == expected
    assert gpus.searches == asked  # a GPU that has failed is not asked again


def test_auto_goes_on_with_the_cpu_where_torch_has_no_memory(caplog: pytest.LogCaptureFixture):
    assert built(GuardedDevice(FullGpu(), falls_back=True)) == built()
    assert "CUDA out of memory" in caplog.text


@pytest.mark.parametrize("failing", ["full", "broken"])
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_failure_of_a_named_gpu_is_an_error_that_says_what_to_do(
    failing: str, name: str, monkeypatch: pytest.MonkeyPatch
):
    setattr(FakeGpus(monkeypatch, 2), failing, True)
    with pytest.raises(DeviceError, match=r"index_device: cuda .*1 failed: .*; free the GPU's memory, or use auto"):
        built(open_device(name))
