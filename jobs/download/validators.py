"""Validators of HTTP: with them a client asks for a picture again, and a server need not send it if it is the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Validators that are longer, or not of printable ASCII, are not kept: they would have to be sent back.
MAX_VALIDATOR_CHARS = 500


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server said of a picture that it sent, to ask later whether it still has the same one (RFC 9110, 8.8)."""

    etag: str | None = None
    last_modified: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str], *, redirected: bool) -> Validators:
        """Return the validators among the headers of a response."""
        # The time of a picture behind a redirect says nothing of an older one that the redirect may lead to next.
        modified = None if redirected else headers.get("Last-Modified")
        return cls(_validator(headers.get("ETag")), _validator(modified))

    def headers(self, *, redirected: bool) -> dict[str, str]:
        """Return the headers that make a request conditional; none if there are no validators."""
        headers = {"If-None-Match": self.etag} if self.etag else {}
        if self.last_modified and not redirected:
            headers["If-Modified-Since"] = self.last_modified
        return headers


#: Of a request that is not conditional.
NO_VALIDATORS = Validators()


def _validator(header: str | None) -> str | None:
    fits = header and len(header) <= MAX_VALIDATOR_CHARS and header.isascii() and header.isprintable()
    return header if fits else None
