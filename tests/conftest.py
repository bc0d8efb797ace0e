"""Fixtures that more than one folder of tests needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import PictureServer

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def running_server() -> Iterator[PictureServer]:
    with PictureServer() as server:
        yield server


@pytest.fixture
def server(running_server: PictureServer) -> PictureServer:
    """A picture server whose counters start at zero."""
    running_server.reset()
    return running_server


@pytest.fixture(scope="session")
def spark() -> Iterator[object]:
    """One Spark session for all tests: it takes seconds to start."""
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", "--master local[2] --driver-memory 1g pyspark-shell")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    from jobs.spark import session

    made = session("tests")
    yield made
    made.stop()
