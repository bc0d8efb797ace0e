"""A query: words, pictures, a vector, and products liked and not liked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from serving.schemas import Weights

#: left, top, right and bottom of a crop, each from 0 to 1.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class QueryPicture:
    """A picture of a query, not decoded yet. The same digest means the same part of the same picture."""

    content: bytes
    box: Box | None = None
    weight: float = 1.0
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(repr(self.box).encode() + self.content).hexdigest()
        object.__setattr__(self, "digest", digest)


@dataclass(frozen=True)
class Query:
    """What to search for. At least one part besides `unlike` is present.

    Attributes:
        field_names: what the request calls a part, where that is not the part's own name.
        digest: the same digest means the same query; a cursor continues only its own query.
    """

    text: str | None = None
    pictures: tuple[QueryPicture, ...] = ()
    vector: tuple[float, ...] | None = None
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    weights: Weights = field(default_factory=Weights)
    field_names: Mapping[str, str] = field(default_factory=dict)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        # Not a cached_property: before Python 3.12 that takes one lock for all queries, which then wait for each other.
        digest = hashlib.sha256(repr((self.text, self.like, self.unlike, self.weights)).encode())
        if self.vector is not None:
            digest.update(b"vector" + np.asarray(self.vector, np.float64).tobytes())
        for picture in self.pictures:
            digest.update(f"{picture.digest} {picture.weight}".encode())
        object.__setattr__(self, "digest", digest.hexdigest())

    def field_name(self, part: str) -> str:
        """Return the request's name of a part, for error messages."""
        return self.field_names.get(part, part)

    @property
    def modality(self) -> str:
        """Which calibration fits: text or image if the whole query is that, else mixed."""
        present = {
            "text": self.text is not None,
            "image": bool(self.pictures or self.like),
            "mixed": self.vector is not None or bool(self.unlike),
        }
        modalities = [modality for modality, is_present in present.items() if is_present]
        return modalities[0] if len(modalities) == 1 else "mixed"

    @property
    def product_ids(self) -> frozenset[str]:
        """Products that are part of the query and therefore not of its results."""
        return frozenset((*self.like, *self.unlike))
