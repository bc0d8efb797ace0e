"""Rejects searches that cannot meet their deadline before the rest of the server handles them.

In a burst most of the work may be rejecting searches. So it is done before routing, API keys, rate limits and bodies;
for a request that is complete in its connection's buffer, even before a thread is taken (serving.overload.worker).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from artifacts.errors import Busy
from serving import metrics
from serving.overload.admission import AdmissionController
from serving.overload.queue_time import queue_time
from serving.problems import response_to

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: Search type by path, for metrics and events.
SEARCH_TYPES = {
    "/v1/search/text": "text", "/v1/search/image": "image", "/v1/search/hybrid": "hybrid", "/v1/search": "mixed",
    "/v1/search/batch": "batch",
}  # fmt: skip

# The head of a request that may be rejected without a parser; its group is the path. Lines have to be exactly as RFC
# 9112 defines them: two parties that parse a request differently disagree on where the next one begins.
_HEAD = re.compile(
    rb"(?:GET|POST) (/[!->@-~]*)(?:\?[!-~]*)? HTTP/1\.1"
    rb"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*)*"
)
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*(?=\r|$)", re.IGNORECASE)
# Headers that change where a request ends or what its connection becomes: those requests are left to gunicorn.
_NEEDS_PARSER = re.compile(
    rb"\r\n(?:transfer-encoding|expect|upgrade|connection:(?![ \t]*keep-alive[ \t]*(?:\r|$))"
    rb"|content-length:(?![ \t]*\d{1,9}[ \t]*(?:\r|$)))",
    re.IGNORECASE,
)


def search_type_of(path: str) -> str | None:
    """Return the search type of a URL path, or None if it is not a search."""
    if path in SEARCH_TYPES:
        return SEARCH_TYPES[path]
    return "similar" if path.startswith("/v1/products/") and path.endswith("/similar") else None


class Decision(NamedTuple):
    """What to do with a request in its connection's buffer.

    Attributes:
        search: the buffer holds exactly one complete search.
        refusal: the response to send, bytes of HTTP/1.1, if the search is rejected.
    """

    search: bool
    refusal: bytes | None = None


class LoadShedder:
    """WSGI middleware that rejects searches; the worker also asks it about connections.

    Args:
        application: handles everything that is not rejected.
        admission: decides whether a search may wait.
    """

    def __init__(self, application: WSGIApplication, admission: AdmissionController) -> None:
        self._application, self._admission = application, admission

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        busy = self._reject(search_type_of(environ.get("PATH_INFO", "")), queue_time())
        if busy is not None:
            return response_to(busy)(environ, start_response)
        return self._application(environ, start_response)

    @property
    def busy(self) -> bool:
        """Whether searches have to wait, so that `decide` may reject some."""
        return self._admission.busy

    def decide(self, request: bytes, queue_time: float, pending: int, *, last: bool) -> Decision:
        """Decide on the bytes in a connection's buffer, without an HTTP parser.

        Only an unambiguous request is rejected here: one that is complete and has nothing behind it.

        Args:
            request: content of the buffer.
            queue_time: seconds that it has waited so far.
            pending: searches that were admitted here and have not reached the queue yet.
            last: whether a refusal closes the connection.
        """
        head, end, body = request.partition(b"\r\n\r\n")
        match = _HEAD.fullmatch(head)
        if not end or match is None or _NEEDS_PARSER.search(head):
            return Decision(search=False)
        lengths = _CONTENT_LENGTH.findall(head)
        search_type = search_type_of(match[1].decode("latin-1"))
        if search_type is None or len(lengths) > 1 or len(body) != sum(map(int, lengths)):
            return Decision(search=False)
        busy = self._reject(search_type, queue_time, pending)
        return Decision(search=True, refusal=None if busy is None else _refusal(busy.retry_after, last))

    def _reject(self, search_type: str | None, queue_time: float, pending: int = 0) -> Busy | None:
        """Return the error of a search that is rejected, and count it; None if it may proceed or is not a search."""
        if search_type is None:
            return None
        try:
            self._admission.check(queue_time, pending)
        except Busy as busy:
            metrics.SEARCH_REQUESTS.labels(search_type, "busy").inc()
            return busy
        return None


@functools.lru_cache(maxsize=128)
def _refusal(retry_after: int, last: bool) -> bytes:
    response = response_to(Busy(retry_after))
    response.headers["Connection"] = "close" if last else "keep-alive"
    return f"HTTP/1.1 {response.status}\r\n{response.headers}".encode() + response.get_data()
