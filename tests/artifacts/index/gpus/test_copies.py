"""Searches on GPUs: the CPU's results, and the CPU where GPUs fail or cannot search."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from artifacts.errors import DeviceError
from artifacts.index import build
from artifacts.index.faiss_index import FlatIndex, IvfIndex
from artifacts.index.gpus.pool import GpuPool
from artifacts.index.lists.probing import AllowedRows
from tests.artifacts.building import queries_like, unit_vectors
from tests.artifacts.index.ivf_building import build_index
from tests.fake_gpus import FakeGpus

VECTORS = unit_vectors(2000, 24, clusters=50)
QUERIES = queries_like(VECTORS, 12)
NAMES = ["cuda", "cuda:1", "cuda:shards"]
NEEDS_GPU = pytest.mark.skipif(faiss.get_num_gpus() == 0, reason="FAISS sees no GPU: it needs one, and the extra `gpu`")


class Reports:
    """What a pool reports.

    Attributes:
        failures: the error of each, and whether the GPUs were given up for it.
        deep: number of queries that were too deep.
    """

    def __init__(self) -> None:
        self.failures: list[tuple[str, bool]] = []
        self.deep = 0

    def failed(self, error: str, given_up: bool) -> None:
        self.failures.append((error, given_up))

    def too_deep(self, queries: int) -> None:
        self.deep += queries


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    return FakeGpus(monkeypatch, 3)


def flat_index(folder: Path, vectors: np.ndarray = VECTORS) -> FlatIndex:
    build.write_flat([vectors], vectors.shape[1], folder / "flat.faiss")
    return FlatIndex(folder / "flat.faiss")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("codec", ["pq", "sq8"])
@pytest.mark.parametrize("files", [1, 3])
def test_ivf_finds_on_gpus_what_it_finds_on_the_cpu(tmp_path: Path, gpus: FakeGpus, codec: str, files: int, name: str):
    index, _ = build_index(tmp_path, VECTORS, codec, files=files, lists=64)
    expected = index.candidates(QUERIES, 40, 6)
    index.copy_to_gpus(GpuPool(name, Reports()))
    assert sum(rows for _, rows in gpus.copied) == 2000 * (3 if name == "cuda" else 1)
    found = index.candidates(QUERIES, 40, 6)
    common = [len(set(a) & set(b)) for a, b in zip(found, expected, strict=True)]
    assert min(common) >= 38  # equal codes at the end may be either
    assert gpus.searches >= 2
    alone = np.concatenate([index.candidates(query[None], 40, 6) for query in QUERIES])
    assert alone.tolist() == found.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_flat_index_returns_the_same_bits_on_gpus(tmp_path: Path, gpus: FakeGpus, name: str):
    vectors = np.concatenate([VECTORS, np.repeat(VECTORS[:1], 200, axis=0)])  # ties beyond what is asked for
    index = flat_index(tmp_path, vectors)
    queries = [*QUERIES, vectors[0].astype(np.float32)]
    expected = [index.search(query, 30, None) for query in queries]
    index.copy_to_gpus(GpuPool(name, Reports()))
    for query, (scores, rows) in zip(queries, expected, strict=True):
        found_scores, found_rows = index.search(query, 30, None)
        assert found_rows.tolist() == rows.tolist()
        assert found_scores.tobytes() == scores.tobytes()
    assert gpus.searches >= len(queries)
    assert len(index.search(QUERIES[0], 2200, None)[1]) == 2200  # more than a GPU returns


def test_graph_of_centroids_is_searched_as_a_flat_quantizer(tmp_path: Path, gpus: FakeGpus):
    trained, _ = build.train("IVF64_HNSW32,SQ8", 24, VECTORS.astype(np.float32), seed=0)
    build.add(trained, VECTORS.astype(np.float32), np.arange(2000))
    build.write(trained, tmp_path / "graph.faiss")
    index = IvfIndex([tmp_path / "graph.faiss"])
    plain, _ = build_index(tmp_path, VECTORS, "sq8", lists=64)
    index.copy_to_gpus(GpuPool("cuda", Reports()))
    assert index.candidates(QUERIES, 40, 6).tolist() == plain.candidates(QUERIES, 40, 6).tolist()
    assert gpus.searches


def test_filtered_and_very_deep_searches_stay_on_the_cpu(tmp_path: Path, gpus: FakeGpus):
    vectors = unit_vectors(3000, 24, clusters=50)
    flat = flat_index(tmp_path, vectors)
    index, lists = build_index(tmp_path, vectors, "sq8", lists=64)
    reports = Reports()
    pool = GpuPool("cuda", reports)
    flat.copy_to_gpus(pool)
    index.copy_to_gpus(pool)
    bitmap = np.packbits(np.arange(3000) % 2 == 0, bitorder="little")
    flat.search(QUERIES[0], 10, bitmap)
    index.candidates(QUERIES, 10, 6, AllowedRows([bitmap], np.bincount(lists[::2], minlength=64)))
    assert gpus.searches == 0
    assert reports.deep == 0
    assert index.candidates(QUERIES[:3], 2500, 64).shape == (3, 2500)
    assert (reports.deep, reports.failures, pool.usable) == (3, [], True)
    assert len(flat.search(QUERIES[0], 1990, None)[1]) == 1990  # with the spare rows, more than a GPU returns
    assert reports.deep == 4


def test_rows_of_a_delta_are_found_beside_a_base_on_gpus(tmp_path: Path, gpus: FakeGpus):
    base, _ = build_index(tmp_path, VECTORS, "sq8", lists=64)
    delta = build.empty_copy(build.read(tmp_path / "sq8-1-0.faiss"))
    build.add(delta, QUERIES, np.arange(len(QUERIES)))
    build.write(delta, tmp_path / "delta.faiss")
    both = IvfIndex([tmp_path / "delta.faiss"], base)
    expected = both.candidates(QUERIES, 20, 6)
    base.copy_to_gpus(GpuPool("cuda", Reports()))
    assert both.candidates(QUERIES, 20, 6).tolist() == expected.tolist()
    assert (expected[:, 0] == 2000 + np.arange(12)).all()
    assert gpus.searches


def test_cpu_answers_when_gpus_fail_and_alone_after_three_failures(tmp_path: Path, gpus: FakeGpus):
    index = flat_index(tmp_path)
    expected = index.search(QUERIES[0], 10, None)
    reports = Reports()
    pool = GpuPool("cuda", reports)
    index.copy_to_gpus(pool)
    gpus.broken = True
    assert index.search(QUERIES[0], 10, None)[1].tolist() == expected[1].tolist()
    gpus.broken = False
    index.search(QUERIES[0], 10, None)  # a success between failures
    gpus.broken = True
    for _ in range(3):
        assert index.search(QUERIES[0], 10, None)[1].tolist() == expected[1].tolist()
    assert [given_up for _, given_up in reports.failures] == [False, False, False, True]
    assert "the GPU has failed" in reports.failures[0][0]
    asked = gpus.searches
    index.search(QUERIES[0], 10, None)
    assert (gpus.searches, pool.usable) == (asked, False)


def test_codec_without_a_gpu_index_is_an_error_that_names_it(tmp_path: Path, gpus: FakeGpus):
    index, _ = build_index(tmp_path, VECTORS, "rabitq")
    before = index.candidates(QUERIES, 10, 6)
    with pytest.raises(DeviceError, match="no GPU index for IndexIVFRaBitQ; searches stay on the CPU"):
        index.copy_to_gpus(GpuPool("cuda", Reports()))
    assert index.candidates(QUERIES, 10, 6).tolist() == before.tolist()


def test_pq_with_parts_that_gpus_do_not_support_is_an_error(tmp_path: Path, gpus: FakeGpus):
    index, _ = build_index(tmp_path, unit_vectors(400, 40), "pq", lists=4)  # 5 parts
    with pytest.raises(DeviceError, match="PQ of 5 sub-vectors"):
        index.copy_to_gpus(GpuPool("cuda", Reports()))


def test_without_gpus_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch):
    FakeGpus(monkeypatch, 0)
    with pytest.raises(DeviceError, match=r"search_device 'cuda': FAISS sees no GPU; install the extra `gpu`"):
        GpuPool("cuda", Reports())


@pytest.mark.parametrize(("name", "message"), [("cuda:3", "GPUs 0 to 2"), ("gpu", "is not understood")])
def test_names_of_no_gpu_are_refused(gpus: FakeGpus, name: str, message: str):
    with pytest.raises(DeviceError, match=message):
        GpuPool(name, Reports())


@NEEDS_GPU
@pytest.mark.parametrize("codec", ["pq", "sq8"])
@pytest.mark.parametrize("name", ["cuda", "cuda:shards", "cuda:0"])
def test_real_gpus_find_what_the_cpu_finds(tmp_path: Path, codec: str, name: str):
    """PQ's tables are in float16 there, so a few candidates may differ; the flat index returns the same bits."""
    index, _ = build_index(tmp_path, VECTORS, codec, files=2, lists=64)
    flat, reports = flat_index(tmp_path), Reports()
    expected, expected_flat = index.candidates(QUERIES, 40, 6), flat.search(QUERIES[0], 30, None)
    pool = GpuPool(name, reports)
    index.copy_to_gpus(pool)
    flat.copy_to_gpus(pool)
    found = index.candidates(QUERIES, 40, 6)
    assert min(len(set(a) & set(b)) for a, b in zip(found, expected, strict=True)) >= 36
    scores, rows = flat.search(QUERIES[0], 30, None)
    assert (scores.tobytes(), rows.tolist()) == (expected_flat[0].tobytes(), expected_flat[1].tolist())
    assert reports.failures == []
