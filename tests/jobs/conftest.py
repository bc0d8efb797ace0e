"""Fixtures of several steps' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shop import Shop


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A published shop of 36 products, to be copied and never changed."""
    return Shop(tmp_path_factory.mktemp("published"))


@pytest.fixture
def shop(published: Shop, tmp_path: Path) -> Shop:
    """A published shop of 36 products, of the test's own."""
    return Shop(tmp_path, copy_of=published)
