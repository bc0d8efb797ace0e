"""Hot reload: a new release replaces the old one, a damaged one is refused, and replaced ones are freed."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import threading
import weakref
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pytest
import structlog.testing
from prometheus_client import REGISTRY

from artifacts.errors import NoRelease
from artifacts.release.release import Release
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

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(versions: Settings) -> Settings:
    return versions


def watcher_for(settings: Settings, shared_dir: Path | None = None) -> ReleaseWatcher:
    return ReleaseWatcher(
        Store(settings.releases, settings.cache), settings.server.watching, VerificationCache(shared_dir)
    )


def damage(settings: Settings, version: str, name: str) -> Path:
    """Flip one bit in a file of a version's segment; returns its path."""
    store = Store(settings.releases, settings.cache)
    path = store.segment_path(store.manifest(version).segments[0].id) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    return path


def test_new_version_replaces_the_old_one_which_is_freed(settings: Settings) -> None:
    watcher = watcher_for(settings.model_copy(update={"cursor_seconds": 0.0}))
    with pytest.raises(NoRelease):
        watcher.snapshot()
    watcher.poll()
    old = watcher.snapshot()
    version = publish_another(settings, 30)
    assert watcher.snapshot() is old  # until the next poll
    watcher.poll()
    assert watcher.snapshot().manifest.version == version
    assert watcher.loads == 2
    # a request that began before still sees the old version
    assert old.release.count(()) == 36
    release = weakref.ref(old.release)
    del old
    gc.collect()
    assert release() is None


def test_poll_does_not_load_the_same_version_again(settings: Settings) -> None:
    watcher = watcher_for(settings)
    watcher.poll()
    first = watcher.snapshot()
    watcher.poll()
    assert watcher.snapshot() is first
    assert watcher.loads == 1


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the segments that were verified, in that order."""
    names: list[str] = []

    def verify(folder: Path, **options: Any) -> object:
        names.append(folder.name)
        return verify_segment(folder, **options)

    monkeypatch.setattr("artifacts.store.segment_store.verify_segment", verify)
    return names


def republish(settings: Settings) -> str:
    """Publish a version with the current one's segments and other search parameters."""
    store = Store(settings.releases, settings.cache)
    old = store.manifest()
    search = {modality: params.deeper(2) for modality, params in old.search.items()}
    draft = old.model_copy(update={"created_at": old.created_at + timedelta(seconds=1), "search": search})
    return store.publish(draft.named(), {}, expected=old.version)


def test_version_with_open_segments_shares_them_unverified(settings: Settings, verified: list[str]) -> None:
    watcher = watcher_for(settings)
    watcher.poll()
    old = watcher.snapshot()
    assert verified == [segment.id for segment in old.manifest.segments]
    verified.clear()
    version = republish(settings)
    watcher.poll()
    new = watcher.snapshot()
    assert new.manifest.version == version
    assert new.encoder is old.encoder
    assert new.release.segments == old.release.segments
    assert verified == []
    # and back, while the first one is kept
    Store(settings.releases, settings.cache).rollback(old.manifest.version)
    watcher.poll()
    assert watcher.snapshot().manifest.version == old.manifest.version
    assert watcher.snapshot().release.segments == old.release.segments
    watcher.close()


def test_workers_of_a_server_verify_a_version_once(settings: Settings, tmp_path: Path, verified: list[str]) -> None:
    shared_dir = tmp_path / "shared_dir"
    shared_dir.mkdir()
    for _ in range(2):
        watcher = watcher_for(settings, shared_dir)
        watcher.poll()
        assert watcher.snapshot().release.pictures == 36
        assert len(verified) == 1
        watcher.close()
    version = publish_another(settings, 30)
    damage(settings, version, "part-00000/vectors.f16")
    for _ in range(2):  # a damaged segment is never recorded as verified
        watcher = watcher_for(settings, shared_dir)
        watcher.poll()
        assert watcher.failure is not None
        assert "vectors.f16" in watcher.failure.error


@pytest.mark.parametrize(
    "name",
    [
        "part-00000/vectors.f16",
        "part-00000/index.faiss",
        "part-00000/products.arrow",
        "products.duckdb",
        "segment.json",
    ],
)
def test_damaged_version_is_refused_by_file_and_the_old_one_stays(settings: Settings, name: str) -> None:
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
    # it is not loaded again
    watcher.poll()
    assert watcher.failures == 1
    # a good version clears the failure
    good = publish_another(settings, 33)
    watcher.poll()
    assert watcher.snapshot().manifest.version == good
    assert client.get("/readyz").get_json() == {"status": "ok", "release": good, "failure": None}


def test_release_of_another_encoder_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = watcher_for(settings)
    monkeypatch.setattr("tests.encoders.ColourWords.weights_sha256", "d" * 64)
    watcher.poll()
    with pytest.raises(NoRelease, match="their weights_sha256 differ"):
        watcher.snapshot()


def test_unreachable_store_leaves_the_loaded_release(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = watcher_for(settings)
    watcher.poll()
    served = watcher.snapshot()

    def unreachable(self: Store) -> str:
        raise OSError("connection reset")

    monkeypatch.setattr(Store, "current", unreachable)
    watcher.poll()
    assert watcher.snapshot() is served


def test_failed_fetch_is_retried(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("error", [duckdb.IOException, KeyError, TypeError])
def test_watcher_survives_any_error_of_a_load(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    watcher = watcher_for(settings.model_copy(update={"reload_seconds": 0.01}))
    watcher.start()
    try:
        wait_until(lambda: watcher.loads == 1)

        def broken(*_: object, **__: object) -> None:
            raise error("of a library")

        with monkeypatch.context() as patch:
            patch.setattr("serving.releases.loader.load_encoder", broken)
            publish_another(settings, 30)
            wait_until(lambda: watcher.failure is not None)
        assert watcher.failure is not None
        assert watcher.failure.lasting
        version = publish_another(settings, 33)
        wait_until(lambda: watcher.snapshot().manifest.version == version)
        assert watcher.failure is None
    finally:
        watcher.close()


def test_requests_see_one_version_while_versions_change(settings: Settings) -> None:
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
            counted = sum(value["count"] for value in answer["facets"]["colour"])
            counts = (len(answer["results"]), answer["total_found"], counted)
            if set(counts) != {sizes[answer["release"]]}:
                wrong.append(f"{answer['release']}: {counts}")
            answered[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for version in sizes:
        store.rollback(version)  # moves CURRENT to any version of the store
        before = list(answered)
        watcher.poll()
        wait_until(lambda: all(now > then for now, then in zip(answered, before, strict=True)))  # noqa: B023
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert min(answered) > 0
    assert watcher.loads == 5


def test_watcher_thread_loads_and_stops(settings: Settings) -> None:
    watcher = watcher_for(settings)
    watcher.start()
    assert watcher.first_poll.wait(60)
    assert watcher.snapshot().release.pictures == 36
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "release-watcher")
    assert thread.native_id is not None
    if sys.platform == "linux":  # searches have priority over later loads
        wait_until(lambda: os.getpriority(os.PRIO_PROCESS, thread.native_id) > os.getpriority(os.PRIO_PROCESS, 0))
    watcher.stop()
    assert not thread.is_alive()


def test_watcher_without_a_release_says_once_that_it_waits(settings: Settings, tmp_path: Path) -> None:
    watcher = watcher_for(settings.model_copy(update={"releases": str(tmp_path / "none")}))
    with structlog.testing.capture_logs() as lines:
        watcher.poll()
        watcher.poll()
    assert [line["event"] for line in lines] == [f"no release in {tmp_path}/none yet; waiting for the first build"]


def test_closed_watcher_closes_its_release(settings: Settings) -> None:
    watcher = watcher_for(settings)
    watcher.poll()
    release = watcher.snapshot().release
    watcher.close()
    watcher.close()  # closing twice is allowed
    with pytest.raises(NoRelease):
        watcher.snapshot()
    with pytest.raises(duckdb.ConnectionException):
        release.facet("brand", ())


@pytest.fixture
def remote(settings: Settings, tmp_path: Path) -> Iterator[Settings]:
    """The releases on another file system than the server's."""
    filesystem, url = fsspec.filesystem("memory"), f"/releases-{tmp_path.name}"
    filesystem.put(f"{settings.releases}/", f"{url}/", recursive=True)
    yield settings.model_copy(update={"releases": f"memory:/{url}", "cache": tmp_path / "cache"})
    filesystem.rm(url, recursive=True)


def test_segments_of_earlier_versions_are_removed_from_the_cache(remote: Settings) -> None:
    store = Store(remote.releases, remote.cache)
    watcher = watcher_for(remote)
    watcher.poll()
    first = watcher.snapshot()
    current = publish_another(remote, 30)
    unnamed = store.segment_path(first.manifest.segments[0].id)
    for version in store.versions():
        if version != current:
            store.folder.remove(f"versions/{version}")
    stray = unnamed.with_name("stray")
    shutil.copytree(unnamed, stray)
    os.utime(unnamed, (0, 0))
    os.utime(stray, (0, 0))
    watcher.poll()
    assert watcher.snapshot().manifest.version == current
    assert not stray.exists()
    assert unnamed.exists()  # searches page through it
    assert watcher.snapshot(first.manifest.version) is first
    watcher.close()


def test_a_segment_that_another_server_removes_is_fetched_again(
    remote: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def open_release(manifest: Manifest, folders: list[Path], **options: Any) -> Release:
        if not opened:
            shutil.rmtree(folders[0])
        opened.append(folders[0])
        return Release(manifest, folders, **options)

    monkeypatch.setattr("serving.releases.loader.Release", open_release)
    watcher = watcher_for(remote)
    watcher.poll()
    assert watcher.failure is None
    assert watcher.snapshot().release.pictures == 36
    assert len(opened) == 2
    watcher.close()
