"""Fixtures of the tests of artifacts/store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from artifacts.store.store import Store
from tests.artifacts.store.publisher import Publishers
from tests.artifacts.store.store_building import Opener


@pytest.fixture(scope="package")
def publishers() -> Iterator[Publishers]:
    publishers = Publishers()
    yield publishers
    publishers.close()


@pytest.fixture
def open_remote(tmp_path: Path) -> Opener:
    """Opens the same store on another file system, from a machine of that name; each machine has its own cache."""
    url = f"memory://remote-{tmp_path.name}"
    return lambda machine: Store(url, tmp_path / f"cache-{machine}")
