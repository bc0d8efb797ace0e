"""Nearest centroids: the same ones whatever finds their candidates."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from artifacts.index.devices.assignment import assign
from artifacts.index.devices.device import CPU, Device
from artifacts.index.devices.faiss_gpu import FaissGpuDevice
from artifacts.index.devices.torch_device import TorchDevice
from tests.artifacts.building import unit_vectors
from tests.fake_gpus import FakeGpus

VECTORS = unit_vectors(3000, 32, clusters=50)
CENTROIDS = unit_vectors(64, 32, seed=5).astype(np.float32)


class Blurred:
    """A device with large rounding errors: it swaps centroids that are almost equally near."""

    name = "blurred"

    def load(self, centroids: np.ndarray) -> Blurred:
        self._centroids = centroids
        return self

    def nearest(self, vectors: np.ndarray, count: int) -> np.ndarray:
        noise = np.random.default_rng(0).normal(0, 0.01, (len(vectors), len(self._centroids)))
        return np.ascontiguousarray(np.argsort(-(vectors @ self._centroids.T + noise), axis=1)[:, :count])


@pytest.mark.parametrize("device", [TorchDevice("cpu"), Blurred()], ids=lambda device: device.name)
def test_every_device_gives_the_same_bits(device: Device):
    numbers, products = assign(VECTORS, CENTROIDS, CPU)
    others, other_products = assign(VECTORS, CENTROIDS, device)
    assert numbers.tolist() == others.tolist()
    assert products.tobytes() == other_products.tobytes()


def test_faiss_gpus_give_the_same_bits(monkeypatch: pytest.MonkeyPatch):
    """The calls that the device makes; what a real GPU returns is compared below."""
    gpus = FakeGpus(monkeypatch, 2)
    numbers, _ = assign(VECTORS, CENTROIDS, CPU)
    assert numbers.tolist() == assign(VECTORS, CENTROIDS, FaissGpuDevice([0, 1]))[0].tolist()
    assert gpus.copied == [(0, 64), (1, 64)]


@pytest.mark.skipif(faiss.get_num_gpus() == 0, reason="FAISS sees no GPU: it needs one, and the extra `gpu`")
def test_real_gpus_give_the_same_bits():
    device = FaissGpuDevice(range(faiss.get_num_gpus()))
    numbers, products = assign(VECTORS, CENTROIDS, CPU)
    others, other_products = assign(VECTORS, CENTROIDS, device)
    assert numbers.tolist() == others.tolist()
    assert products.tobytes() == other_products.tobytes()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("block", [1, 7, 100, 3000])
def test_blocks_and_threads_do_not_matter(block: int, threads: int):
    numbers, products = assign(VECTORS, CENTROIDS, CPU)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        parts = [assign(VECTORS[start : start + block], CENTROIDS, CPU) for start in range(0, 600, block)]
    finally:
        faiss.omp_set_num_threads(before)
    assert np.concatenate([part for part, _ in parts])[:600].tolist() == numbers[:600].tolist()
    assert np.concatenate([part for _, part in parts])[:600].tobytes() == products[:600].tobytes()


def test_the_nearest_is_found():
    numbers, products = assign(VECTORS, CENTROIDS, CPU)
    scores = VECTORS.astype(np.float32) @ CENTROIDS.T
    assert np.allclose(products, scores.max(axis=1), atol=1e-6)
    assert np.allclose(scores[np.arange(len(scores)), numbers], products, atol=1e-6)


@pytest.mark.parametrize("device", [CPU, TorchDevice("cpu")], ids=lambda device: device.name)
def test_equally_near_centroids_give_the_lowest_number(device: Device):
    twice = np.concatenate([CENTROIDS[:20], CENTROIDS[:20]])
    numbers, _ = assign(VECTORS, twice, device)
    assert numbers.max() < 20


def test_no_vectors_have_no_centroids():
    numbers, products = assign(VECTORS[:0], CENTROIDS, CPU)
    assert (len(numbers), len(products)) == (0, 0)
