"""What a benchmark has to know of an embedding store beside its interface: version, size, and removal."""

from __future__ import annotations

from functools import partial
from typing import Protocol

import pyarrow as pa

from artifacts.config import EmbeddingStoreConfig
from artifacts.features.base import EmbeddingStore
from artifacts.features.opening import open_embedding_store
from artifacts.features.parquet_store import ParquetStore
from artifacts.storage import Folder

#: Seconds that a call may take.
_TIMEOUT = 60.0


class Place(Protocol):
    """Where a store is."""

    kind: str

    def version(self) -> str:
        """Return name and version of what stores the vectors."""
        ...

    def size(self, encoder_id: str) -> int:
        """Return the bytes of disk or memory that an encoder's vectors take; of Redis, all that it holds."""
        ...

    def remove(self, encoder_id: str) -> None:
        """Remove an encoder's vectors."""
        ...


def open_place(config: EmbeddingStoreConfig) -> tuple[EmbeddingStore, Place]:
    """Return the store of a configuration, and the place that it is in.

    Raises:
        InputError: there is no such store.
    """
    store = open_embedding_store(config, seconds=_TIMEOUT)
    assert store is not None  # noqa: S101  (the benchmark passes no empty URL)
    if isinstance(store, ParquetStore):
        return store, ParquetPlace(config)
    place = PostgresPlace(config) if config.embedding_store.startswith("postgres") else RedisPlace(config)
    return store, place


class ParquetPlace:
    """Files in a folder of the benchmark's own."""

    kind = "parquet"

    def __init__(self, config: EmbeddingStoreConfig) -> None:
        self._folder = Folder(config.embedding_store)

    def version(self) -> str:
        return f"Arrow {pa.__version__}"

    def size(self, encoder_id: str) -> int:
        folders = self._folders(encoder_id)
        return sum(folder.fs.size(path) for folder in folders for path in folder.fs.find(folder.root))

    def remove(self, encoder_id: str) -> None:
        for folder in self._folders(encoder_id):
            folder.remove("")

    def _folders(self, encoder_id: str) -> list[Folder]:
        return [self._folder / name for name in self._folder.names() if name.startswith(f"{encoder_id}-")]


class PostgresPlace:
    """Tables whose comments are encoder ids."""

    kind = "postgresql"

    def __init__(self, config: EmbeddingStoreConfig) -> None:
        import psycopg
        from psycopg.conninfo import make_conninfo

        user, _, password = config.embedding_store_key.partition(":")
        credentials = {name: value for name, value in (("user", user), ("password", password)) if value}
        url = config.embedding_store.replace("postgresql+psycopg://", "postgresql://", 1)
        self._connect = partial(psycopg.connect, make_conninfo(url, **credentials), autocommit=True)

    def version(self) -> str:
        with self._connect() as connection:
            server = connection.execute("show server_version").fetchone()
            extension = connection.execute("select extversion from pg_extension where extname = 'vector'").fetchone()
        vectors = f"pgvector {extension[0]}" if extension else "bytea"
        return f"PostgreSQL {server[0].split()[0] if server else ''}, {vectors}"

    def size(self, encoder_id: str) -> int:
        return sum(size for _, size in self._tables(encoder_id))

    def remove(self, encoder_id: str) -> None:
        from psycopg import sql

        for name, _ in self._tables(encoder_id):
            with self._connect() as connection:
                connection.execute(sql.SQL("drop table {}").format(sql.Identifier(name)))

    def _tables(self, encoder_id: str) -> list[tuple[str, int]]:
        """Return the names of an encoder's tables, and their bytes with indexes."""
        query = (
            "select relname, pg_total_relation_size(oid) from pg_class"
            " where relkind = 'r' and obj_description(oid, 'pg_class') = %s"
        )
        with self._connect() as connection:
            return connection.execute(query, [encoder_id]).fetchall()


class RedisPlace:
    """Keys that begin with `emb:` and the encoder id."""

    kind = "redis"

    def __init__(self, config: EmbeddingStoreConfig) -> None:
        import redis

        user, _, password = config.embedding_store_key.partition(":")
        self._client = redis.Redis.from_url(config.embedding_store, username=user or None, password=password or None)

    def version(self) -> str:
        return f"Redis {self._client.info('server')['redis_version']}"  # type: ignore[index]

    def size(self, encoder_id: str) -> int:
        return self._client.info("memory")["used_memory"]  # type: ignore[index]

    def remove(self, encoder_id: str) -> None:
        for key in self._client.scan_iter(f"emb:{encoder_id}:*", count=10_000):
            self._client.delete(key)
        self._client.close()
