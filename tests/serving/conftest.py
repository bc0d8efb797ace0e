"""A published release of the small catalog, and the app that serves it."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from artifacts.settings import Settings
from serving.app import create_app
from tests.pipeline import publish_small, small_settings, write_small_catalog


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a server whose release holds the small catalog. Read-only: tests that publish make their own."""
    folder = tmp_path_factory.mktemp("published")
    settings = small_settings(folder)
    publish_small(write_small_catalog(folder / "shop"), settings)
    # A server takes the encoder from the release unless it is told otherwise.
    return Settings(releases=settings.releases, cache=settings.cache, max_image_bytes=300_000, max_images=3)


@pytest.fixture(scope="session")
def shop(published: Settings) -> Path:
    """The folder of the small catalog's pictures."""
    return Path(published.releases).parent / "shop"


@pytest.fixture(scope="session")
def client(published: Settings) -> FlaskClient:
    app = create_app(published, watch=False)
    app.config["LOOKALIKE_WATCHER"].look()
    return app.test_client()
