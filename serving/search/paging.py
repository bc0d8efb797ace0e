"""Pages of one search, cut from one list that does not change while the release stands.

The list is a chain of tiers: the most similar products, ranked; then those that a deeper search adds, by similarity;
then those of a still deeper one. Each tier is a search of its own size whatever page is asked for, so pages put
together are the list, without a product twice or left out. A cursor pins the release and the day it began on.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from artifacts.errors import QueryError

#: Products of the first tier where they are ranked, and where similarity alone is the order.
WINDOW = 200
PLAIN_WINDOW = 100
#: Each further tier is so many times as deep.
_DEEPER = 4


def tiers(first: int) -> Iterator[int]:
    """Depths of the searches, without end."""
    depth = first
    while True:
        yield depth
        depth *= _DEEPER


@dataclass(frozen=True)
class Cursor:
    """Where a search goes on."""

    release: str
    offset: int
    search: str  # digest of the query and of all that its order depends on
    today: datetime

    def encoded(self) -> str:
        """Opaque to callers, and safe in a URL."""
        parts = {"r": self.release, "o": self.offset, "s": self.search, "d": self.today.date().isoformat()}
        return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode().rstrip("=")

    @classmethod
    def decoded(cls, text: str) -> Cursor:
        """
        Raises:
            QueryError: it is none of ours.
        """
        try:
            parts = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
            day = datetime.combine(date.fromisoformat(parts["d"]), time(), UTC)
            release, offset, search = parts["r"], parts["o"], parts["s"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise QueryError("cursor", "is not one; send `next_cursor` of an answer as it came") from None
        if not isinstance(release, str) or not isinstance(search, str) or type(offset) is not int or offset < 0:
            raise QueryError("cursor", "is not one; send `next_cursor` of an answer as it came")
        return cls(release, offset, search, day)

    def check(self, search: str) -> None:
        """
        Raises:
            QueryError: it came with another search than it is from.
        """
        if search != self.search:
            raise QueryError("cursor", "belongs to another search: query, filters and ranking must be as they were")


def search_digest(query: str, order: str) -> str:
    """Names a search: its query's digest, and what its order depends on."""
    return hashlib.sha256(f"{query} {order}".encode()).hexdigest()[:24]
