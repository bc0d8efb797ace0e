"""End to end with engines: a catalog is loaded, served, refreshed, rolled back and pruned as with FAISS files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from artifacts.engines.base import EngineAddress
from artifacts.engines.pool import EnginePool
from artifacts.engines.reference import collection_name
from artifacts.engines.registry import open_engine
from artifacts.segments.search import engine as engine_search
from artifacts.settings import Settings
from artifacts.store.manifest import SegmentRef
from artifacts.store.store import Store
from jobs.compact.step import run_compact
from jobs.refresh.step import run_refresh
from jobs.steps import StepContext
from serving.services import services_of
from tests.milvus_server import MilvusServer
from tests.pgvector_server import PgvectorServer
from tests.pinecone_fake import PineconeFake
from tests.pipeline import publish_small, small_settings, write_small_catalog
from tests.qdrant_server import QdrantServer
from tests.serving.answers import client_for, ids, photo, problem
from tests.waiting import running as running_server
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore:Api key is used:UserWarning")]

Serve = Callable[[Settings], FlaskClient]

#: Settings of an engine, and what kills and starts it.
Running = tuple[dict[str, Any], Callable[[], None], Callable[[], None]]


@contextmanager
def pgvector(folder: Path) -> Iterator[Running]:
    with running_server(PgvectorServer()) as server:
        options = {"engine": "pgvector", "engine_url": server.url, "engine_key": "shop:s3cret"}
        yield options, server.kill, server.start


@contextmanager
def milvus(folder: Path) -> Iterator[Running]:
    with running_server(MilvusServer()) as server:
        options = {"engine": "milvus", "engine_url": server.url, "engine_key": server.key}
        yield options, server.kill, server.start


@contextmanager
def qdrant(folder: Path) -> Iterator[Running]:
    with running_server(QdrantServer(folder, "s3cret")) as server:
        yield {"engine": "qdrant", "engine_url": server.url, "engine_key": "s3cret"}, server.kill, server.start


@contextmanager
def pinecone(folder: Path) -> Iterator[Running]:
    fake = PineconeFake(8, "s3cret")  # dimensions of the small catalog's encoder
    try:
        options = {"engine": "pinecone", "engine_url": fake.url, "engine_key": "s3cret"}
        yield options, fake.stop, fake.start
    finally:
        fake.stop()


ENGINES = [
    pytest.param(pgvector, id="pgvector", marks=pytest.mark.pgvector),
    pytest.param(milvus, id="milvus", marks=pytest.mark.milvus),
    pytest.param(qdrant, id="qdrant"),
    pytest.param(pinecone, id="pinecone"),
]


@pytest.fixture(params=ENGINES, scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with request.param(tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture(params=["server", "engine"])
def vectors(request: pytest.FixtureRequest) -> str:
    """Where servers take vectors from."""
    return request.param


@pytest.fixture(autouse=True)
def filters_reach_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a small catalog, all filters would be evaluated on the server."""
    monkeypatch.setattr(engine_search, "FEW_ROWS", 0)
    monkeypatch.setattr(engine_search, "FEW_FETCHED", 0)


def settings_for(folder: Path, running: Running, vectors: str) -> Settings:
    return small_settings(folder, engine_vectors=vectors, **running[0])


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


def server_settings(settings: Settings) -> Settings:
    """What a server needs besides the releases: the credential alone."""
    return Settings(
        releases=settings.releases, cache=settings.cache, engine_key=settings.engine_key, deadline_seconds=60,
        embedding_cache_seconds=0, result_cache_seconds=0,
    )  # fmt: skip


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
    tmp_path: Path, running: Running, vectors: str, serve: Serve
) -> None:
    catalog = write_small_catalog(tmp_path / "shop")
    settings, files = settings_for(tmp_path / "engine", running, vectors), small_settings(tmp_path / "files")
    for each in (settings, files):
        publish_small(catalog, each)
    client, expected = serve(settings), serve(files)
    assert client.get("/v1/release").get_json()["engine"]["kind"] == running[0]["engine"]
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


def test_pruned_segments_are_dropped_from_the_engine(tmp_path: Path, running: Running) -> None:
    catalog = write_small_catalog(tmp_path / "shop")
    settings = settings_for(tmp_path, running, "server")
    publish_small(catalog, settings)
    store = Store(settings.releases, settings.cache)
    (before,) = store.manifest().segments
    change_catalog(catalog)
    publish_small(catalog, settings)
    (after,) = store.manifest().segments

    def name_of(segment: SegmentRef) -> str:
        return collection_name(segment.id, store.identity())

    engine = open_engine(running[0]["engine"], EngineAddress(running[0]["engine_url"], running[0]["engine_key"]))
    assert {name_of(before), name_of(after)} <= set(engine.names())
    engines = EnginePool(key=running[0]["engine_key"])  # the manifests name the address
    store.prune(1, grace_seconds=0, engines=engines)
    engines.close()
    assert name_of(before) not in engine.names()
    assert name_of(after) in engine.names()
    engine.close()


def test_server_answers_503_while_the_engine_is_down_and_recovers_without_a_restart(
    tmp_path: Path, running: Running, serve: Serve
) -> None:
    _, kill, start = running
    settings = settings_for(tmp_path, running, "server")
    publish_small(write_small_catalog(tmp_path / "shop"), settings)
    client = serve(settings)
    before = answers(client)
    assert client.get("/readyz").status_code == 200
    kill()
    try:
        response = client.get(SEARCHES["text"])
        assert "s3cret" not in problem(response, 503)
        assert int(response.headers["Retry-After"]) > 0
        assert "s3cret" not in problem(client.get("/readyz"), 503)
        assert client.get("/v1/products/p004").status_code == 200  # needs no engine
    finally:
        start()
    wait_until(lambda: client.get("/readyz").status_code == 200)
    wait_until(lambda: client.get(SEARCHES["text"]).status_code == 200)  # Milvus loads its collections again first
    assert answers(client) == before


def test_build_goes_on_where_an_engine_that_was_down_stopped_it(tmp_path: Path, running: Running, serve: Serve) -> None:
    from artifacts.errors import EngineUnavailable

    _, kill, start = running
    settings = settings_for(tmp_path, running, "server")
    catalog = write_small_catalog(tmp_path / "shop")
    kill()
    try:
        with pytest.raises(EngineUnavailable):
            publish_small(catalog, settings)
        assert Store(settings.releases, settings.cache).current() is None
    finally:
        start()
    publish_small(catalog, settings)
    assert answers(serve(settings))["text"]
