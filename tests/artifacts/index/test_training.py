"""Spherical k-means: the same centroids everywhere, of no lower quality than FAISS's."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from artifacts.index.devices.assignment import assign
from artifacts.index.devices.device import CPU, Device
from artifacts.index.devices.faiss_gpu import FaissGpuDevice
from artifacts.index.devices.torch_device import TorchDevice
from artifacts.index.training import train_clusters
from tests.artifacts.building import queries_like, unit_vectors

VECTORS = unit_vectors(4000, 24, clusters=60)
NEEDS_GPU = pytest.mark.skipif(faiss.get_num_gpus() == 0, reason="FAISS sees no GPU: it needs one, and the extra `gpu`")
DEVICES = [TorchDevice("cpu"), pytest.param(None, marks=NEEDS_GPU)]


@pytest.mark.parametrize("two_level_from", [2, 1000])
@pytest.mark.parametrize("other", DEVICES)
def test_every_device_trains_the_same_bits(other: Device | None, two_level_from: int):
    device = other or FaissGpuDevice([0])
    trained = [
        train_clusters(VECTORS, 100, seed=3, device=each, two_level_from=two_level_from) for each in (CPU, device)
    ]
    assert trained[0].centroids.tobytes() == trained[1].centroids.tobytes()
    assert trained[0].similarity.tobytes() == trained[1].similarity.tobytes()


@pytest.mark.parametrize("two_level_from", [2, 1000])
def test_threads_do_not_matter_and_the_seed_does(two_level_from: int):
    trained, before = [], faiss.omp_get_max_threads()
    try:
        for threads, seed in ((1, 0), (2, 0), (1, 1)):
            faiss.omp_set_num_threads(threads)
            clusters = train_clusters(VECTORS, 64, seed=seed, device=CPU, two_level_from=two_level_from)
            trained.append(clusters.centroids.tobytes() + clusters.similarity.tobytes())
    finally:
        faiss.omp_set_num_threads(before)
    assert trained[0] == trained[1] != trained[2]


@pytest.mark.parametrize("two_level_from", [2, 1000])
def test_centroids_are_as_near_and_as_useful_as_those_of_faiss(two_level_from: int):
    centroids = train_clusters(VECTORS, 100, seed=0, device=CPU, two_level_from=two_level_from).centroids
    theirs = faiss.Kmeans(24, 100, niter=10, seed=0, spherical=True, min_points_per_centroid=1)
    theirs.train(VECTORS.astype(np.float32))
    queries = queries_like(VECTORS, 100)
    _, nearest = faiss.knn(queries, VECTORS.astype(np.float32), 20, metric=faiss.METRIC_INNER_PRODUCT)
    cosine, recall = [], []
    for each in (centroids, theirs.centroids):
        lists, cosines = assign(VECTORS, each, CPU)
        _, probed = faiss.knn(queries, each, 10, metric=faiss.METRIC_INNER_PRODUCT)
        cosine.append(cosines.mean())
        found = [np.isin(lists[rows], probes).mean() for rows, probes in zip(nearest, probed, strict=True)]
        recall.append(np.mean(found))
    assert cosine[0] > cosine[1] - 0.01
    assert recall[0] > recall[1] - 0.05


@pytest.mark.parametrize("two_level_from", [2, 1000])
def test_centroids_are_unit_vectors(two_level_from: int):
    centroids = train_clusters(VECTORS, 50, seed=0, device=CPU, two_level_from=two_level_from).centroids
    assert (centroids.dtype, centroids.shape) == (np.float32, (50, 24))
    assert np.allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)


def test_half_precision_gives_what_its_values_give_in_single_precision():
    single = train_clusters(VECTORS.astype(np.float32), 40, seed=0, device=CPU).centroids
    assert single.tobytes() == train_clusters(VECTORS, 40, seed=0, device=CPU).centroids.tobytes()


def test_no_list_stays_empty_though_most_vectors_are_the_same():
    """As with a placeholder that half of the products have as their picture."""
    vectors = np.concatenate([np.repeat(VECTORS[:1], 3000, axis=0), VECTORS[:1000]])
    lists, _ = assign(vectors, train_clusters(vectors, 64, seed=0, device=CPU).centroids, CPU)
    assert len(set(lists.tolist())) == 64


def test_fewer_different_vectors_than_lists_are_no_error():
    vectors = np.repeat(VECTORS[:5], 20, axis=0)
    centroids = train_clusters(vectors, 16, seed=0, device=CPU).centroids
    lists, cosines = assign(vectors, centroids, CPU)
    assert len(set(lists.tolist())) == 5
    assert np.allclose(cosines, np.linalg.norm(vectors.astype(np.float32), axis=1), atol=1e-5)


def test_fewer_vectors_than_lists_are_an_error():
    with pytest.raises(ValueError, match="64 IVF lists need at least as many vectors to train on, not 10"):
        train_clusters(VECTORS[:10], 64, seed=0, device=CPU)


@pytest.mark.parametrize("two_level_from", [2, 1000])
def test_progress_ends_with_all_steps_done(two_level_from: int):
    seen: list[tuple[int, int]] = []
    train_clusters(
        VECTORS, 64, seed=0, device=CPU, two_level_from=two_level_from, progress=lambda *step: seen.append(step)
    )
    totals = {total for _, total in seen}
    assert [done for done, _ in seen] == list(range(1, totals.pop() + 1))
    assert not totals


@pytest.mark.parametrize("two_level_from", [2, 1000])
def test_similarity_is_the_length_of_the_mean_of_a_clusters_vectors(two_level_from: int):
    random = np.random.default_rng(0)
    centres = unit_vectors(50, 64)
    spreads = np.repeat(np.linspace(0.1, 1.5, 50), 40)  # lengths of what is added to a centre
    noise = random.standard_normal((2000, 64)) / 8 * spreads[:, None]
    vectors = np.repeat(centres.astype(np.float32), 40, axis=0) + noise.astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centroids, similarity = train_clusters(vectors, 50, seed=0, device=CPU, two_level_from=two_level_from)
    assert (similarity.dtype, similarity.shape) == (np.float32, (50,))
    lists, _ = assign(vectors, centroids, CPU)
    large = np.flatnonzero(np.bincount(lists, minlength=50) >= 20)
    lengths = np.array([np.linalg.norm(vectors[lists == number].mean(axis=0)) for number in large])
    # The last vectors have moved since; and the mean of few vectors is longer than that of all that might be drawn.
    assert np.abs(similarity[large] - lengths).mean() < 0.03
    assert np.corrcoef(similarity[large], lengths)[0, 1] > 0.98


def test_cluster_of_one_vector_is_taken_to_be_as_spread_as_the_others():
    alone = -VECTORS[:1]
    vectors = np.concatenate([VECTORS[:1000], alone])
    centroids, similarity = train_clusters(vectors, 20, seed=0, device=CPU)
    sizes = np.bincount(assign(vectors, centroids, CPU)[0], minlength=20)
    if (sizes == 1).any():
        assert similarity[sizes == 1].max() < 0.99
    assert 0 <= similarity.min() <= similarity.max() <= 1
