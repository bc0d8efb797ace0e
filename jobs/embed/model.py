"""Runs the encoder over a stream of pictures: decoding ahead in threads, splitting batches that do not fit."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np

from artifacts.encoders.base import Encoder
from artifacts.errors import StepFailed
from artifacts.pictures import open_stored

#: Batches decoded ahead of the model: one is ready when the model is, one evens out slow pictures.
AHEAD = 2


def encode_batches(
    pictures: Iterable[tuple[str, bytes]], encoder: Encoder, batch: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield (keys, float32[n, dim]) batch by batch; the next batches are prepared while the model works on one.

    Args:
        pictures: (key, JPEG) pairs.
        batch: pictures in one call of the model.
        pool: decodes and preprocesses.
    """

    def prepare(jpeg: bytes) -> Any:
        return encoder.prepare(open_stored(jpeg))

    model = SplittingModel(encoder, batch)
    remaining = iter(pictures)
    ahead: deque[list[tuple[str, Future[Any]]]] = deque()
    while True:
        while len(ahead) <= AHEAD and (taken := list(islice(remaining, batch))):
            ahead.append([(key, pool.submit(prepare, jpeg)) for key, jpeg in taken])
        if not ahead:
            return
        current = ahead.popleft()
        yield [key for key, _ in current], model([future.result() for _, future in current])


class SplittingModel:
    """Calls the encoder; splits a batch that does not fit the device's memory, and all later batches as well."""

    def __init__(self, encoder: Encoder, batch: int) -> None:
        self._encoder = encoder
        self._limit = batch

    def __call__(self, prepared: list[Any]) -> np.ndarray:
        """float32[n, dim] of n pictures that `Encoder.prepare` returned.

        Raises:
            StepFailed: a single picture does not fit.
        """
        blocks: list[np.ndarray] = []
        start = 0
        while start < len(prepared):
            piece = prepared[start : start + self._limit]
            vectors = self._try(piece)
            if vectors is None:
                if len(piece) == 1:
                    raise StepFailed("the device has not enough memory for one picture: LOOKALIKE_DEVICE=cpu has")
                self._limit = len(piece) // 2
                continue
            blocks.append(vectors)
            start += len(piece)
        return np.concatenate(blocks)

    def _try(self, piece: list[Any]) -> np.ndarray | None:
        """Return the vectors, or None if the device ran out of memory."""
        try:
            return self._encoder.encode_prepared(piece)
        except RuntimeError as error:
            import torch

            if not isinstance(error, torch.OutOfMemoryError):
                raise
            torch.cuda.empty_cache()  # does nothing where CUDA has not been used
            return None


def limit_threads(threads: int) -> None:
    """Limit torch's threads: worker processes that each use all cores would wait for each other."""
    torch = sys.modules.get("torch")  # a custom encoder may not need it, and its import takes seconds
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
