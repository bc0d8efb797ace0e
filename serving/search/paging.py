"""Pages of one search, cut from one list that stays the same while the release is served.

The list is a chain of tiers: the most similar products, ranked; then the products that a deeper search adds, by
similarity; then those of a still deeper one. The depth of a tier does not depend on the page, so the pages put together
are the list, with no product twice and none left out. A cursor pins the release and the day that the search began on.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from artifacts.errors import QueryError

#: Products in the first tier if they are ranked, and if they are ordered by similarity alone.
WINDOW = 200
PLAIN_WINDOW = 100
#: How many times deeper each further tier is.
_DEEPER = 4


def tiers(first: int) -> Iterator[int]:
    """Depths of the tiers, without end."""
    depth = first
    while True:
        yield depth
        depth *= _DEEPER


@dataclass(frozen=True)
class Cursor:
    """Where a search continues."""

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
        """Return the cursor that `encoded` made.

        Raises:
            QueryError: the text is not a cursor.
        """
        try:
            parts = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
            day = datetime.combine(date.fromisoformat(parts["d"]), time(), UTC)
            release, offset, search = parts["r"], parts["o"], parts["s"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise QueryError("cursor", "is not a cursor; send `next_cursor` of an answer unchanged") from None
        if not isinstance(release, str) or not isinstance(search, str) or type(offset) is not int or offset < 0:
            raise QueryError("cursor", "is not a cursor; send `next_cursor` of an answer unchanged")
        return cls(release, offset, search, day)

    def check(self, search: str) -> None:
        """Raise a QueryError if the cursor belongs to another search than this digest's."""
        if search != self.search:
            raise QueryError("cursor", "belongs to another search: query, filters and ranking must be unchanged")


def search_digest(query: str, order: str) -> str:
    """Identifies a search by its query's digest and by what its order depends on."""
    return hashlib.sha256(f"{query} {order}".encode()).hexdigest()[:24]
