"""The client of one Qdrant: its timeouts, and its errors as ours."""

from __future__ import annotations

import threading
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

#: Seconds that the calls of this thread may take. Qdrant's client knows whole seconds only.
_seconds: ContextVar[float] = ContextVar("seconds", default=30)

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
            event_hooks={"request": [_limit]},
        )

    def __str__(self) -> str:
        return f"qdrant at {self._address.url}"

    @contextmanager
    def client(self, seconds: float) -> Iterator[QdrantClient]:
        """Yield the client for calls that take `seconds` at most."""
        if seconds <= 0:
            raise EngineUnavailable(f"{self} is not asked, since no time is left")
        token = _seconds.set(seconds)
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
            _seconds.reset(token)

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


def _limit(request: httpx.Request) -> None:
    request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), _seconds.get())
