"""Releases of several sizes, published once; tests work on copies and switch between versions."""

from __future__ import annotations

import shutil
from pathlib import Path

from artifacts.settings import Settings
from artifacts.store.store import Store
from tests.pipeline import publish_small, small_settings, write_small_catalog

#: Numbers of products of the releases, oldest first.
SIZES = (36, 30, 35, 34, 33)


def make_versions(folder: Path) -> None:
    for products in SIZES:
        publish_small(write_small_catalog(folder / "shop", products), small_settings(folder))


def copy_versions(source: Path, folder: Path) -> Settings:
    """Copy the releases into `folder` and make the first one current; returns the copy's settings."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    settings = small_settings(folder)
    publish_another(settings, SIZES[0])
    return settings


def publish_another(settings: Settings, products: int) -> str:
    """Make the release with this number of products current; returns its version."""
    store = Store(settings.releases, settings.cache)
    return store.rollback(
        next(version for version in store.versions() if store.manifest(version).counts.indexed == products)
    )
