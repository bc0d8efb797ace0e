"""Fixtures of the tests of serving/overload/."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.overload.queue_time import current_request


@pytest.fixture(autouse=True)
def _forget_queue_time() -> Iterator[None]:
    """A test that plays a worker in the main thread leaves no waiting time to the tests after it."""
    yield
    current_request.__dict__.clear()
