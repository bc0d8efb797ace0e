"""Small IVF indexes for the tests of artifacts/index."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from artifacts.index import build
from artifacts.index.faiss_index import IvfIndex
from artifacts.index.params import factory_string

CODECS = ["pq", "opq", "rabitq", "sq8"]


def build_index(
    folder: Path, vectors: np.ndarray, codec: str, *, files: int = 1, lists: int = 16
) -> tuple[IvfIndex, np.ndarray]:
    """Build an IVF over the vectors, spread over files; return it with the list of each row."""
    dim = vectors.shape[1]
    trained, similarity = build.train(factory_string(codec, dim, lists), dim, vectors.astype(np.float32), seed=0)
    paths, list_of_row, first = [], [], 0
    for number, part in enumerate(np.array_split(vectors.astype(np.float32), files)):
        index = build.empty_copy(trained)
        list_of_row.append(build.add(index, part, np.arange(first, first + len(part)))[0])
        first += len(part)
        paths.append(folder / f"{codec}-{files}-{number}.faiss")
        build.write(index, paths[-1])
    return IvfIndex(paths, similarity=similarity), np.concatenate(list_of_row)
