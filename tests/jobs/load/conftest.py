"""A PostgreSQL with pgvector for the tests of the load step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from artifacts.settings import Settings
from tests.pgvector_server import PgvectorServer
from tests.pipeline import small_settings
from tests.waiting import running


@pytest.fixture(scope="package")
def server() -> Iterator[PgvectorServer]:
    with running(PgvectorServer()) as server:
        yield server


@pytest.fixture
def settings_in(server: PgvectorServer) -> Callable[..., Settings]:
    """Settings for builds under a folder that load the server."""

    def settings_in(folder: Path, **changes: Any) -> Settings:
        options = {"engine": "pgvector", "engine_url": server.url, "engine_key": "shop:s3cret"}
        return small_settings(folder, **options | changes)

    return settings_in
