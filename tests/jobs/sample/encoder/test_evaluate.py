"""The evaluation of the sample encoder can fail."""

import numpy as np

from jobs.sample.encoder.evaluate import TARGETS, measure


class RandomEncoder:
    """Encodes everything as a random unit vector."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def encode_pictures(self, pictures: list[object]) -> np.ndarray:
        return self._random_vectors(len(pictures))

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return self._random_vectors(len(texts))

    def _random_vectors(self, count: int) -> np.ndarray:
        vectors = self._rng.normal(size=(count, 128))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_random_vectors_miss_every_target():
    measures = measure(RandomEncoder(), products=60, side=48)  # pyright: ignore[reportArgumentType]
    assert all(measures[name] < target for name, target in TARGETS.items()), measures
