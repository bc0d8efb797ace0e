"""The server process of benchmarks."""

from __future__ import annotations

import pytest

from artifacts.errors import LookalikeError
from jobs.bench.load.server import ServerProcess

pytestmark = pytest.mark.server


def test_server_that_does_not_start_raises() -> None:
    with pytest.raises(LookalikeError, match="did not become ready"), ServerProcess({"LOOKALIKE_THREADS": "none"}):
        pass
