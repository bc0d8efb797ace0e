"""The client of one Qdrant: its timeouts, and its errors as ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import urlsplit

import httpx
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from artifacts.engines.base import EngineAddress
from artifacts.errors import EngineError, EngineUnavailable

#: When the calls of this thread have to end, of `time.monotonic`. Qdrant's client knows whole seconds only.
_ends: ContextVar[float] = ContextVar("ends")

_OTHER = "the answer is not one of Qdrant's; is engine_url the right address?"


class Connection:
    """The client of one address. Its errors are raised as ours, without credentials."""

    def __init__(self, address: EngineAddress) -> None:
        self._address = address
        self._lock = threading.Lock() if address.url.startswith(("memory:", "path:")) else None
        try:
            self._client = self._connect()
        except (ValueError, RuntimeError, OSError) as error:  # RuntimeError: another process has opened the folder
            raise EngineError(f"qdrant: {address.url!r} cannot be opened: {error}") from error

    def _connect(self) -> QdrantClient:
        url = self._address.url
        if url == "memory:":
            return QdrantClient(":memory:")
        if url.startswith("path:"):
            return QdrantClient(path=url.removeprefix("path:"), force_disable_check_same_thread=True)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("engine_url has to be of the form http://host:6333")
        if not (self._address.key.isascii() and self._address.key.isprintable()):
            raise ValueError("engine_key contains characters that an HTTP header cannot; copy it again")
        return QdrantClient(
            url=url,
            api_key=self._address.key or None,
            check_compatibility=False,  # would ask the server in a thread of its own
            event_hooks={"request": [_limit_request], "response": [_limit_response]},
        )

    def __str__(self) -> str:
        return f"qdrant at {self._address.url}"

    @contextmanager
    def client(self, seconds: float) -> Iterator[QdrantClient]:
        """Yield the client for calls that take `seconds` in all at most."""
        if seconds <= 0:
            raise EngineUnavailable(f"{self} is not asked, since no time is left")
        token = _ends.set(time.monotonic() + seconds)
        if self._lock is not None:
            self._lock.acquire()
        try:
            yield self._client
        except ResponseHandlingException as error:
            if not isinstance(error.source, httpx.TransportError):
                raise EngineError(f"{self}: {_OTHER}") from error
            reason = "does not answer in time" if isinstance(error.source, httpx.TimeoutException) else error.source
            raise EngineUnavailable(f"{self}: {reason}") from error
        except AssertionError as error:  # the client's check of an answer
            raise EngineError(f"{self}: {_OTHER}") from error
        except ResourceExhaustedResponse as error:
            raise EngineUnavailable(f"{self} has too many requests: {error}") from error
        except UnexpectedResponse as error:
            raise self._refusal(error) from error
        except ValueError as error:  # raised by its local modes, where a server would refuse
            raise EngineError(f"{self} refuses: {error}") from error
        finally:
            if self._lock is not None:
                self._lock.release()
            _ends.reset(token)

    def _refusal(self, error: UnexpectedResponse) -> EngineError:
        status = error.status_code or 0
        if status in (401, 403):
            return EngineError(f"{self} refuses the credential ({status}); check engine_key")
        said = error.content.decode(errors="replace")[:300]
        if status in (408, 429) or status >= 500:
            return EngineUnavailable(f"{self} cannot answer now ({status}): {said}")
        return EngineError(f"{self} refuses ({status}): {said}")

    def close(self) -> None:
        self._client.close()


class _TimeLeft(dict[str, float]):
    """The timeouts of a request. Each phase (pool, connect, write, read) asks for its own when it begins.

    Numbers would be the time of each phase, and a request could take their sum.
    """

    def __init__(self, ends: float) -> None:
        self._ends = ends

    def get(self, key: str, default: float | None = None) -> float:  # type: ignore[override]
        return max(self._ends - time.monotonic(), 0.001)


class _TimedBody(httpx.SyncByteStream):
    """The body of an answer, which has to be there in time: the time of a read is only that of its next piece."""

    def __init__(self, body: httpx.SyncByteStream, ends: float) -> None:
        self._body, self._ends = body, ends

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._body:
            yield piece
            if time.monotonic() > self._ends:
                raise httpx.ReadTimeout("the answer did not end in time")

    def close(self) -> None:
        self._body.close()


def _limit_request(request: httpx.Request) -> None:
    request.extensions["timeout"] = _TimeLeft(_ends.get())


def _limit_response(response: httpx.Response) -> None:
    assert isinstance(response.stream, httpx.SyncByteStream)  # noqa: S101  (the client is synchronous)
    response.stream = _TimedBody(response.stream, _ends.get())
