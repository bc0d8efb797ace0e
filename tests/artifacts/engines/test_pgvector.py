"""pgvector, with a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from artifacts.engines.base import Engine, EngineAddress
from artifacts.engines.registry import open_engine
from tests.artifacts.engines.contract import EngineContract
from tests.pgvector_server import PgvectorServer

pytestmark = pytest.mark.pgvector


@pytest.fixture(scope="module")
def server() -> Iterator[PgvectorServer]:
    server = PgvectorServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def engine(server: PgvectorServer) -> Iterator[Engine]:
    engine = open_engine("pgvector", EngineAddress(server.url, "shop:s3cret"))
    yield engine
    engine.close()


class TestPgvector(EngineContract):
    pass
