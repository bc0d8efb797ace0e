"""Says no to searches that are too much before the rest of the server hears of them.

In a burst most of the work may be saying no. So it is said before routing, keys, rates and bodies are looked at; and
where a request lies whole in the connection's buffer, before there is a thread for it (serving.overload.worker).
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

#: What metrics call the searches of a path.
KINDS = {
    "/v1/search/text": "text", "/v1/search/image": "image", "/v1/search/hybrid": "hybrid", "/v1/search": "mixed",
    "/v1/search/batch": "batch",
}  # fmt: skip

# The head of a request that may be turned away as it lies in the buffer, and its path. Its lines are as strict as RFC
# 9112 wants them: two who read a request differently disagree on where the next one begins.
_HEAD = re.compile(
    rb"(?:GET|POST) (/[!->@-~]*)(?:\?[!-~]*)? HTTP/1\.1"
    rb"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*)*"
)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*(?=\r|$)", re.IGNORECASE)
# What makes a request end elsewhere, or its connection become something else: gunicorn knows what to do then.
_OTHERWISE = re.compile(
    rb"\r\n(?:transfer-encoding|expect|upgrade|connection:(?![ \t]*keep-alive[ \t]*(?:\r|$))"
    rb"|content-length:(?![ \t]*\d{1,9}[ \t]*(?:\r|$)))",
    re.IGNORECASE,
)


def search_type_of(path: str) -> str | None:
    """What metrics and events call searches by a path; None if it is no search."""
    if path in KINDS:
        return KINDS[path]
    return "similar" if path.startswith("/v1/products/") and path.endswith("/similar") else None


class Decision(NamedTuple):
    """What a request in its connection's buffer is.

    Attributes:
        search: it is a search, here as a whole.
        refusal: the answer to it as it goes over the connection, if there is no time for it.
    """

    search: bool
    refusal: bytes | None = None


class LoadShedder:
    """Stands before a WSGI application, and before its connections where the worker asks him."""

    def __init__(self, application: WSGIApplication, gate: AdmissionController) -> None:
        self._application, self._gate = application, gate

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        busy = self._no_time_for(search_type_of(environ.get("PATH_INFO", "")), queue_time())
        if busy is not None:
            return response_to(busy)(environ, start_response)
        return self._application(environ, start_response)

    @property
    def busy(self) -> bool:
        """Whether searches have to wait, so that it is worth looking at what comes."""
        return self._gate.busy

    def decide(self, request: bytes, queue_time: float, pending: int, *, last: bool) -> Decision:
        """Look at a request where it lies in the buffer of its connection.

        What is said here is said without a parser, so it is said only where there is no doubt: to a request that is
        here from its first byte to its last, and nothing else with it.

        Args:
            queue_time: seconds that it has waited by now.
            pending: searches that were let in here and have not come as far as the gate.
            last: an answer from here is the connection's last.
        """
        head, end, body = request.partition(b"\r\n\r\n")
        read = _HEAD.fullmatch(head)
        if not end or read is None or _OTHERWISE.search(head):
            return Decision(search=False)
        lengths = _LENGTH.findall(head)
        kind = search_type_of(read[1].decode("latin-1"))
        if kind is None or len(lengths) > 1 or len(body) != sum(map(int, lengths)):
            return Decision(search=False)
        busy = self._no_time_for(kind, queue_time, pending)
        return Decision(search=True, refusal=None if busy is None else _written(busy.retry_after, last))

    def _no_time_for(self, kind: str | None, queue_time: float, pending: int = 0) -> Busy | None:
        """What to say to a search of a kind, and counted as said; None if it may go in, or is no search."""
        if kind is None:
            return None
        try:
            self._gate.check(queue_time, pending)
        except Busy as busy:
            metrics.SEARCH_REQUESTS.labels(kind, "busy").inc()
            return busy
        return None


@functools.lru_cache(maxsize=128)
def _written(retry_after: int, last: bool) -> bytes:
    response = response_to(Busy(retry_after))
    response.headers["Connection"] = "close" if last else "keep-alive"
    return f"HTTP/1.1 {response.status}\r\n{response.headers}".encode() + response.get_data()
