"""Encoders that only say how long their vectors are, for vectors that are drawn: `python:…build.encoder:Drawn512`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from artifacts.encoders.base import Encoder
from artifacts.errors import EncoderError


def drawn_encoder(dim: int) -> str:
    """Return the spec of the encoder for drawn vectors of this length."""
    return f"python:{__name__}:Drawn{dim}"


def __getattr__(name: str) -> type[Encoder]:
    if not (match := re.fullmatch(r"Drawn(\d+)", name)):
        raise AttributeError(name)
    return type(name, (_Drawn,), {"dim": int(match[1])})


class _Drawn(Encoder):
    weights_sha256 = "d" * 64
    preprocessing = {"drawn": True}  # noqa: RUF012

    def image_vectors(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        raise EncoderError(f"{self.spec} encodes no pictures: its vectors are drawn by `lookalike bench build`")
