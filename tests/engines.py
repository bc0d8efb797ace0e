"""Engines that tests of whole releases run on: real ones where they can be had, each killed and started at will."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from artifacts.settings import Settings
from tests.milvus_server import MilvusServer
from tests.pgvector_server import PgvectorServer
from tests.pinecone_fake import PineconeFake
from tests.qdrant_server import QdrantServer
from tests.waiting import running


@dataclass(frozen=True)
class RunningEngine:
    """An engine that runs.

    Attributes:
        settings: `engine`, `engine_url` and `engine_key`.
        kill: ends it at once, by SIGKILL where it is a process of its own; it keeps what it has stored.
        start: starts it again, and returns once it takes requests.
    """

    settings: dict[str, Any]
    kill: Callable[[], None]
    start: Callable[[], None]

    @property
    def kind(self) -> str:
        return self.settings["engine"]

    @property
    def url(self) -> str:
        return self.settings["engine_url"]

    @property
    def key(self) -> str:
        return self.settings["engine_key"]


def _settings(kind: str, url: str, key: str) -> dict[str, Any]:
    return {"engine": kind, "engine_url": url, "engine_key": key}


@contextmanager
def _pgvector(folder: Path) -> Iterator[RunningEngine]:
    with running(PgvectorServer()) as server:
        yield RunningEngine(_settings("pgvector", server.url, "shop:s3cret"), server.kill, server.start)


@contextmanager
def _milvus(folder: Path) -> Iterator[RunningEngine]:
    with running(MilvusServer()) as server:
        yield RunningEngine(_settings("milvus", server.url, server.key), server.kill, server.start)


@contextmanager
def _qdrant(folder: Path) -> Iterator[RunningEngine]:
    with running(QdrantServer(folder, "s3cret")) as server:
        yield RunningEngine(_settings("qdrant", server.url, "s3cret"), server.kill, server.start)


@contextmanager
def _pinecone(folder: Path) -> Iterator[RunningEngine]:
    fake = PineconeFake(8, "s3cret")  # dimensions of the small catalog's encoder
    try:
        yield RunningEngine(_settings("pinecone", fake.url, "s3cret"), fake.stop, fake.start)
    finally:
        fake.stop()


#: Parameters of a fixture: functions that run an engine during a block. Those that are processes of their own, and all.
PROCESSES = [
    pytest.param(_pgvector, id="pgvector", marks=pytest.mark.pgvector),
    pytest.param(_milvus, id="milvus", marks=pytest.mark.milvus),
    pytest.param(_qdrant, id="qdrant"),
]
ENGINES = [*PROCESSES, pytest.param(_pinecone, id="pinecone")]


def server_settings(settings: Settings) -> Settings:
    """Return what a server of an engine's release needs besides the release: the credential alone. Caches are off."""
    return Settings(
        releases=settings.releases, cache=settings.cache, engine_key=settings.engine_key, deadline_seconds=60,
        embedding_cache_seconds=0, result_cache_seconds=0,
    )  # fmt: skip
