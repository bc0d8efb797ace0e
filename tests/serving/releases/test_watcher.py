"""Hot reload: a new release takes over, a bad one is refused, the old one is let go."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from prometheus_client import REGISTRY

from artifacts.errors import NoRelease
from artifacts.settings import Settings
from artifacts.store.manifest import Manifest
from artifacts.store.segment_store import verify_segment
from artifacts.store.store import Store
from serving.app import create_app
from serving.releases.verification_cache import VerificationCache
from serving.releases.watcher import ReleaseWatcher
from serving.services import services_of
from tests.serving.versions import publish_another
from tests.waiting import wait_until


@pytest.fixture
def settings(versions: Settings) -> Settings:
    return versions


def watcher_for(settings: Settings, shared_dir: Path | None = None) -> ReleaseWatcher:
    return ReleaseWatcher(
        Store(settings.releases, settings.cache), settings.server.watching, VerificationCache(shared_dir)
    )


def damage(settings: Settings, version: str, name: str) -> Path:
    """Flip one bit of a file of a version's segment."""
    store = Store(settings.releases, settings.cache)
    path = store.segment_path(store.manifest(version).segments[0].id) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    return path


def test_a_new_version_takes_over_and_the_old_is_freed(settings: Settings) -> None:
    watcher = watcher_for(settings.model_copy(update={"cursor_seconds": 0.0}))
    with pytest.raises(NoRelease):
        watcher.snapshot()
    watcher.poll()
    old = watcher.snapshot()
    version = publish_another(settings, 30)
    assert watcher.snapshot() is old  # until somebody looks
    watcher.poll()
    assert watcher.snapshot().manifest.version == version
    assert watcher.loads == 2
    # a request that began before still has the whole old version
    assert old.release.count(()) == 36
    gone = weakref.ref(old.release)
    del old
    gc.collect()
    assert gone() is None


def test_nothing_is_loaded_twice(settings: Settings) -> None:
    watcher = watcher_for(settings)
    watcher.poll()
    first = watcher.snapshot()
    watcher.poll()
    assert watcher.snapshot() is first
    assert watcher.loads == 1


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the segments whose files were read through, in that order."""
    names: list[str] = []

    def verify(folder: Path, *, threads: int) -> object:
        names.append(folder.name)
        return verify_segment(folder, threads=threads)

    monkeypatch.setattr("artifacts.store.segment_store.verify_segment", verify)
    return names


def republish(settings: Settings) -> str:
    """A version of the segments that the current one is of, with other parameters."""
    store = Store(settings.releases, settings.cache)
    old = store.manifest()
    search = {kind: params.deeper(2) for kind, params in old.search.items()}
    draft = old.model_copy(update={"created_at": old.created_at + timedelta(seconds=1), "search": search})
    return store.publish(draft.named(), {}, expected=old.version)


def test_a_version_of_the_same_segments_opens_and_reads_none(settings: Settings, verified: list[str]) -> None:
    watcher = watcher_for(settings)
    watcher.poll()
    old = watcher.snapshot()
    assert verified == [each.id for each in old.manifest.segments]
    verified.clear()
    version = republish(settings)
    watcher.poll()
    new = watcher.snapshot()
    assert new.manifest.version == version
    assert new.encoder is old.encoder
    assert new.release.segments == old.release.segments
    assert verified == []
    # and back, while that is kept
    Store(settings.releases, settings.cache).rollback(old.manifest.version)
    watcher.poll()
    assert watcher.snapshot().manifest.version == old.manifest.version
    assert watcher.snapshot().release.segments == old.release.segments
    watcher.close()


def test_workers_of_a_server_read_a_version_once(settings: Settings, tmp_path: Path, verified: list[str]) -> None:
    shared_dir = tmp_path / "shared_dir"
    shared_dir.mkdir()
    for _ in range(2):
        watcher = watcher_for(settings, shared_dir)
        watcher.poll()
        assert watcher.snapshot().release.pictures == 36
        assert len(verified) == 1
        watcher.close()
    version = publish_another(settings, 30)
    damage(settings, version, "vectors.f16")
    for _ in range(2):  # what is damaged is never known as whole
        watcher = watcher_for(settings, shared_dir)
        watcher.poll()
        assert watcher.failure is not None
        assert "vectors.f16" in watcher.failure.error


@pytest.mark.parametrize(
    "name", ["vectors.f16", "index-00000.faiss", "products.arrow", "products.duckdb", "segment.json"]
)
def test_one_flipped_bit_is_refused_by_name_and_the_old_goes_on(settings: Settings, name: str) -> None:
    app = create_app(settings.server, watch=False)
    watcher: ReleaseWatcher = services_of(app).watcher
    watcher.poll()
    served = watcher.snapshot()
    version = publish_another(settings, 30)
    path = damage(settings, version, name)
    watcher.poll()
    assert watcher.snapshot() is served
    assert watcher.failures == 1
    client = app.test_client()
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.get_json()["status"] == "degraded"
    assert str(path) in ready.get_json()["failure"]
    assert version in ready.get_json()["failure"]
    metrics = client.get("/metrics").get_data(as_text=True)
    refused = REGISTRY.get_sample_value("image_search_reloads_total", {"outcome": "refused"})
    assert refused
    assert f'image_search_reloads_total{{outcome="refused"}} {refused}' in metrics
    serving = client.get("/v1/release").get_json()["version"]
    assert f'image_search_release_workers{{version="{serving}"}} 1.0' in metrics
    assert client.get("/v1/search/text?q=red").get_json()["release"] == served.manifest.version
    # it is not tried over and over
    watcher.poll()
    assert watcher.failures == 1
    # and a good one mends it
    good = publish_another(settings, 33)
    watcher.poll()
    assert watcher.snapshot().manifest.version == good
    assert client.get("/readyz").get_json() == {"status": "ok", "release": good, "failure": None}


def test_a_release_of_other_weights_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = watcher_for(settings)
    monkeypatch.setattr("tests.encoders.ColourWords.weights_sha256", "d" * 64)
    watcher.poll()
    with pytest.raises(NoRelease, match="their weights_sha256 differ"):
        watcher.snapshot()


def test_a_store_out_of_reach_leaves_what_is_loaded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = watcher_for(settings)
    watcher.poll()
    served = watcher.snapshot()

    def unreachable(self: Store) -> str:
        raise OSError("connection reset")

    monkeypatch.setattr(Store, "current", unreachable)
    watcher.poll()
    assert watcher.snapshot() is served


def test_a_version_that_could_not_be_fetched_is_tried_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = watcher_for(settings)

    def broken(self: Store, manifest: Manifest) -> list[Path]:
        raise ConnectionResetError("reset by peer")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "fetch", broken)
        watcher.poll()
    assert watcher.failure is not None
    assert "reset by peer" in watcher.failure.error
    watcher.poll()
    assert watcher.snapshot().release.pictures == 36
    assert watcher.failure is None


@pytest.mark.parametrize("error", [duckdb.IOException("newer format"), KeyError("dim"), TypeError("own encoder")])
def test_whatever_goes_wrong_the_watching_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    watcher = watcher_for(settings.model_copy(update={"reload_seconds": 0.01}))
    watcher.start()
    try:
        wait_until(lambda: watcher.loads == 1)
        opened = ReleaseWatcher._opened

        def broken(*_: object) -> None:
            raise error

        monkeypatch.setattr(ReleaseWatcher, "_opened", broken)
        publish_another(settings, 30)
        wait_until(lambda: watcher.failure is not None)
        assert watcher.failure is not None
        assert watcher.failure.lasting
        monkeypatch.setattr(ReleaseWatcher, "_opened", opened)
        version = publish_another(settings, 33)
        wait_until(lambda: watcher.snapshot().manifest.version == version)
        assert watcher.failure is None
    finally:
        watcher.close()


def test_requests_see_one_version_whole_while_versions_change(settings: Settings) -> None:
    app = create_app(settings.server, watch=False)
    watcher: ReleaseWatcher = services_of(app).watcher
    watcher.poll()
    first = watcher.snapshot().manifest.version
    sizes = {publish_another(settings, products): products for products in (35, 34, 33)} | {first: 36}
    store = Store(settings.releases, settings.cache)
    wrong: list[str] = []
    answered = [0, 0, 0]
    stop = threading.Event()

    def ask(number: int) -> None:
        client = app.test_client()
        while not stop.is_set():
            answer = client.get("/v1/search/text?q=red&limit=100&facets=colour").get_json()
            seen = (len(answer["results"]), answer["total_found"], sum(v["count"] for v in answer["facets"]["colour"]))
            if set(seen) != {sizes[answer["release"]]}:
                wrong.append(f"{answer['release']}: {seen}")
            answered[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for version in sizes:
        store.rollback(version)  # moves CURRENT to any version there is
        before = list(answered)
        watcher.poll()
        wait_until(lambda: all(now > then for now, then in zip(answered, before, strict=True)))  # noqa: B023
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert min(answered) > 0
    assert watcher.loads == 5


def test_the_watching_thread_loads_and_stops(settings: Settings) -> None:
    watcher = watcher_for(settings)
    watcher.start()
    assert watcher.first_poll.wait(60)
    assert watcher.snapshot().release.pictures == 36
    thread = watcher._thread.native_id
    assert thread is not None
    if sys.platform == "linux":  # whatever is loaded from now on, searches go first
        wait_until(lambda: os.getpriority(os.PRIO_PROCESS, thread) > os.getpriority(os.PRIO_PROCESS, 0))
    watcher.stop()


def test_a_closed_watcher_serves_nothing_any_more(settings: Settings) -> None:
    watcher = watcher_for(settings)
    watcher.poll()
    release = watcher.snapshot().release
    watcher.close()
    watcher.close()  # a worker may end twice: by its signal and by its parent's
    with pytest.raises(NoRelease):
        watcher.snapshot()
    with pytest.raises(duckdb.ConnectionException):
        release.facet("brand", ())
