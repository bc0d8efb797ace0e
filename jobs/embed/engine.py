"""Checks the configured engine before a build begins: it would be used only once everything is embedded."""

from __future__ import annotations

from artifacts.config import EngineConfig
from artifacts.errors import InputError

#: Seconds that the engine has for an answer.
_SECONDS = 10.0


def require_engine_url(config: EngineConfig) -> str:
    """Return the address of the configured engine, which is not FAISS.

    Raises:
        InputError: there is none.
    """
    if not config.engine_url:
        raise InputError(f"engine_url: say where {config.engine} is, or set engine to faiss")
    return config.engine_url


def check_engine(config: EngineConfig) -> None:
    """Check that the configured engine can be loaded: its address, client, options and credential, and that it answers.

    Raises:
        InputError: there is no address.
        EngineError: the client is not installed, an option is unknown or out of range, or the credential is refused.
        EngineUnavailable: the engine does not answer.
    """
    if config.engine == "faiss":
        return
    from artifacts.engines.base import EngineAddress
    from artifacts.engines.registry import open_engine

    engine = open_engine(config.engine, EngineAddress(require_engine_url(config), config.engine_key))
    try:
        engine.stored_options(config.engine_options)
        engine.ping(_SECONDS)
    finally:
        engine.close()
