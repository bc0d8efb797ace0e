"""Pruning: the newest versions, the current one and all that they share are kept."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from artifacts.errors import CorruptFile
from artifacts.index.params import SearchParams
from artifacts.release.release import Release
from artifacts.storage import TEMPORARY
from artifacts.store.prune import VERSION_GRACE_SECONDS
from artifacts.store.store import Store
from tests.artifacts.building import store_segment, unit_vectors
from tests.artifacts.store.store_building import overwrite, publish


def test_prune_keeps_the_newest_and_the_current_and_their_segments(store: Store):
    versions = [publish(store, "base", f"d{number}", second=number) for number in range(5)]
    store.rollback(versions[0])
    removed = store.prune(2, grace_seconds=-1)
    assert store.versions() == [versions[0], *versions[3:]]
    assert set(removed) == {
        f"versions/{versions[1]}", f"versions/{versions[2]}", "segments/d1", "segments/d2",
    }  # fmt: skip
    assert store.folder.names("segments") == ["base", "d0", "d3", "d4"]
    for version in store.versions():
        store.verify(version)
    assert store.prune(2, grace_seconds=-1) == []


def test_prune_to_zero_keeps_the_current_version(store: Store):
    versions = [publish(store, name, second=number) for number, name in enumerate("abc")]
    store.prune(0, grace_seconds=-1)
    assert store.versions() == versions[-1:]
    assert store.verify().version == versions[-1]


def test_prune_keeps_young_segments_and_incomplete_versions(store: Store):
    publish(store, "a")
    store_segment(store, "unpublished")
    store.folder.write_text("versions/20990101T000000Z-ffffffffffff/report.html", "half")
    assert store.prune(1) == []
    assert store.folder.names("segments") == ["a", "unpublished"]
    removed = store.prune(1, grace_seconds=-1)
    assert set(removed) == {"segments/unpublished", "versions/20990101T000000Z-ffffffffffff"}
    assert not store.folder.exists("versions/20990101T000000Z-ffffffffffff")


def test_prune_removes_an_incomplete_segment(store: Store):
    publish(store, "a")
    store.folder.write_bytes("segments/half/vectors.f16", b"123")
    assert store.prune(1) == []
    assert store.prune(1, grace_seconds=-1) == ["segments/half"]


def test_a_segment_that_a_build_uses_again_is_young_again(tmp_path: Path):
    store = Store(str(tmp_path / "r"), tmp_path)
    publish(store, "a", second=1)
    store_segment(store, "old")
    os.utime(store.segment_path("old"), (0, 0))
    assert store.has_segment("old")  # a build is about to name it
    assert store.prune(1) == []
    os.utime(store.segment_path("old"), (0, 0))
    assert store.prune(1) == ["segments/old"]


def test_prune_removes_temporary_files_of_dead_processes(store: Store):
    version = publish(store, "a")
    leftovers = [store.segment_path("a").parent / f"{TEMPORARY}1-x"]
    leftovers[0].mkdir()
    (leftovers[0] / "vectors.f16").write_bytes(b"half")
    if store.folder.is_local:
        leftovers += [
            store.folder.local(f"{TEMPORARY}1-CURRENT"),
            store.folder.local(f"versions/{version}/{TEMPORARY}1-m"),
        ]
        for path in leftovers[1:]:
            path.write_bytes(b"half")
    store.prune(1)
    assert all(path.exists() for path in leftovers)
    store.prune(1, grace_seconds=-1)
    assert not any(path.exists() for path in leftovers)
    assert store.verify().version == version


def test_prune_removes_nothing_if_a_kept_manifest_is_unreadable(store: Store):
    """The segments that it names are not known, so none can be said to be unused."""
    versions = [publish(store, name, second=number) for number, name in enumerate("abc")]
    overwrite(store, f"versions/{versions[1]}/manifest.json", b"{")
    with pytest.raises(CorruptFile):
        store.prune(2, grace_seconds=-1)
    assert store.versions() == versions
    assert store.folder.names("segments") == ["a", "b", "c"]


def test_an_open_release_outlives_its_pruned_segments(tmp_path: Path):
    store = Store(str(tmp_path / "r"), tmp_path)
    publish(store, "a", second=1)
    manifest = store.manifest()
    release = Release(manifest, store.fetch(manifest))
    publish(store, "b", second=2)
    store.prune(1, grace_seconds=-1)
    assert not store.segment_path("a").exists()
    query = unit_vectors(1).astype("float32")
    hits = release.search(query, 5, SearchParams())[0][0]
    assert len(hits) == 5
    assert len(release.values(hits)) == 5
    assert release.locate("p3") is not None
    release.close()


def test_prune_keeps_the_newest_version_of_the_base_before(store: Store):
    """With a refresh every few minutes, the newest versions differ in their deltas only."""
    old = [publish(store, "old", f"o{number}", second=number) for number in range(3)]
    new = [publish(store, "new", f"n{number}", second=number + 3) for number in range(3)]
    store.prune(2, grace_seconds=-1)
    assert store.versions() == [old[-1], *new[1:]]
    store.verify(old[-1])
    store.prune(1, grace_seconds=-1)
    assert store.versions() == new[-1:]


def test_prune_keeps_versions_of_the_last_minutes(store: Store):
    """A stream publishes every few seconds, and other processes work on what follows an older version."""
    now = int((datetime.now(UTC) - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds())
    seconds = [now - VERSION_GRACE_SECONDS - 60, now - VERSION_GRACE_SECONDS - 30, now - 60, now - 30]
    versions = [publish(store, "base", f"d{number}", second=second) for number, second in enumerate(seconds)]
    removed = store.prune(1)
    assert store.versions() == versions[2:]
    assert set(removed) == {f"versions/{version}" for version in versions[:2]}


def test_prune_removes_the_segments_of_removed_versions_with_them(tmp_path: Path):
    """Segments that no version has named yet are kept for a day; a stream would leave thousands by then."""
    store = Store(str(tmp_path / "r"), tmp_path)
    for number in range(3):
        publish(store, "base", f"d{number}", second=number)
    store_segment(store, "unpublished")
    ten_minutes_ago = time.time() - 600
    for name in ("d0", "unpublished"):
        os.utime(store.segment_path(name), (ten_minutes_ago, ten_minutes_ago))
    removed = [name for name in store.prune(1) if name.startswith("segments/")]
    assert removed == ["segments/d0"]  # d1 was written just now: a build may be about to name it again
