"""Encoders for tests, by spec `python:tests.encoders:…`: without weights, and with predictable vectors."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from PIL import Image

from artifacts.encoders.base import Encoder


class MeanColor(Encoder):
    """dim 4: the mean red, green and blue of a picture, and a constant."""

    dim = 4
    weights_sha256 = "0" * 64
    preprocessing = {"mean": True}  # noqa: RUF012
    calls: list[int] = []  # noqa: RUF012 - sizes of the batches, of all instances
    threads: set[str] = set()  # noqa: RUF012 - that prepared a picture

    def prepare(self, picture: Image.Image) -> np.ndarray:
        self.threads.add(threading.current_thread().name)
        return np.asarray(picture, dtype=np.float32).reshape(-1, 3).mean(axis=0)

    def image_vectors(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        self.calls.append(len(prepared))
        return np.concatenate([np.stack(prepared), np.full((len(prepared), 1), 40.0)], axis=1)


class Blind(MeanColor):
    """Returns zeros for red pictures and NaN for green ones."""

    def image_vectors(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        vectors = super().image_vectors(prepared)
        reds, greens = vectors[:, 0] > 200, vectors[:, 1] > 200
        vectors[reds] = 0
        vectors[greens, 2] = np.nan
        return vectors


class SmallMemory(MeanColor):
    """Runs out of memory with more than 5 pictures in a batch, as a small GPU does."""

    limit = 5

    def image_vectors(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        if len(prepared) > self.limit:
            import torch

            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().image_vectors(prepared)


class NoMemory(SmallMemory):
    """Runs out of memory with any picture."""

    limit = 0


class ColourWords(Encoder):
    """dim 8: the share of six colours in a picture, and the colours that a text names, in the same space."""

    dim = 8
    supports_text = True
    weights_sha256 = "c" * 64
    preprocessing = {"colours": 6}  # noqa: RUF012
    colours = ("red", "green", "blue", "yellow", "white", "black")
    centres = np.array([(200, 30, 40), (30, 160, 60), (40, 70, 200), (230, 200, 40), (245, 245, 245), (20, 20, 22)])

    def prepare(self, picture: Image.Image) -> np.ndarray:
        pixels = np.asarray(picture.resize((24, 24)), dtype=np.float32).reshape(-1, 1, 3)
        near = np.linalg.norm(pixels - self.centres, axis=2) < 60
        mean = pixels.reshape(-1, 3).mean(axis=0) / 255
        # The last two dimensions differ a little between pictures of one colour.
        return np.concatenate([near.mean(axis=0), 0.1 * mean[:2]]) + 1e-3

    def image_vectors(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(prepared)

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        named = [[float(colour in text.lower()) for colour in self.colours] for text in texts]
        return np.concatenate([np.array(named), np.full((len(texts), 2), 0.05)], axis=1) + 1e-3
