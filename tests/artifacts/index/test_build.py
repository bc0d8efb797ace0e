"""Training and filling of FAISS indexes."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import faiss
import numpy as np
import pytest

from artifacts.index import build
from artifacts.index.build import training_rows
from artifacts.index.devices.device import CPU, Device
from artifacts.index.devices.faiss_gpu import FaissGpuDevice
from artifacts.index.devices.torch_device import TorchDevice
from artifacts.index.ivf_space import to_ivf_space
from tests.artifacts.building import unit_vectors
from tests.artifacts.index.ivf_building import CODECS, build_index


def test_training_rows_are_drawn_from_everywhere():
    rows = training_rows(10_000, 500, seed=3)
    assert len(set(rows)) == 500
    assert rows.tolist() == sorted(rows)
    assert rows.max() > 9000
    assert (training_rows(10_000, 500, seed=3) == rows).all()
    assert not (training_rows(10_000, 500, seed=4) == rows).all()


def test_training_rows_are_all_rows_if_there_are_fewer():
    assert training_rows(5, 500, seed=0).tolist() == [0, 1, 2, 3, 4]


def test_every_row_is_as_likely_to_be_drawn():
    for rows, sample in ((50, 10), (50, 24), (50, 40)):
        counts = np.zeros(rows)
        for seed in range(3000):
            drawn = training_rows(rows, sample, seed)
            assert len(drawn) == sample
            counts[drawn] += 1
        expected = 3000 * sample / rows
        assert abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_memory_for_the_drawing_follows_the_sample():
    tracemalloc.start()
    try:
        rows = training_rows(10**12, 20_000, seed=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(rows), len(set(rows))) == (20_000, 20_000)
    assert peak < 20_000 * 8 * 10


@pytest.mark.parametrize("factory", ["OPQ4,IVF16,PQ4", "RR24,IVF16,RaBitQ", "IVF16,PQ4"])
def test_sample_that_may_be_overwritten_is_rotated_in_its_file_and_trains_the_same(tmp_path: Path, factory: str):
    vectors = unit_vectors(70_000, 24, clusters=20).astype(np.float32)
    sample = np.memmap(tmp_path / "sample", np.float32, "w+", shape=vectors.shape)
    sample[:] = vectors
    trained = [
        build.train(factory, 24, vectors, seed=0)[0],
        build.train(factory, 24, sample, seed=0, overwrite_sample=True)[0],
    ]
    assert faiss.serialize_index(trained[0]).tobytes() == faiss.serialize_index(trained[1]).tobytes()
    rotated = to_ivf_space(trained[1], vectors)[1]
    assert np.array_equal(sample, rotated)
    assert np.array_equal(rotated, vectors) == factory.startswith("IVF")


def test_sample_that_may_not_be_overwritten_stays_as_it_is():
    vectors = unit_vectors(600, 24).astype(np.float32)
    before = vectors.copy()
    build.train("OPQ4,IVF16,PQ4", 24, vectors, seed=0)
    assert np.array_equal(vectors, before)


@pytest.mark.parametrize("codec", CODECS)
def test_add_returns_the_lists_where_faiss_keeps_the_rows(tmp_path: Path, codec: str):
    index, list_of_row = build_index(tmp_path, unit_vectors(600, 24), codec, files=2)
    assert list_of_row.dtype == np.int32
    for ivf, rows in zip(index.ivfs, (range(300), range(300, 600)), strict=True):
        for number in range(ivf.nlist):
            size = ivf.invlists.list_size(number)
            stored = faiss.rev_swig_ptr(ivf.invlists.get_ids(number), size).tolist() if size else []
            assert stored == [row for row in rows if list_of_row[row] == number]


def test_rotation_is_trained_on_fewer_vectors_than_numbers(tmp_path: Path):
    """FAISS alone would crash."""
    vectors = unit_vectors(280, 320, clusters=10)
    index, _ = build_index(tmp_path, vectors, "opq")
    found = index.candidates(vectors.astype(np.float32), 1, 16)
    assert (found.ravel() == np.arange(280)).mean() > 0.9


@pytest.mark.parametrize("codec", CODECS)
def test_building_twice_gives_the_same_bytes(tmp_path: Path, codec: str):
    vectors = unit_vectors(600, 24)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        build_index(tmp_path / name, vectors, codec)
    files = [tmp_path / name / f"{codec}-1-0.faiss" for name in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()


FACTORIES = [
    "IVF16,PQ4",
    "OPQ4,IVF16,PQ4",
    "RR24,IVF16,RaBitQ",
    "IVF16,SQ8",
    "IVF16_HNSW32,PQ4",
    "OPQ4,IVF16_HNSW32,PQ4",
    "RR24,IVF16_HNSW32,RaBitQ",
    "IVF16_HNSW32,SQ8",
]
NEEDS_GPU = pytest.mark.skipif(faiss.get_num_gpus() == 0, reason="FAISS sees no GPU: it needs one, and the extra `gpu`")


def built(factory: str, vectors: np.ndarray, device: Device, block: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Train on some of the vectors and add all; return the index file's bytes, the lists and the cosines."""
    index, _ = build.train(factory, vectors.shape[1], vectors[::2], seed=0, device=device)
    added = [
        build.add(
            index, vectors[start : start + block], np.arange(start, min(len(vectors), start + block)), device=device
        )
        for start in range(0, len(vectors), block)
    ]
    lists, cosines = (np.concatenate(parts) for parts in zip(*added, strict=True))
    return faiss.serialize_index(index).tobytes(), lists, cosines


@pytest.mark.parametrize("factory", FACTORIES)
def test_files_are_equal_whatever_the_device_the_blocks_and_the_threads(factory: str):
    vectors = unit_vectors(1200, 24, clusters=20).astype(np.float32)
    content, lists, cosines = built(factory, vectors, CPU, 1200)
    assert (len(lists), lists.dtype) == (1200, np.int32)
    before = faiss.omp_get_max_threads()
    for device, block, threads in ((TorchDevice("cpu"), 1200, 1), (CPU, 7, 1), (CPU, 500, 2)):
        faiss.omp_set_num_threads(threads)
        try:
            other, other_lists, other_cosines = built(factory, vectors, device, block)
        finally:
            faiss.omp_set_num_threads(before)
        assert other_lists.tolist() == lists.tolist()
        assert other_cosines.tobytes() == cosines.tobytes()
        assert other == content


@NEEDS_GPU
@pytest.mark.parametrize("factory", FACTORIES)
def test_files_are_equal_on_real_gpus(factory: str):
    vectors = unit_vectors(1200, 24, clusters=20).astype(np.float32)
    device = FaissGpuDevice(range(faiss.get_num_gpus()))
    assert built(factory, vectors, device, 1200)[0] == built(factory, vectors, CPU, 1200)[0]


@pytest.mark.parametrize("factory", FACTORIES[:4])
def test_codes_find_as_many_neighbors_as_those_that_faiss_trains(factory: str):
    vectors = unit_vectors(1200, 24, clusters=20).astype(np.float32)
    _, nearest = faiss.knn(vectors[:100], vectors, 10, metric=faiss.METRIC_INNER_PRODUCT)
    theirs = faiss.index_factory(24, factory, faiss.METRIC_INNER_PRODUCT)
    if isinstance(ivfpq := faiss.downcast_index(faiss.extract_index_ivf(theirs)), faiss.IndexIVFPQ):
        ivfpq.do_polysemous_training = False
    theirs.train(vectors)
    recall = []
    for index in (build.train(factory, 24, vectors, seed=0)[0], theirs):
        build.add(index, vectors, np.arange(1200))
        faiss.extract_index_ivf(index).nprobe = 16
        _, found = index.search(vectors[:100], 50)
        recall.append(np.mean([np.isin(true, rows).mean() for true, rows in zip(nearest, found, strict=True)]))
    assert recall[0] > recall[1] - 0.05


def test_training_reports_its_progress():
    steps: list[tuple[int, int]] = []
    build.train("IVF16,SQ8", 24, unit_vectors(600, 24), seed=0, progress=lambda *step: steps.append(step))
    assert steps[-1] == (10, 10)
