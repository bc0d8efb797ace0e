"""Says no to searches that are too much before the rest of the server hears of them.

In a burst most of the work may be saying no. So it is said before routing, keys, rates and bodies are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from artifacts.errors import Busy
from serving import metrics
from serving.gate import Gate
from serving.problems import response_to
from serving.worker import waited

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: What metrics call the searches of a path.
KINDS = {
    "/v1/search/text": "text", "/v1/search/image": "image", "/v1/search/hybrid": "hybrid", "/v1/search": "mixed",
    "/v1/search/batch": "batch",
}  # fmt: skip


def kind_of(path: str) -> str | None:
    """What metrics and events call searches by a path; None if it is no search."""
    if path in KINDS:
        return KINDS[path]
    return "similar" if path.startswith("/v1/products/") and path.endswith("/similar") else None


class Doorman:
    """Stands before a WSGI application."""

    def __init__(self, application: WSGIApplication, gate: Gate) -> None:
        self._application, self._gate = application, gate

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        kind = kind_of(environ.get("PATH_INFO", ""))
        if kind is not None:
            try:
                self._gate.check(waited())
            except Busy as busy:
                metrics.SEARCH_REQUESTS.labels(kind, "busy").inc()
                return response_to(busy)(environ, start_response)
        return self._application(environ, start_response)
