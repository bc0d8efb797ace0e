"""TODO."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from serving.schemas import Weights

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class QueryPicture:
    """A picture of a query, as it came."""

    content: bytes
    box: Box | None = None  # left, top, right, bottom, 0 to 1
    weight: float = 1.0
    digest: str = field(init=False)  # same digest, same part of the same picture

    def __post_init__(self) -> None:
        digest = hashlib.sha256(repr(self.box).encode() + self.content).hexdigest()
        object.__setattr__(self, "digest", digest)


@dataclass(frozen=True)
class Query:
    """What is looked for. At least one part besides `unlike` is there."""

    text: str | None = None
    pictures: tuple[QueryPicture, ...] = ()
    vector: tuple[float, ...] | None = None
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    weights: Weights = field(default_factory=Weights)
    names: Mapping[str, str] = field(default_factory=dict)  # what the request calls a part, where it is not its name
    digest: str = field(init=False)  # same digest, same query: a cursor goes on only with its own

    def __post_init__(self) -> None:
        # Not a cached_property: until Python 3.12 that has one lock for all queries, and each waits for the others.
        sha = hashlib.sha256(repr((self.text, self.like, self.unlike, self.weights)).encode())
        if self.vector is not None:
            sha.update(b"vector" + np.asarray(self.vector, np.float64).tobytes())
        for picture in self.pictures:
            sha.update(f"{picture.digest} {picture.weight}".encode())
        object.__setattr__(self, "digest", sha.hexdigest())

    def name(self, part: str) -> str:
        return self.names.get(part, part)

    @property
    def kind(self) -> str:
        """Which calibration fits: text or image where all of it is that, else mixed."""
        parts = {
            "text": self.text is not None,
            "image": bool(self.pictures or self.like),
            "mixed": self.vector is not None or bool(self.unlike),
        }
        there = [kind for kind, given in parts.items() if given]
        return there[0] if len(there) == 1 else "mixed"
