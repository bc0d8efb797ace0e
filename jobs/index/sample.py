"""Vectors drawn at random from the embeddings of all shards, to train an index on, or to judge a trained one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from artifacts.errors import StepFailed
from artifacts.schema import OK
from jobs.parquet import open_for_batches
from jobs.steps import Progress, no_progress
from jobs.workspace.shards import ShardFolder

#: Vectors that are read from a shard at once.
_BATCH = 16_384


def draw_sample(
    embeddings: ShardFolder, dim: int, size: int, seed: int, path: Path, progress: Progress = no_progress
) -> np.ndarray:
    """Gather a random sample of the vectors of all shards in a file, shard by shard.

    Each distinct picture of a shard is drawn with the same probability; the sample depends on the seed and on the
    vectors, not on their order in the catalog.

    Args:
        dim: length of a vector.
        size: number of vectors; all of them, if there are fewer.
        path: of a file that does not exist; its pages need not stay in memory.
        progress: called with shards.

    Returns:
        float32[n, dim], L2-normalised, mapped from the file; empty, if there are none.

    Raises:
        StepFailed: a shard has fewer vectors than its report says.
    """
    from artifacts.index.build import training_rows  # imports FAISS

    counts = [report.ok for report in embeddings.reports()]
    positions = training_rows(sum(counts), size, seed)
    if not len(positions):
        return np.empty((0, dim), np.float32)
    sample = np.memmap(path, np.float32, "w+", shape=(len(positions), dim))
    bounds = np.cumsum([0, *counts])
    cuts = np.searchsorted(positions, bounds)
    for shard, first in enumerate(bounds[:-1]):
        wanted = positions[cuts[shard] : cuts[shard + 1]] - first
        if len(wanted):
            _gather(embeddings, shard, dim, wanted, sample[cuts[shard] : cuts[shard + 1]])
        progress(shard + 1, embeddings.shards)
    return sample


def _gather(embeddings: ShardFolder, shard: int, dim: int, wanted: np.ndarray, target: np.ndarray) -> None:
    """Read vectors of a shard by their position among its usable ones, int64[n], ascending."""
    first = done = 0
    with embeddings.open(shard) as file:
        for batch in open_for_batches(file).iter_batches(_BATCH, columns=["status", "vector"]):
            usable = np.flatnonzero(np.asarray(batch["status"]) == OK)
            stop = int(np.searchsorted(wanted, first + len(usable)))
            if stop > done:
                rows = usable[wanted[done:stop] - first]
                values = batch["vector"].take(pa.array(rows)).flatten()
                target[done:stop] = values.to_numpy(zero_copy_only=False).reshape(-1, dim)
            first, done = first + len(usable), stop
    if done < len(wanted):
        raise StepFailed(
            f"{embeddings.path(shard)} has {first} vectors, fewer than its report says: remove it, "
            "and run the embed step again"
        )
