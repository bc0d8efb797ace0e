"""What a search of a release returns, and the pictures that it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Hit(NamedTuple):
    """One product of a search's results, by the picture that matched best."""

    score: float  # cosine with the query
    row: int  # of the release: the rows of the base, then those of the delta


@dataclass(frozen=True)
class Picture:
    """A picture of a product."""

    url: str  # URL or path, as the catalog names it
    thumbnail: bytes | None  # JPEG; None where none is stored or the URL is public
