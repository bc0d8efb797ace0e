"""Fixtures of the tests of serving/overload/."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.overload.queue_time import record_queue_time


@pytest.fixture(autouse=True)
def _reset_queue_time() -> Iterator[None]:
    """Forget the queue time after a test that runs a worker in the main thread."""
    yield
    record_queue_time(0.0)
