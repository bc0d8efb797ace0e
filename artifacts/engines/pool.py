"""The engines of a process: one for each kind and address, opened when it is first needed."""

from __future__ import annotations

import threading

from artifacts.engines.base import Engine, EngineAddress
from artifacts.engines.registry import open_engine
from artifacts.errors import EngineError


class EnginePool:
    """Opens engines with the address and the credential of this process. Safe to use from several threads at once.

    Args:
        url: address that takes the place of the recorded one; empty for the recorded one.
        key: credential for all of them; see EngineAddress.
    """

    def __init__(self, url: str = "", key: str = "") -> None:
        self._url, self._key = url, key
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
        url = self._url or recorded_url
        if not url:
            raise EngineError(f"engine_url: say where {kind} is; the release does not")
        with self._lock:
            if (kind, url) not in self._opened:
                self._opened[kind, url] = open_engine(kind, EngineAddress(url, self._key))
            return self._opened[kind, url]

    def close(self) -> None:
        """Close all engines; one that is asked for later is opened anew."""
        with self._lock:
            opened, self._opened = self._opened, {}
        for engine in opened.values():
            engine.close()
