"""Fixtures that more than one folder of tests needs."""

from __future__ import annotations

import os
import shutil
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


BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the browser's tests out on a machine that has no browser, and say so; CI requires one."""
    if any(map(shutil.which, BROWSERS)) or os.environ.get("LOOKALIKE_TEST_BROWSER") == "required":
        return
    left_out = [item for item in items if item.get_closest_marker("browser")]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
        config.get_terminal_writer().line(
            f"{len(left_out)} tests of the page are left out: they need one of {', '.join(BROWSERS)} on the PATH"
        )
