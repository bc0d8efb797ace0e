"""Trains the centroids of an IVF by spherical k-means: of unit length, and the nearest has the largest cosine.

The same vectors and seed give the same centroids, bit by bit, on any device and any number of threads: assignments do
not depend on these (`artifacts.index.devices.assignment`), and sums are added in the order of the vectors. FAISS's
k-means takes as long on a CPU. Its SuperKMeans takes half as long, with the same quality, but in matrix products that
do depend on them: 131,072 x 512-d into 2,048 clusters took 13.3 s of two cores by FAISS, 5.9 by SuperKMeans.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from artifacts.index.devices.assignment import assign
from artifacts.index.devices.device import Device

#: Called with the number of steps done and the total; the steps take different times.
Progress = Callable[[int, int], None]

#: From so many centroids on they are trained in two levels. Already 4,096, from 262,144 x 512-d, took 68 s of a core
#: instead of 154, and lists that hold 0.9 % of the rows had 0.997 and 0.974 of the neighbors of pictures and of texts
#: (0.996 and 0.974 in one level). The more there are, the more it saves: 65,536 from 4.2 million need a fifth of the
#: products, an hour of two such cores.
TWO_LEVEL_CENTROIDS = 8192

#: Iterations of Lloyd's algorithm, as many as FAISS does for an IVF.
_ITERATIONS = 10

#: Of two levels the upper one has √count / 4 clusters: the fewer they are, the fewer borders no cluster may cross.
_TOP_SHARE = 4
_TOP_ROWS = 1000  # training vectors for each cluster of the upper level

#: Iterations over all centroids after two levels; the borders cost recall before. Each takes as long as assigning the
#: sample once: 4 % of the time that the catalog itself will take with 100 million rows, 10 % with 5 million.
_REFINING_ITERATIONS = 2

#: Vectors that are summed up at once: 2 MB of float32 at 512-d, which stay in a core's cache.
_SUM_BLOCK = 1024

#: Distances (1 - cosine) up to this are rounding: the vectors are the same.
_ROUNDING = 1e-6


#: Pairs of vectors that the mean of all clusters counts as in the similarity of each, of which some have few vectors.
_PRIOR_PAIRS = 10


class Clusters(NamedTuple):
    """The result of a k-means.

    Attributes:
        centroids: float32[count, dim], L2-normalised. Some are equal only if there are fewer different vectors.
        similarity: float32[count], how alike the vectors of each cluster are: the root of the mean cosine of two of
            them, which is the length of their mean, and their mean cosine with the centroid.
    """

    centroids: np.ndarray
    similarity: np.ndarray


def no_progress(done: int, total: int) -> None:
    """The progress callback of a caller that shows none."""


def comparisons(count: int) -> float:
    """Return how many centroids each training vector is compared with while `count` are trained, for estimates."""
    if count < TWO_LEVEL_CENTROIDS:
        return _ITERATIONS * count
    top = math.sqrt(count) / _TOP_SHARE
    return top + _ITERATIONS * count / top + _REFINING_ITERATIONS * count


def train_clusters(
    vectors: np.ndarray,
    count: int,
    *,
    seed: int,
    device: Device,
    two_level_from: int = TWO_LEVEL_CENTROIDS,
    progress: Progress = no_progress,
) -> Clusters:
    """Train centroids; a cluster that gets empty takes over a part of the most spread one.

    Args:
        vectors: float32 or float16 [n, dim], L2-normalised, n at least `count`; not copied as a whole.
        count: of centroids.
        two_level_from: number of centroids from which they are trained in two levels.

    Raises:
        ValueError: there are fewer vectors than centroids.
    """
    if len(vectors) < count:
        raise ValueError(f"{count:,} IVF lists need at least as many vectors to train on, not {len(vectors):,}")
    if count >= two_level_from:
        return _train_two_levels(vectors, count, seed, device, progress)
    return _train(vectors, count, np.random.default_rng(seed), device, progress)


def _train(
    vectors: np.ndarray, count: int, random: np.random.Generator, device: Device, progress: Progress = no_progress
) -> Clusters:
    clusters = Clusters(_unit(vectors[_draw_distinct(vectors, count, random)]), np.ones(count, np.float32))
    for done in range(1, _ITERATIONS + 1):
        clusters = _improve(vectors, clusters.centroids, device)
        progress(done, _ITERATIONS)
    return clusters


def _train_two_levels(vectors: np.ndarray, count: int, seed: int, device: Device, progress: Progress) -> Clusters:
    """Train a few clusters, then in each of them centroids in proportion to its vectors, then all of them together."""
    random = np.random.default_rng(seed)
    top_count = max(2, round(math.sqrt(count) / _TOP_SHARE))
    steps, done = 1 + top_count + _REFINING_ITERATIONS, 1
    drawn = random.choice(len(vectors), size=min(len(vectors), top_count * _TOP_ROWS), replace=False)
    top = _train(vectors[np.sort(drawn)], top_count, random, device).centroids
    order, sizes = _by_cluster(assign(vectors, top, device)[0], top_count)
    progress(done, steps)
    ends = np.cumsum(sizes)
    shares = np.diff(ends * count // len(vectors), prepend=0)  # at most as many as there are vectors
    trained: list[np.ndarray] = []
    for number, (size, end, share) in enumerate(zip(sizes, ends, shares, strict=True)):
        if share:
            members = vectors[np.sort(order[end - size : end])]
            trained.append(_train(members, int(share), np.random.default_rng((seed, number)), device).centroids)
        progress(done := done + 1, steps)
    clusters = Clusters(np.concatenate(trained), np.ones(count, np.float32))
    for _ in range(_REFINING_ITERATIONS):
        clusters = _improve(vectors, clusters.centroids, device)
        progress(done := done + 1, steps)
    return clusters


def _draw_distinct(vectors: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Return row numbers int64[count] of vectors to begin with, all different if enough of those that are drawn are.

    A picture of many products would begin many clusters, of which all but one stay empty.
    """
    drawn = random.permutation(len(vectors))[: 2 * count]
    _, first = np.unique(vectors[drawn], axis=0, return_index=True)
    repeated = np.setdiff1d(np.arange(len(drawn)), first)
    return drawn[np.concatenate([np.sort(first), repeated])[:count]]


def _improve(vectors: np.ndarray, centroids: np.ndarray, device: Device) -> Clusters:
    """Return the clusters after one iteration of Lloyd's algorithm."""
    numbers, cosines = assign(vectors, centroids, device)
    order, sizes = _by_cluster(numbers, len(centroids))
    sums = np.zeros_like(centroids)
    for start in range(0, len(order), _SUM_BLOCK):
        rows = order[start : start + _SUM_BLOCK]
        clusters, firsts = np.unique(numbers[rows], return_index=True)
        sums[clusters] += np.add.reduceat(vectors[rows].astype(np.float32), firsts, axis=0)
    moved = np.flatnonzero(sums.any(axis=1))
    centroids = centroids.copy()
    centroids[moved] = _unit(sums[moved])
    _fill_empty(centroids, vectors, order, sizes, cosines)
    return Clusters(centroids, _similarity(sums, sizes))


def _similarity(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return how alike the vectors of each cluster are, float32[count]; see `Clusters`.

    Of pairs of different vectors: with itself a vector has a cosine of 1, which would make means of few too long.

    Args:
        sums: float32[count, dim], of the vectors of each cluster.
        sizes: int64[count], their numbers.
    """
    lengths = np.einsum("ij,ij->i", sums, sums, dtype=np.float64)
    cosines, pairs = lengths - sizes, sizes * (sizes - 1)  # sums over all pairs of a cluster, and their numbers
    mean = cosines.sum() / max(1, pairs.sum())
    similarity = (cosines + _PRIOR_PAIRS * mean) / (pairs + _PRIOR_PAIRS)
    return np.sqrt(np.clip(similarity, 0, 1)).astype(np.float32)


def _fill_empty(
    centroids: np.ndarray, vectors: np.ndarray, order: np.ndarray, sizes: np.ndarray, cosines: np.ndarray
) -> None:
    """Move each centroid without vectors to a far vector of the cluster that is the most spread, in place.

    Args:
        order, sizes: as `_by_cluster` returns them.
        cosines: float32[n], of the vectors with their centroids.
    """
    empty = np.flatnonzero(sizes == 0)
    if not len(empty):
        return
    ends = np.cumsum(sizes)
    distances = np.maximum(1 - cosines[order].astype(np.float64) - _ROUNDING, 0)
    spread = np.diff(np.concatenate([[0.0], np.cumsum(distances)])[ends], prepend=0.0)
    taken = np.zeros(len(sizes), np.int64)
    for number in empty:
        donor = int(spread.argmax())
        if spread[donor] <= _ROUNDING:
            return  # there are fewer different vectors than centroids
        first = ends[donor] - sizes[donor]
        farthest = np.argsort(-distances[first : ends[donor]], kind="stable")[taken[donor]]
        centroids[number] = _unit(vectors[order[first + farthest]][None])[0]
        taken[donor] += 1
        spread[donor] = spread[donor] / 2 if taken[donor] < sizes[donor] else 0


def _by_cluster(numbers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors' numbers cluster by cluster, int64[n], ascending in each, and the clusters' sizes."""
    return np.argsort(numbers, kind="stable"), np.bincount(numbers, minlength=count)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors as float32, L2-normalised."""
    vectors = vectors.astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
