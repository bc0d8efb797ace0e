"""Says no to searches that are too much before the rest of the server hears of them.

In a burst most of the work may be saying no. So it is said before routing, keys, rates and bodies are looked at: a
tenth of what the same answer costs further in.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson

from artifacts.errors import Busy
from serving import metrics
from serving.gate import Gate
from serving.models import Problem

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
                self._gate.check()
            except Busy as busy:
                metrics.SEARCH_REQUESTS.labels(kind, "busy").inc()
                return _refuse(busy, start_response)
        return self._application(environ, start_response)


def _refuse(busy: Busy, start_response: StartResponse) -> Iterable[bytes]:
    status = HTTPStatus.SERVICE_UNAVAILABLE
    problem = Problem(title=status.phrase, status=status, detail=str(busy))  # pyright: ignore[reportCallIssue]
    body = orjson.dumps(problem.model_dump(exclude_none=True))
    headers = [
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("Retry-After", str(busy.retry_after)),
        ("X-Content-Type-Options", "nosniff"),
    ]
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]
