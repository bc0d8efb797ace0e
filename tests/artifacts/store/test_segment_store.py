"""Segments of a store: written whole, never replaced while intact, and fetched once from a URL."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pytest

from artifacts.engines.reference import EngineRef, VectorsAt
from artifacts.release.release import Release
from artifacts.store.store import Store
from tests.artifacts.building import store_segment, unit_vectors, write_segment
from tests.artifacts.store.store_building import Opener, overwrite, publish

# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_segment_that_failed_leaves_nothing(store: Store):
    def fail() -> None:
        with store.new_segment("a") as folder:
            (folder / "vectors.f16").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fail()
    assert not store.has_segment("a")
    assert not store.folder.exists("segments/a")
    assert list(store.segment_path("a").parent.iterdir()) == []


def test_an_intact_segment_is_never_replaced(open_store: Opener):
    """Writing the same rows again need not give the same bytes, and a version names the digest of the first."""
    version = publish(open_store("one"), "a")
    for machine in ("one", "two"):
        store = open_store(machine)
        with store.new_segment("a") as folder:
            write_segment(folder, unit_vectors(5, seed=77), segment_id="a")
        assert store.reference("a") == store.manifest().segments[0]
        assert store.verify().version == version
    assert open_store("three").verify().version == version


def test_a_damaged_segment_is_replaced(open_store: Opener):
    store = open_store("one")
    before = store_segment(store, "a")
    overwrite(store, "segments/a/part-00000/vectors.f16", b"damaged")
    if not store.folder.is_local:
        shutil.rmtree(store.segment_path("a"))
    assert not store.has_segment("a")
    again = store_segment(store, "a")
    assert again.rows == before.rows
    assert store.has_segment("a")
    assert open_store("two").has_segment("a")


def test_has_segment_is_true_for_intact_segments_of_that_id(open_store: Opener):
    store = open_store("one")
    assert not store.has_segment("a")
    store_segment(store, "a")
    assert store.has_segment("a")
    assert open_store("two").has_segment("a")
    shutil.move(store.segment_path("a"), store.segment_path("b"))
    assert not store.has_segment("b")


def test_an_interrupted_upload_is_repeated(open_remote: Opener, monkeypatch: pytest.MonkeyPatch):
    """A segment that is on this machine only is not done: a version must not name what other machines cannot fetch."""
    store = open_remote("one")
    filesystem = type(fsspec.filesystem("memory"))
    put_file = filesystem.put_file
    for stop in range(1, 7):
        uploads: list[str] = []

        def interrupt(self: Any, source: str, *rest: Any, **options: Any) -> Any:
            uploads.append(source)  # noqa: B023
            if len(uploads) == stop:  # noqa: B023
                raise KeyboardInterrupt
            return put_file(self, source, *rest, **options)

        segment = f"s{stop}"
        with monkeypatch.context() as patch:
            patch.setattr(filesystem, "put_file", interrupt)
            try:
                store_segment(store, segment)
            except KeyboardInterrupt:
                assert not store.has_segment(segment)
                assert not open_remote("two").has_segment(segment)
        publish(store, segment, second=stop)
        assert open_remote(f"reader-{stop}").verify().segments[0].id == segment
    assert len(uploads) < 6  # the last one succeeded: every upload was interrupted once


# ── fetching ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_segments_of_a_url_are_fetched_once(open_remote: Opener, monkeypatch: pytest.MonkeyPatch):
    publish(open_remote("one"), "a", "b")
    fetched: list[str] = []
    filesystem = type(fsspec.filesystem("memory"))
    get = filesystem.get

    def record(self: Any, source: str, *rest: Any, **options: Any) -> Any:
        fetched.append(source.rstrip("/").rsplit("/", 1)[-1])
        return get(self, source, *rest, **options)

    monkeypatch.setattr(filesystem, "get", record)
    store = open_remote("two")
    folders = store.fetch(store.manifest())
    assert [folder.name for folder in folders] == fetched == ["a", "b"]
    assert open_remote("two").fetch(store.manifest()) == folders
    assert fetched == ["a", "b"]
    assert open_remote("one").fetch(store.manifest())
    assert fetched == ["a", "b"]  # the machine that wrote them has them already


def test_a_partly_fetched_segment_is_not_used(open_remote: Opener, monkeypatch: pytest.MonkeyPatch):
    publish(open_remote("one"), "a")
    store = open_remote("two")
    filesystem = type(fsspec.filesystem("memory"))
    get_file = filesystem.get_file
    downloads: list[str] = []

    def fail(self: Any, source: str, *rest: Any, **options: Any) -> Any:
        downloads.append(source)
        if len(downloads) == 3:
            raise OSError("connection reset")
        return get_file(self, source, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "get_file", fail)
        with pytest.raises(OSError, match="connection reset"):
            store.fetch(store.manifest())
    assert list(store.segment_path("a").parent.iterdir()) == []
    assert store.verify()


@pytest.mark.parametrize("damage", ["shorter", "another", "empty folder"])
def test_a_wrong_copy_in_the_cache_is_fetched_again(open_remote: Opener, damage: str):
    publish(open_remote("one"), "a")
    store = open_remote("two")
    [folder] = store.fetch(store.manifest())
    if damage == "shorter":
        (folder / "part-00000/vectors.f16").chmod(0o644)
        (folder / "part-00000/vectors.f16").write_bytes(b"1")
    else:
        shutil.rmtree(folder)
        folder.mkdir()
        if damage == "another":  # another store's segment of that id
            write_segment(folder / "x", unit_vectors(9, seed=3), segment_id="a")
            for path in (folder / "x").iterdir():
                path.rename(folder / path.name)
            (folder / "x").rmdir()
    manifest = store.manifest()
    release = Release(manifest, store.fetch(manifest))
    assert release.count(()) == 5
    release.close()


def test_verify_replaces_a_damaged_copy_in_the_cache(open_remote: Opener):
    publish(open_remote("one"), "a")
    store = open_remote("two")
    [folder] = store.fetch(store.manifest())
    content = bytearray((folder / "part-00000/vectors.f16").read_bytes())
    content[5] ^= 1
    (folder / "part-00000/vectors.f16").chmod(0o644)
    (folder / "part-00000/vectors.f16").write_bytes(content)
    assert store.verify()
    Release(store.manifest(), [folder]).close()


@pytest.mark.parametrize(("vectors", "fetched"), [("server", True), ("engine", False)])
def test_server_fetches_no_vectors_that_it_takes_from_an_engine(
    open_remote: Opener, tmp_path: Path, vectors: VectorsAt, fetched: bool
) -> None:
    writer = open_remote("one")
    engine = EngineRef(kind="pgvector", name="lookalike_a_0", vectors=vectors)
    reference = store_segment(writer, "a", engine=engine)
    server = Store(writer.folder.url, tmp_path / "cache-server", to_serve=True)
    path = server.verified(reference)
    assert (path / "part-00000/vectors.f16").exists() == fetched
    assert (path / "part-00000/products.arrow").exists()
    assert server.verified(reference) == path  # complete as it is
    job = Store(writer.folder.url, tmp_path / "cache-server")
    assert (job.verified(reference) / "part-00000/vectors.f16").exists()  # a step on the same machine needs them
