"""A server that searches on GPUs: the same answers, also where a GPU fails or is full."""

from __future__ import annotations

import gc

import pytest
import structlog.testing
from prometheus_client import REGISTRY

from artifacts.errors import DeviceError
from artifacts.settings import Settings
from artifacts.store.store import Store
from serving.app import create_app
from serving.releases.verification_cache import VerificationCache
from serving.releases.watcher import ReleaseWatcher
from tests.fake_gpus import FakeGpus
from tests.serving.answers import client_for, ids, scores
from tests.serving.versions import publish_another

pytestmark = pytest.mark.slow


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    return FakeGpus(monkeypatch, 2)


def on_gpus(settings: Settings, name: str = "cuda") -> Settings:
    return settings.model_copy(update={"search_device": name})


def failures() -> float:
    return REGISTRY.get_sample_value("image_search_gpu_failures_total") or 0


def too_deep() -> float:
    return REGISTRY.get_sample_value("image_search_gpu_too_deep_total") or 0


@pytest.mark.parametrize("name", ["cuda", "cuda:shards", "cuda:1"])
def test_answers_are_those_of_the_cpu(published: Settings, gpus: FakeGpus, name: str) -> None:
    url = "/v1/search/text?q=red+shoes&rerank=false"
    expected = client_for(published).get(url).get_json()
    answer = client_for(on_gpus(published, name)).get(url).get_json()
    assert (ids(answer), scores(answer)) == (ids(expected), scores(expected))
    assert gpus.searches > 1  # one of them is the warm-up


def test_failing_gpu_is_counted_logged_once_and_given_up_without_a_failed_search(
    published: Settings, gpus: FakeGpus
) -> None:
    client, before = client_for(on_gpus(published)), failures()
    gpus.broken = True
    with structlog.testing.capture_logs() as logs:
        answers = [client.get(f"/v1/search/text?q=shoes&limit={limit}") for limit in (3, 4, 5, 6, 7)]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert failures() - before == 3
    assert [entry["event"] for entry in logs if "error" in entry] == [
        "a GPU failed; the CPU answers instead, without further messages",
        "GPUs are given up; the CPU answers all searches from now on",
    ]


def test_index_that_does_not_fit_is_served_by_the_cpu(published: Settings, gpus: FakeGpus) -> None:
    gpus.full = True
    with structlog.testing.capture_logs() as logs:
        client = client_for(on_gpus(published))
    assert client.get("/v1/search/text?q=shoes").status_code == 200
    assert gpus.searches == 0
    assert [entry["error"] for entry in logs if "not copied" in entry["event"]] == ["out of memory"]


def test_searches_that_are_too_deep_for_a_gpu_are_counted_and_answered(
    published: Settings, gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, before = client_for(on_gpus(published)), too_deep()
    assert client.get("/v1/search/text?q=shoes&limit=3").status_code == 200
    assert too_deep() == before
    monkeypatch.setattr("artifacts.index.gpus.pool.MAX_RESULTS", 10)
    assert client.get("/v1/search/text?q=shoes&limit=4").status_code == 200
    assert too_deep() == before + 1


def watcher_for(settings: Settings) -> ReleaseWatcher:
    return ReleaseWatcher(Store(settings.releases, settings.cache), settings.server.watching, VerificationCache(None))


@pytest.mark.parametrize("memory", [40, 20])
def test_base_that_does_not_fit_beside_the_one_before_is_copied_once_that_one_is_closed(
    versions: Settings, gpus: FakeGpus, memory: int
) -> None:
    watcher = watcher_for(on_gpus(versions, "cuda:1").model_copy(update={"cursor_seconds": 0.0}))
    watcher.poll()
    old = watcher.snapshot()
    first = [(1, 36)]
    assert gpus.copied == first
    gpus.memory = memory
    publish_another(versions, 30)
    with structlog.testing.capture_logs() as logs:
        watcher.poll()
        watcher.poll()  # a search still has the release before
        assert gpus.copied == first
        del old
        gc.collect()
        watcher.poll()
        watcher.poll()
    assert gpus.copied == first + ([(1, 30)] if memory == 40 else [])
    outcomes = [entry["event"] for entry in logs if "copied" in entry["event"]]
    assert outcomes == [
        "index not copied to the GPUs; the CPU answers searches until the release before is closed",
        "index copied to the GPUs" if memory == 40 else "index not copied to the GPUs; the CPU answers searches",
    ]
    watcher.close()


def test_each_base_is_copied_once(versions: Settings, gpus: FakeGpus) -> None:
    settings = on_gpus(versions)
    watcher = watcher_for(settings)
    for products in (36, 30, 36):  # the first one is still kept for searches that page through it
        publish_another(settings, products)
        watcher.poll()
    assert gpus.copied == [(0, 36), (1, 36), (0, 30), (1, 30)]
    watcher.close()


def test_server_does_not_start_without_the_gpu_that_it_is_to_use(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeGpus(monkeypatch, 0)
    with pytest.raises(DeviceError, match="FAISS sees no GPU"):
        create_app(on_gpus(published).server, watch=False)
