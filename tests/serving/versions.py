"""Releases of several sizes, made once: tests take copies, and point to another one as publishing does at its end."""

from __future__ import annotations

import shutil
from pathlib import Path

from artifacts.settings import Settings
from artifacts.store.store import Store
from tests.pipeline import publish_small, small_settings, write_small_catalog

#: Products of the releases there are, the oldest first.
SIZES = (36, 30, 35, 34, 33)


def make_versions(folder: Path) -> None:
    for products in SIZES:
        publish_small(write_small_catalog(folder / "shop", products), small_settings(folder))


def copy_versions(made: Path, folder: Path) -> Settings:
    """Settings of a copy under `folder`; the first release is the current one."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    settings = small_settings(folder)
    publish_another(settings, SIZES[0])
    return settings


def publish_another(settings: Settings, products: int) -> str:
    """Make the release of so many products the current one; returns its version."""
    store = Store(settings.releases, settings.cache)
    version = next(each for each in store.versions() if store.manifest(each).counts.indexed == products)
    return store.rollback(version)
