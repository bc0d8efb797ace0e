"""End to end with engines: a catalog is loaded, served, refreshed, rolled back and pruned as with FAISS files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from artifacts.engines.base import EngineAddress
from artifacts.engines.pool import EnginePool
from artifacts.engines.reference import collection_name
from artifacts.engines.registry import open_engine
from artifacts.segments.search import engine as engine_search
from artifacts.settings import Settings
from artifacts.store.identity import identity_of
from artifacts.store.manifest import SegmentRef
from artifacts.store.store import Store
from jobs.compact.step import run_compact
from jobs.refresh.step import run_refresh
from jobs.steps import StepContext
from serving.services import services_of
from tests.engines import ENGINES, RunningEngine, server_settings
from tests.pipeline import publish_small, small_settings, write_small_catalog
from tests.serving.answers import client_for, ids, photo, problem
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore:Api key is used:UserWarning")]

Serve = Callable[[Settings], FlaskClient]


@pytest.fixture(params=ENGINES, scope="module")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    with request.param(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture(params=["server", "engine"])
def vectors(request: pytest.FixtureRequest) -> str:
    """Where servers take vectors from."""
    return request.param


@pytest.fixture(autouse=True)
def filters_reach_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a small catalog, all filters would be evaluated on the server."""
    monkeypatch.setattr(engine_search, "FEW_ROWS", 0)
    monkeypatch.setattr(engine_search, "FEW_FETCHED", 0)


def settings_for(folder: Path, engine: RunningEngine, vectors: str) -> Settings:
    return small_settings(folder, engine_vectors=vectors, **engine.settings)


@pytest.fixture
def serve() -> Iterator[Callable[[Settings], FlaskClient]]:
    """Makes clients of servers, which are closed after the test."""
    clients: list[FlaskClient] = []

    def make(settings: Settings) -> FlaskClient:
        clients.append(client_for(server_settings(settings)))
        return clients[-1]

    yield make
    for client in clients:
        services_of(client.application).watcher.close()


def reload(client: FlaskClient) -> None:
    services_of(client.application).watcher.poll()


def change_catalog(catalog: Path) -> None:
    """Delete p000, make p001 expensive, and add p900 with the picture of p002."""
    with catalog.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["product_id"] != "p000"]
    rows[0]["price"] = "1000"
    rows.append(rows[1] | {"product_id": "p900", "price": "2000"})
    with catalog.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


SEARCHES = {
    "text": "/v1/search/text?q=red+square&limit=12",
    "category": "/v1/search/text?q=blue&category=circle&limit=50",
    "price": "/v1/search/text?q=green&price_min=3&price_max=20&limit=50",
    "not a brand": "/v1/search/text?q=white&brand_not=brand+1&limit=50",
    "attribute": "/v1/search/text?q=black&filter=colour:black&limit=50",
    "similar": "/v1/products/p004/similar?limit=10",
    "deep": "/v1/search/text?q=red&limit=50&rerank=false",
}


def answers(client: FlaskClient) -> dict[str, list[str]]:
    found = {}
    for name, path in SEARCHES.items():
        response = client.get(path)
        assert response.status_code == 200, (name, response.get_data(as_text=True)[:300])
        found[name] = ids(response.get_json())
    return found


def test_engine_finds_what_files_find_through_refresh_compaction_and_rollback(
    tmp_path: Path, engine: RunningEngine, vectors: str, serve: Serve
) -> None:
    catalog = write_small_catalog(tmp_path / "shop")
    settings, files = settings_for(tmp_path / "engine", engine, vectors), small_settings(tmp_path / "files")
    for each in (settings, files):
        publish_small(catalog, each)
    client, expected = serve(settings), serve(files)
    assert client.get("/v1/release").get_json()["engine"]["kind"] == engine.kind
    assert answers(client) == answers(expected)
    pictures = [
        each.post("/v1/search/image", data={"image": (photo(tmp_path / "shop", 4), "a.jpg"), "limit": "5"}).get_json()
        for each in (client, expected)
    ]
    assert ids(pictures[0]) == ids(pictures[1])
    for numbers in ([0.0] * 8, [float("nan")] * 8, [1.0] * 7):
        response = client.post("/v1/search", data=json.dumps({"vector": numbers}), content_type="application/json")
        assert response.status_code == 422
    first = Store(settings.releases, settings.cache).current()

    change_catalog(catalog)
    for each in (settings, files):
        run_refresh(StepContext.open(each.pipeline, str(catalog)))
    for each in (client, expected):
        reload(each)
    refreshed = answers(client)
    assert refreshed == answers(expected)
    assert "p000" not in refreshed["deep"]
    dear = client.get("/v1/search/text?q=green&price_min=900&limit=50").get_json()
    assert set(ids(dear)) == {"p001", "p900"}

    run_compact(StepContext.open(settings.pipeline, ""))
    reload(client)
    compacted = answers(client)
    if vectors == "server":
        assert compacted == refreshed
    else:  # equal pictures have equal scores, and an engine returns these in any order
        assert {name: set(found) for name, found in compacted.items()} == {
            name: set(found) for name, found in refreshed.items()
        }

    store = Store(settings.releases, settings.cache)
    store.rollback(first)
    reload(client)
    assert "p000" in answers(client)["deep"]
    assert "s3cret" not in store.folder.read_bytes(f"versions/{first}/manifest.json").decode()


def test_pruned_segments_are_dropped_from_the_engine(tmp_path: Path, engine: RunningEngine) -> None:
    catalog = write_small_catalog(tmp_path / "shop")
    settings = settings_for(tmp_path, engine, "server")
    publish_small(catalog, settings)
    store = Store(settings.releases, settings.cache)
    (before,) = store.manifest().segments
    change_catalog(catalog)
    publish_small(catalog, settings)
    (after,) = store.manifest().segments

    def name_of(segment: SegmentRef) -> str:
        return collection_name(segment.id, identity_of(store.folder))

    opened = open_engine(engine.kind, EngineAddress(engine.url, engine.key))
    assert {name_of(before), name_of(after)} <= set(opened.names())
    engines = EnginePool(key=engine.key)  # the manifests name the address
    store.prune(1, grace_seconds=0, engines=engines)
    engines.close()
    assert name_of(before) not in opened.names()
    assert name_of(after) in opened.names()
    opened.close()


def test_server_answers_503_while_the_engine_is_down_and_recovers_without_a_restart(
    tmp_path: Path, engine: RunningEngine, serve: Serve
) -> None:
    settings = settings_for(tmp_path, engine, "server")
    publish_small(write_small_catalog(tmp_path / "shop"), settings)
    client = serve(settings)
    before = answers(client)
    assert client.get("/readyz").status_code == 200
    engine.kill()
    try:
        response = client.get(SEARCHES["text"])
        assert "s3cret" not in problem(response, 503)
        assert int(response.headers["Retry-After"]) > 0
        assert "s3cret" not in problem(client.get("/readyz"), 503)
        assert client.get("/v1/products/p004").status_code == 200  # needs no engine
    finally:
        engine.start()
    wait_until(lambda: client.get("/readyz").status_code == 200)
    wait_until(lambda: client.get(SEARCHES["text"]).status_code == 200)  # Milvus loads its collections again first
    assert answers(client) == before


def test_build_goes_on_where_an_engine_that_was_down_stopped_it(
    tmp_path: Path, engine: RunningEngine, serve: Serve
) -> None:
    from artifacts.errors import EngineUnavailable

    settings = settings_for(tmp_path, engine, "server")
    catalog = write_small_catalog(tmp_path / "shop")
    engine.kill()
    try:
        with pytest.raises(EngineUnavailable):
            publish_small(catalog, settings)
        assert Store(settings.releases, settings.cache).current() is None
    finally:
        engine.start()
    publish_small(catalog, settings)
    assert answers(serve(settings))["text"]
