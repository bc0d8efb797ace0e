"""What an embedding store does: vectors, put and got many at a time by encoder id and sha256.

A store holds what can be computed again. So it may be incomplete, lose anything, and be down; what is not found is
computed. What it returns must be right: a value that is no unit vector of the dimension counts as not found.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

#: Bytes of a key.
KEY_BYTES = 32

#: Largest difference between a norm and 1: float16 has 11 bits, and rounding errors of a vector's numbers add up.
_NORM_TOLERANCE = 0.01
_BLOCK_ROWS = 4096


class EmbeddingStore(ABC):
    """Vectors by encoder id and sha256. Safe to use from several threads and processes at once.

    An encoder id stands for everything that turns the hashed bytes into a vector: two processes may use one id only
    if they compute the same vector from the same bytes.

    Attributes:
        rows_per_call: keys that callers with many should ask for in one call, and vectors that they should put.
    """

    rows_per_call: ClassVar[int]

    def get(self, encoder_id: str, dim: int, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors of some pictures.

        Args:
            dim: length of the encoder's vectors.
            keys: sha256 of each picture's bytes, 32 bytes.

        Returns:
            found bool[n], and vectors float16[n, dim] in the order of the keys: as they were put, and zeros where
            none was found.

        Raises:
            EmbeddingStoreError: the store cannot be reached, or does not answer in time.
        """
        _check_keys(keys)
        rows: dict[bytes, int] = {}
        positions = [rows.setdefault(bytes(key), len(rows)) for key in keys]
        found, vectors = np.zeros(len(rows), dtype=bool), np.zeros((len(rows), dim), dtype=np.float16)
        if rows:
            self._read(encoder_id, list(rows), found, vectors)
            found &= _are_unit(vectors)
            vectors[~found] = 0
        if len(rows) == len(keys):
            return found, vectors
        return found[positions], vectors[positions]

    def put(self, encoder_id: str, keys: Sequence[bytes], vectors: np.ndarray) -> int:
        """Store vectors; those that are not of length 1 are left out. A key that has a vector may keep it.

        Args:
            keys: sha256 of each picture's bytes, 32 bytes.
            vectors: float16[n, dim], L2-normalised.

        Returns:
            How many vectors the store was given.

        Raises:
            EmbeddingStoreError: the store cannot be reached, or does not answer in time; some may have been stored.
        """
        _check_keys(keys)
        if vectors.dtype != np.float16 or vectors.ndim != 2 or len(vectors) != len(keys):
            raise ValueError(f"vectors must be float16[{len(keys)}, dim], not {vectors.dtype}{list(vectors.shape)}")
        good = _are_unit(vectors)
        rows = {bytes(key): row for row, key in enumerate(keys) if good[row]}
        if rows:
            self._write(encoder_id, list(rows), vectors[list(rows.values())])
        return len(rows)

    def close(self) -> None:  # noqa: B027  (some have nothing to close)
        """Close connections."""

    @abstractmethod
    def _read(self, encoder_id: str, keys: list[bytes], found: np.ndarray, vectors: np.ndarray) -> None:
        """Set `found` and the row of `vectors` for each key that the store has, at least one; keys are distinct."""

    @abstractmethod
    def _write(self, encoder_id: str, keys: list[bytes], vectors: np.ndarray) -> None:
        """Store the vectors of distinct keys, at least one."""


def _check_keys(keys: Sequence[bytes]) -> None:
    for key in keys:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {len(key)} bytes; a sha256 has {KEY_BYTES}")


def _are_unit(vectors: np.ndarray) -> np.ndarray:
    """Return which rows of float16[n, dim] are finite and of length 1, bool[n]."""
    norms = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _BLOCK_ROWS):  # in float32 all at once would take three times the memory
        block = vectors[start : start + _BLOCK_ROWS].astype(np.float32)
        norms[start : start + _BLOCK_ROWS] = np.sqrt(np.einsum("ij,ij->i", block, block))
    return np.abs(norms - 1) < _NORM_TOLERANCE  # False for NaN, too
