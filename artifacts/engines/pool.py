"""The engines of a process: one for each kind and address, opened when it is first needed."""

from __future__ import annotations

import threading

from artifacts.config import EngineKind
from artifacts.engines.base import Engine, EngineAddress
from artifacts.engines.registry import open_engine
from artifacts.errors import EngineError


class EnginePool:
    """Opens engines with the address and the credential of this process. Safe to use from several threads at once.

    A store may have segments of another engine than the configured one, since a shop can move: those are asked for
    where their manifests say, and never with the credential of the configured one.

    Args:
        kind: of the engine that `url` and `key` belong to. "faiss" if none is configured: they then belong to every
            kind, as on a server, which is told nothing else.
        url: address that takes the place of the recorded one; empty for the recorded one.
        key: credential; see EngineAddress.
    """

    def __init__(self, kind: EngineKind = "faiss", url: str = "", key: str = "") -> None:
        self._kind, self._url, self._key = kind, url, key
        self._lock = threading.Lock()
        self._opened: dict[tuple[str, str], Engine] = {}

    def engine(self, kind: str, recorded_url: str = "") -> Engine:
        """Return an engine.

        Args:
            kind: as segment.json names it.
            recorded_url: the address in the manifest.

        Raises:
            EngineError: there is no address, no such kind, or its client is not installed.
        """
        is_configured = self._kind in ("faiss", kind)
        url = (self._url if is_configured else "") or recorded_url
        if not url:
            other = "" if is_configured else f", and the configured engine is {self._kind}"
            raise EngineError(f"engine_url: say where {kind} is; the release does not{other}")
        key = self._key if is_configured else ""
        with self._lock:
            if (kind, url) not in self._opened:
                self._opened[kind, url] = open_engine(kind, EngineAddress(url, key))
            return self._opened[kind, url]

    def close(self) -> None:
        """Close all engines; one that is asked for later is opened anew."""
        with self._lock:
            opened, self._opened = self._opened, {}
        for engine in opened.values():
            engine.close()
