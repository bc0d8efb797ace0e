"""A process's connection to Milvus, on which every call ends in time.

The client repeats calls and connects again by itself, as it must when a server has been started again. But it connects
under a lock, outside of the time that a call has: while a server is gone, calls of several threads would wait for one
another. So they are made by threads of a pool, and a caller waits for its own time only.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
from pymilvus import MilvusClient, MilvusException

from artifacts.engines.base import EngineAddress
from artifacts.errors import EngineError, EngineUnavailable

# Errors are raised; it would log each once more, with a traceback.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

#: Calls at the same time; further ones wait for their turn, as long as they have time.
_CALLS = 32

#: Seconds for making a connection.
_CONNECT_SECONDS = 2.0

#: Codes of Milvus (its package merr) by which another try may succeed, and which old servers do not mark as such: not
#: ready, out of memory or disk, too many requests, not loaded (also while it starts), a node or replica lost.
_TRANSIENT_CODES = frozenset((2, 3, 4, 5, 6, 7, 8, 9, 101, 103, 400, 401, 500, 501, 503, 601, 602, 901, 902, 903, 904))

_TRANSIENT_STATUSES = frozenset(
    (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
    )
)

_REFUSED_STATUSES = frozenset((grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED))

_Answer = TypeVar("_Answer")


@dataclass
class _Process:
    """What calls of one process need; a fork has neither the threads nor the connection of its parent."""

    pid: int = field(default_factory=os.getpid)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_CALLS, "milvus"))
    connecting: threading.Lock = field(default_factory=threading.Lock)
    client: MilvusClient | None = None


class Connection:
    """Makes calls. The connection is made by the first one, in each process anew.

    Args:
        address: http:// or https://, with a port, and a database as its path if it is not the default one; the key is a
            token or `user:password`.

    Raises:
        EngineError: the address is none of Milvus'.
    """

    def __init__(self, address: EngineAddress) -> None:
        parts = urlsplit(address.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EngineError(f"engine_url {address.url!r} is none of Milvus'; it looks like http://milvus:19530")
        self._address = address
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def call(self, seconds: float, ask: Callable[[Any, float], _Answer]) -> _Answer:
        """Return what `ask` returns; it is called with the client, a MilvusClient, and the seconds that are left.

        Raises:
            EngineUnavailable: no answer in time, no connection, or Milvus is not ready.
            EngineError: Milvus refuses the call.
        """
        end = time.monotonic() + seconds
        with self._lock:
            if self._process is None or self._process.pid != os.getpid():
                self._process = _Process()
            process = self._process

        def ask_in_time() -> _Answer:
            client = self._client(process)
            return ask(client, max(end - time.monotonic(), 0.001))

        future = process.threads.submit(ask_in_time)
        try:
            return future.result(timeout=seconds)
        except NotInTime as error:
            future.cancel()
            raise EngineUnavailable(f"{self} did not answer within {seconds:g} s") from error
        except (MilvusException, grpc.RpcError) as error:
            raise self._translated(error) from error

    def close(self) -> None:
        """Close the connection; the next call makes a new one."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None and process.pid == os.getpid():
            process.threads.shutdown(wait=False)
            if process.client is not None:
                process.client.close()

    def __str__(self) -> str:
        return f"milvus at {self._address.url}"

    def _client(self, process: _Process) -> MilvusClient:
        with process.connecting:
            if process.client is None:
                # Dedicated: shared ones are kept in a registry of the package, which a fork inherits.
                process.client = MilvusClient(
                    self._address.url, token=self._address.key, timeout=_CONNECT_SECONDS, dedicated=True
                )
            return process.client

    def _translated(self, error: MilvusException | grpc.RpcError) -> EngineError:
        status: object = error if isinstance(error, grpc.RpcError) else error.__cause__
        if isinstance(status, grpc.Call):
            code, message = status.code(), status.details() or ""
        else:
            code, message = getattr(error, "code", None), getattr(error, "message", "")
        if code in _REFUSED_STATUSES:
            return EngineError(f"{self} does not accept engine_key: {message}")
        retriable = isinstance(error, MilvusException) and error.retriable
        if retriable or code in _TRANSIENT_STATUSES or code in _TRANSIENT_CODES:
            return EngineUnavailable(f"{self} is not available: {message}")
        return EngineError(f"{self}: {message}")
