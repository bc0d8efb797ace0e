"""Opens the embedding store that the settings name. Its module, and with it its client, is imported only then."""

from __future__ import annotations

from artifacts.config import EmbeddingStoreConfig, check_no_credentials
from artifacts.errors import InputError
from artifacts.features.base import EmbeddingStore

_POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")
_REDIS = ("redis", "rediss", "unix")


def open_embedding_store(config: EmbeddingStoreConfig, *, seconds: float) -> EmbeddingStore | None:
    """Return the embedding store of a configuration, None if it names none. Connections are made when they are needed.

    Args:
        seconds: that a connection, and each call of a server, may take.

    Raises:
        InputError: there is no store for such a URL, it holds credentials, or the package of its client is not
            installed.
    """
    url, days = config.embedding_store, config.embedding_store_days
    if not url:
        return None
    try:
        check_no_credentials("embedding_store", url)  # it is part of messages
    except ValueError as error:
        raise InputError(f"embedding_store {error}") from error
    scheme = url.partition("://")[0] if "://" in url else ""
    user, _, password = config.embedding_store_key.partition(":")
    if scheme in _POSTGRES:
        try:
            from artifacts.features.postgres_store import PostgresStore
        except ImportError as error:
            raise _missing("pgvector", error) from error
        return PostgresStore(url, user, password, seconds=seconds)
    if scheme in _REDIS:
        try:
            from artifacts.features.redis_store import RedisStore
        except ImportError as error:
            raise _missing("redis", error) from error
        return RedisStore(url, user, password, days=days, seconds=seconds)
    if config.embedding_store_key:
        raise InputError(f"embedding_store_key: {url!r} takes none; object stores have credentials of their own")
    from artifacts.features.parquet_store import ParquetStore

    return ParquetStore(url)


def _missing(extra: str, error: ImportError) -> InputError:
    return InputError(f'embedding_store: install its client with `pip install "lookalike[{extra}]"` ({error})')
