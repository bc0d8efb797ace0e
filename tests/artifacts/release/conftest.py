"""Fixtures of the tests of artifacts/release."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.artifacts.building import force_path
from tests.artifacts.release.release_building import Catalog, make_catalog


@pytest.fixture(scope="package", params=["flat", "pq", "opq", "rabitq", "sq8", "hnsw"])
def catalog(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    catalog = make_catalog(tmp_path_factory.mktemp("catalog"), request.param)
    yield catalog
    catalog.release.close()


@pytest.fixture(scope="package")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """A catalog for tests that do not depend on the index."""
    catalog = make_catalog(tmp_path_factory.mktemp("catalog"), "flat")
    yield catalog
    catalog.release.close()


@pytest.fixture(params=["scan", "probe"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> str:
    """Whether allowed rows are scored one by one or found in the index."""
    force_path(monkeypatch, request.param)
    return request.param
