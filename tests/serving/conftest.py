"""Published releases of the small catalog, and clients of apps that serve them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from artifacts.settings import Settings
from tests.pipeline import publish_small, small_settings, write_small_catalog
from tests.serving.answers import client_for
from tests.serving.versions import copy_versions, make_versions

#: Settings for tests of searches: no caches, and a deadline that a busy machine meets. Tests of both set their own.
PLAIN: dict[str, Any] = {"embedding_cache_seconds": 0, "result_cache_seconds": 0, "deadline_seconds": 600}


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a server whose release has the small catalog. Read-only: tests that publish make their own."""
    folder = tmp_path_factory.mktemp("published")
    settings = small_settings(folder)
    publish_small(write_small_catalog(folder / "shop"), settings)
    # Without an encoder setting, the server uses the one that the manifest names.
    return Settings(releases=settings.releases, cache=settings.cache, max_image_bytes=300_000, max_images=3, **PLAIN)


@pytest.fixture(scope="session")
def shop(published: Settings) -> Path:
    """The folder of the small catalog's pictures."""
    return Path(published.releases).parent / "shop"


@pytest.fixture(scope="session")
def client(published: Settings) -> FlaskClient:
    return client_for(published)


@pytest.fixture(scope="session")
def made_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    make_versions(folder)
    return folder


@pytest.fixture
def versions(made_versions: Path, tmp_path: Path) -> Settings:
    """Settings of a build whose current release has 36 products; `publish_another` switches to one of another size."""
    return copy_versions(made_versions, tmp_path)


#: Rows besides 60 plain products: two with pictures of several colours, twins of p000, and one with few values.
MORE = (
    {"product_id": "pair-0", "image_url": '["images/000.jpg", "images/014.jpg"]', "title": "red and blue",
     "colour": "red", "category": "pair", "price": "100", "size": "7"},
    {"product_id": "pair-1", "image_url": '["images/001.jpg", "images/003.jpg", "images/005.jpg"]', "title": "three",
     "colour": "green", "category": "pair", "price": "120", "size": "8"},
    {"product_id": "twin-1", "image_url": "images/000.jpg", "title": "red twin", "colour": "red", "category": "square",
     "price": "1000", "brand": "brand 9", "size": "0"},
    {"product_id": "twin-2", "image_url": "images/000.jpg", "title": "red twin", "colour": "red", "category": "circle",
     "price": "2000", "brand": "brand 9", "size": "0"},
    {"product_id": "bare", "image_url": "images/007.jpg"},
)  # fmt: skip


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a server whose release has products with several pictures, twins, and missing values."""
    folder = tmp_path_factory.mktemp("rich")
    settings = small_settings(folder)
    publish_small(write_small_catalog(folder / "shop", 60, MORE), settings)
    return Settings(releases=settings.releases, cache=settings.cache, max_batch=10, **PLAIN)


@pytest.fixture(scope="session")
def rich_shop(rich: Settings) -> Path:
    return Path(rich.releases).parent / "shop"


@pytest.fixture(scope="session")
def rich_client(rich: Settings) -> FlaskClient:
    return client_for(rich)
