"""The cache of a remote store: what no version names is removed from it, and fetched again by those who need it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from artifacts.index.params import SearchParams
from artifacts.release.release import Release
from artifacts.segments.info import SegmentInfo, verify_segment
from artifacts.store.store import Store
from tests.artifacts.building import unit_vectors
from tests.artifacts.store.store_building import Opener, publish

LONG_AGO = (0, 0)


@pytest.fixture
def reader(open_remote: Opener) -> Store:
    """A machine that has fetched six versions of one base, of which the store keeps two."""
    writer, reader = open_remote("writer"), open_remote("reader")
    for number in range(6):
        publish(writer, "base", f"d{number}", second=number)
        reader.fetch(reader.manifest())
    writer.prune(2)
    return reader


def cached(store: Store) -> list[str]:
    return sorted(path.name for path in store.segment_path("base").parent.iterdir())


def test_segments_that_no_version_names_are_removed_from_the_cache(reader: Store):
    assert len(cached(reader)) == 7
    assert reader.prune_cache(grace_seconds=-1) == ["d0", "d1", "d2", "d3"]
    assert cached(reader) == ["base", "d4", "d5"]
    assert reader.prune_cache(grace_seconds=-1) == []
    for version in reader.versions():
        assert reader.verify(version)
    assert reader.folder.exists("segments/d0")  # young, and only a cache was pruned


def test_prune_removes_from_the_cache_of_its_machine_too(open_remote: Opener):
    store = open_remote("one")
    for number in range(3):
        publish(store, "base", f"d{number}", second=number)
    os.utime(store.segment_path("d0"), LONG_AGO)
    assert all(name.startswith("versions/") for name in store.prune(1))
    assert cached(store) == ["base", "d1", "d2"]


def test_segments_that_were_fetched_lately_are_kept_in_the_cache(reader: Store):
    """Another process of the machine may be about to open them."""
    old = [path for path in reader.segment_path("base").parent.iterdir() if path.name in ("d0", "d1")]
    for path in old:
        os.utime(path, LONG_AGO)
    manifest = reader.manifest()
    segments = [reader.reference("base"), reader.reference("d1")]
    reader.fetch(manifest.model_copy(update={"segments": segments}))
    assert reader.prune_cache() == ["d0"]


def test_segments_in_use_are_kept_in_the_cache(reader: Store):
    assert reader.prune_cache(["d1", "d3", "unknown"], grace_seconds=-1) == ["d0", "d2"]


def test_a_store_on_this_machine_has_no_cache_to_prune(tmp_path: Path):
    store = Store(str(tmp_path / "r"), tmp_path / "cache")
    publish(store, "a", second=1)
    publish(store, "b", second=2)
    assert store.prune_cache(grace_seconds=-1) == []
    assert store.folder.names("segments") == ["a", "b"]


def test_stores_that_share_a_cache_keep_their_segments(tmp_path: Path):
    stores = [Store(f"memory://{name}-{tmp_path.name}", tmp_path / "cache") for name in ("one", "two")]
    for store, names in zip(stores, ("ab", "bc"), strict=True):
        for number, name in enumerate(names):
            publish(store, name, second=number)
    stores[0].prune(1)
    assert stores[0].prune_cache(grace_seconds=-1) == ["a"]
    assert stores[1].prune_cache(grace_seconds=-1) == []
    for store in stores:
        assert store.verify()


def test_an_open_release_outlives_its_segments_in_the_cache(open_remote: Opener):
    """Of another process of the machine, which pages through a version that is no longer kept."""
    writer, reader = open_remote("writer"), open_remote("reader")
    publish(writer, "a", second=1)
    manifest = reader.manifest()
    release = Release(manifest, reader.fetch(manifest))
    publish(writer, "b", second=2)
    writer.prune(1)
    assert reader.prune_cache(grace_seconds=-1) == ["a"]
    hits = release.search(unit_vectors(1).astype("float32"), 5, SearchParams())[0][0]
    assert len(release.values(hits)) == 5
    assert release.locate("p3") is not None
    release.close()


def test_a_pruning_that_was_killed_is_finished_by_the_next(reader: Store, monkeypatch: pytest.MonkeyPatch):
    def interrupt(folder: Path) -> None:
        (folder / "part-00000/vectors.f16").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("artifacts.store.segment_store.shutil.rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            reader.prune_cache(grace_seconds=-1)
    assert not reader.segment_path("d0").exists()
    [leftover] = [path for path in reader.segment_path("base").parent.iterdir() if path.name.endswith("-d0")]
    os.utime(leftover, LONG_AGO)
    assert reader.prune_cache(grace_seconds=-1) == ["d1", "d2", "d3"]
    assert cached(reader) == ["base", "d4", "d5"]


def test_a_segment_that_is_removed_while_it_is_verified_is_fetched_again(
    reader: Store, monkeypatch: pytest.MonkeyPatch
):
    removed: list[Path] = []

    def remove_first(folder: Path, **options: Any) -> SegmentInfo:
        if not removed:
            removed.append(folder)
            shutil.rmtree(folder)
            (folder / "part-00000/vectors.f16").stat()  # fails, as in the middle of a verification
        return verify_segment(folder, **options)

    monkeypatch.setattr("artifacts.store.segment_store.verify_segment", remove_first)
    segment = reader.manifest().segments[1]
    assert reader.verified(segment) == removed[0]
    assert removed[0].exists()
