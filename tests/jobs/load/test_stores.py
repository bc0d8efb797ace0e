"""Several stores in one engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts.engines.base import EngineAddress
from artifacts.engines.pool import EnginePool
from artifacts.engines.registry import open_engine
from artifacts.segments.info import read_info
from artifacts.settings import Settings
from artifacts.store.identity import identity_of
from artifacts.store.store import Store
from tests.pgvector_server import PgvectorServer
from tests.pipeline import publish_small, write_small_catalog

pytestmark = pytest.mark.pgvector


def collections(store: Store) -> list[str]:
    """The collections of the version that is served."""
    infos = [read_info(store.segment_path(segment.id)) for segment in store.manifest().segments]
    return [info.engine.name for info in infos if info.engine]


def test_pruning_a_store_keeps_collections_that_another_store_of_the_same_path_and_catalog_serves(
    server: PgvectorServer,
    settings_in: Callable[..., Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "shop").mkdir()
    catalog = write_small_catalog(tmp_path / "shop")
    stores = []
    for name in ("production", "staging"):  # each with the default path of the store, and one workspace for both
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        settings = settings_in(tmp_path, releases="artifacts/releases")
        publish_small(catalog, settings)
        stores.append(Store(str(Path.cwd() / settings.releases), settings.cache))
    production, staging = stores
    assert production.manifest().segments[0].id == staging.manifest().segments[0].id
    catalog.write_text("\n".join(catalog.read_text().splitlines()[:-3]) + "\n")
    publish_small(catalog, settings_in(tmp_path, releases=staging.folder.url))
    engine = open_engine("pgvector", EngineAddress(server.url, "shop:s3cret"))
    assert engine.orphans(production.folder.names("segments"), identity_of(production.folder)) == []
    engines = EnginePool(key="shop:s3cret")
    staging.prune(1, grace_seconds=0, engines=engines)
    engines.close()
    assert {*collections(production), *collections(staging)} <= set(engine.names())
    engine.close()
