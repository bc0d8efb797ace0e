"""The store: publishing, the pointer, verifying, rolling back, pruning; on a folder and on a URL."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest

from artifacts.errors import CorruptFile, IncompatibleRelease, NoRelease, PublishConflict
from artifacts.index.params import SearchParams
from artifacts.release.release import Release
from artifacts.storage import TEMPORARY
from artifacts.store.manifest import Manifest
from artifacts.store.pointer import Pointer
from artifacts.store.store import Store
from tests.artifacts.building import manifest_of, store_segment, unit_vectors, write_segment
from tests.artifacts.publisher import CONFLICT, FULL, Publishers, build_and_publish

Opener = Callable[[str], Store]
FILES = {"evaluation.json": b"{}", "report.html": b"<p>"}


def publish(store: Store, *segments: str, second: int = 0, expected: str | None = "as it is") -> str:
    """Publish a version of these segments; each segment is written if it is not there."""
    references = [
        store.reference(each) if store.has_segment(each) else store_segment(store, each, seed=len(each))
        for each in segments
    ]
    manifest = manifest_of(references, second=second)
    return store.publish(manifest, FILES, expected=store.current() if expected == "as it is" else expected)


@pytest.fixture(scope="module")
def publishers() -> Iterator[Publishers]:
    made = Publishers()
    yield made
    made.close()


def spoil(store: Store, name: str, content: bytes) -> None:
    """Change a stored file, whatever its permissions."""
    if store.folder.is_local:
        store.folder.local(name).chmod(0o644)
    store.folder.fs.pipe_file(store.folder.path(name), content)


# ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_published(store: Store):
    assert store.current() is None
    assert store.versions() == []
    for call in (store.manifest, store.verify, store.rollback):
        with pytest.raises(NoRelease, match="nothing has been published"):
            call()
    assert store.prune(3) == []


def test_publish(store: Store):
    version = publish(store, "a", "b")
    assert store.current() == version
    assert store.versions() == [version]
    manifest = store.manifest()
    assert [each.id for each in manifest.segments] == ["a", "b"]
    assert manifest.previous is None
    assert store.verify() == manifest
    assert store.folder.read_bytes(f"versions/{version}/report.html") == b"<p>"
    release = Release(manifest, store.fetch(manifest))
    assert release.count(()) == 5
    release.close()


def test_versions_in_order_of_time(store: Store):
    first, second = publish(store, "a", second=1), publish(store, "b", second=2)
    assert store.versions() == [first, second]
    assert (store.current(), store.manifest().previous) == (second, first)
    assert store.manifest(first).previous is None


def test_another_reader_sees_it(open_store: Opener):
    version = publish(open_store("one"), "a")
    other = open_store("two")
    assert other.current() == version
    assert other.verify().version == version


@pytest.mark.parametrize("version", ["nope", "../segments", "a/b", "..", "20260101T000000Z-000000000000"])
def test_no_such_version(store: Store, version: str):
    publish(store, "a")
    for call in (store.manifest, store.verify, store.rollback):
        with pytest.raises(NoRelease, match="there is no version"):
            call(version)


def test_a_version_without_its_manifest_is_invisible(store: Store):
    version = publish(store, "a")
    store.folder.write_text("versions/20990101T000000Z-ffffffffffff/report.html", "half")
    assert store.versions() == [version]
    assert store.manifest().version == version
    with pytest.raises(NoRelease):
        store.manifest("20990101T000000Z-ffffffffffff")


def test_a_pointer_to_nothing(store: Store):
    publish(store, "a")
    store.folder.write_text("CURRENT", "20990101T000000Z-ffffffffffff\n")
    with pytest.raises(NoRelease, match="there is no version"):
        store.manifest()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"format": 1, "version": 3}', b"null"])
def test_an_unreadable_manifest(store: Store, content: bytes):
    name = f"versions/{publish(store, 'a')}/manifest.json"
    spoil(store, name, content)
    with pytest.raises(CorruptFile, match=r"manifest\.json"):
        store.manifest()


@pytest.mark.parametrize("content", [b'{"format": 2}', b'{"format": 99, "segments": "elsewhere"}'])
def test_another_format(store: Store, content: bytes):
    spoil(store, f"versions/{publish(store, 'a')}/manifest.json", content)
    with pytest.raises(IncompatibleRelease, match="format"):
        store.manifest()


def test_publishing_the_same_again_changes_nothing(store: Store):
    version = publish(store, "a", second=1)
    before = store.folder.read_bytes(f"versions/{version}/manifest.json")
    assert publish(store, "a", second=9) == version
    assert publish(store, "a", second=1) == version
    assert publish(store, "a", second=9, expected=None) == version  # the caller was killed before it heard
    assert store.versions() == [version]
    assert store.folder.read_bytes(f"versions/{version}/manifest.json") == before


def test_other_search_parameters_are_another_version(store: Store):
    reference = store_segment(store, "a")
    versions = {
        store.publish(
            manifest_of([reference], second=number, search={"image": SearchParams(nprobe=8 + number)}),
            {},
            expected=store.current(),
        )
        for number in range(2)
    }
    assert len(versions) == 2


@pytest.mark.parametrize("second", [7, 3])
def test_versions_sort_as_they_were_made(store: Store, second: int):
    """Also those of one second, and those of a machine whose clock is behind: pruning keeps the newest."""
    made = [publish(store, "a", second=7), *(publish(store, each, second=second) for each in ("b", "c", "d", "e"))]
    assert store.versions() == made
    assert [store.manifest(each).version for each in made] == made
    store.prune(2, grace_seconds=0)
    assert store.versions() == made[-2:]


def test_what_is_not_a_version_does_not_stop_publishing(store: Store):
    store.folder.write_text("versions/mine/manifest.json", "{}")
    assert publish(store, "a") == store.current()


def test_old_content_published_again_can_be_rolled_back(store: Store):
    """From what is served now to what was served before it, not to what was before it the first time."""
    first, second = publish(store, "a", second=1), publish(store, "b", second=2)
    third = publish(store, "a", second=3)
    assert third not in (first, second)
    assert store.current() == third
    assert store.rollback() == second


def test_a_version_cut_short_is_taken_up(store: Store, monkeypatch: pytest.MonkeyPatch):
    publish(store, "a", second=1)
    with monkeypatch.context() as patch:
        patch.setattr(Pointer, "move", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish(store, "b", second=2)
    left = store.versions()[-1]
    assert store.current() != left
    assert publish(store, "b", second=3) == left
    assert (store.current(), len(store.versions())) == (left, 2)


def test_a_conflict(store: Store):
    first = publish(store, "a", second=1)
    second = publish(store, "b", second=2)
    with pytest.raises(PublishConflict, match=f"CURRENT is {second}, not {first}"):
        publish(store, "c", second=3, expected=first)
    assert store.current() == second
    with pytest.raises(PublishConflict):
        publish(store, "d", second=4, expected=None)
    assert store.current() == second


@pytest.mark.parametrize("missing", ["all of it", "segment.json", "another"])
def test_a_version_is_not_made_of_missing_segments(store: Store, missing: str):
    reference = store_segment(store, "a")
    if missing == "another":
        reference = reference.model_copy(update={"info_sha256": "0" * 64})
    elif missing == "segment.json":
        store.folder.remove("segments/a/segment.json")
    else:
        store.folder.remove("segments/a")
    with pytest.raises(CorruptFile, match=r"segments/a/segment\.json"):
        store.publish(manifest_of([reference]), FILES, expected=None)
    assert (store.current(), store.versions()) == (None, [])


def test_many_publish_at_once(open_store: Opener):
    """Threads stand for processes: on a folder, fcntl.flock tells open files apart, not processes."""
    first = publish(open_store("one"), "a", second=1)
    stores = [open_store("one") for _ in range(6)]
    for number in range(6):
        store_segment(stores[0], f"s{number}", seed=number)
    together = threading.Barrier(6)

    def race(number: int) -> str | None:
        store = stores[number]
        manifest = manifest_of([store.reference(f"s{number}")], second=2)
        together.wait()
        try:
            return store.publish(manifest, FILES, expected=first)
        except PublishConflict:
            return None

    with ThreadPoolExecutor(6) as pool:
        won = [version for version in pool.map(race, range(6)) if version]
    assert len(won) == 1
    assert stores[0].verify().version == won[0] == stores[0].current()


def test_two_processes_publish_at_once(tmp_path: Path, publishers: Publishers):
    root = str(tmp_path / "r")
    store = Store(root, tmp_path)
    for segment in ("b", "c"):
        store_segment(store, segment)
    for second in range(3, 8):
        before = publish(store, "a", f"a{second}", second=second)
        codes = publishers.run(("race", root, "b", before), ("race", root, "c", before))
        assert sorted(codes) == [0, CONFLICT]
        assert [each.id for each in store.verify().segments] == ["bc"[codes.index(0)]]


def test_a_lock_that_was_left_does_not_stop_a_publish(open_store: Opener, url: str, monkeypatch: pytest.MonkeyPatch):
    store = open_store("one")
    for content in (b"2020-01-01T00:00:00+00:00 dead", b"", b"nonsense"):
        store.folder.write_bytes("CURRENT.lock", content)
        publish(store, f"a{len(content)}")
    if not store.folder.is_local:
        fresh = f"{datetime.now(UTC).isoformat()} somebody".encode()
        store.folder.write_bytes("CURRENT.lock", fresh)
        before = store.current()
        with pytest.raises(PublishConflict, match="another process is publishing"):
            publish(store, "b")
        assert store.current() == before
        assert store.folder.read_bytes("CURRENT.lock") == fresh


# ── verifying ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "damage"),
    [("vectors.f16", "flip"), ("products.duckdb", "shorter"), ("products.arrow", "missing"), ("segment.json", "flip"),
     ("segment.json", "missing")],
)  # fmt: skip
def test_verify_names_the_damaged_file(open_store: Opener, name: str, damage: str):
    version = publish(open_store("one"), "a", "b")
    store = open_store("two")
    path = f"segments/b/{name}"
    content = bytearray(store.folder.read_bytes(path))
    content[len(content) // 2] ^= 1
    if damage == "missing":
        store.folder.remove(path)
    else:
        spoil(store, path, bytes(content) if damage == "flip" else bytes(content[:-1]))
    with pytest.raises(CorruptFile) as caught:
        store.verify()
    assert caught.value.path.endswith(f"b/{name}")
    with pytest.raises(CorruptFile):
        store.rollback(version)


def test_verify_when_a_whole_segment_is_gone(open_store: Opener):
    publish(open_store("one"), "a", "b")
    store = open_store("two")
    store.folder.remove("segments/b")
    with pytest.raises(CorruptFile, match="segments/b"):
        store.verify()


# ── rolling back ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_rollback(store: Store):
    first, second, third = (publish(store, name, second=number) for number, name in enumerate("abc"))
    assert store.rollback() == second == store.current()
    assert store.rollback(third) == third == store.current()
    assert store.rollback(first) == first == store.current()
    with pytest.raises(NoRelease, match="nothing was served before"):
        store.rollback()
    assert store.current() == first
    assert store.versions() == [first, second, third]


def test_rollback_to_what_is_served(store: Store):
    version = publish(store, "a")
    assert store.rollback(version) == version == store.current()


def test_rollback_refuses_a_damaged_version(open_store: Opener):
    store = open_store("one")
    publish(store, "a", second=1)
    second = publish(store, "b", second=2)
    spoil(store, "segments/a/vectors.f16", bytes(store.folder.size("segments/a/vectors.f16")))
    with pytest.raises(CorruptFile, match=r"a/vectors\.f16"):
        open_store("two").rollback()
    assert store.current() == second


def test_rollback_while_somebody_publishes(store: Store, monkeypatch: pytest.MonkeyPatch):
    first, second = publish(store, "a", second=1), publish(store, "b", second=2)
    verify = Store.verify

    def meanwhile(self: Store, version: str | None = None) -> Manifest:
        monkeypatch.setattr(Store, "verify", verify)
        publish(store, "c", second=3)
        return verify(self, version)

    monkeypatch.setattr(Store, "verify", meanwhile)
    with pytest.raises(PublishConflict):
        store.rollback()
    assert store.current() not in (first, second)


# ── pruning ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_prune_keeps_the_newest_and_the_current_and_what_they_share(store: Store):
    shared = "base"
    versions = [publish(store, shared, f"d{number}", second=number) for number in range(5)]
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


def test_prune_keep_none_but_the_current(store: Store):
    versions = [publish(store, name, second=number) for number, name in enumerate("abc")]
    store.prune(0, grace_seconds=-1)
    assert store.versions() == versions[-1:]
    assert store.verify().version == versions[-1]


def test_prune_leaves_what_is_young(store: Store):
    publish(store, "a")
    store_segment(store, "unpublished")
    store.folder.write_text("versions/20990101T000000Z-ffffffffffff/report.html", "half")
    assert store.prune(1) == []
    assert store.folder.names("segments") == ["a", "unpublished"]
    removed = store.prune(1, grace_seconds=-1)
    assert set(removed) == {"segments/unpublished", "versions/20990101T000000Z-ffffffffffff"}
    assert not store.folder.exists("versions/20990101T000000Z-ffffffffffff")


def test_prune_takes_a_segment_that_never_became_whole(store: Store):
    publish(store, "a")
    store.folder.write_bytes("segments/half/vectors.f16", b"123")
    assert store.prune(1) == []
    assert store.prune(1, grace_seconds=-1) == ["segments/half"]


def test_a_segment_that_is_used_again_is_young_again(tmp_path: Path):
    store = Store(str(tmp_path / "r"), tmp_path)
    publish(store, "a", second=1)
    store_segment(store, "old")
    os.utime(store.segment_path("old"), (0, 0))
    assert store.has_segment("old")  # a build is about to name it
    assert store.prune(1) == []
    os.utime(store.segment_path("old"), (0, 0))
    assert store.prune(1) == ["segments/old"]


def test_prune_takes_what_a_dead_process_was_writing(store: Store, tmp_path: Path):
    version = publish(store, "a")
    here = store.segment_path("a").parent
    leftovers = [here / f"{TEMPORARY}1-x"]
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


def test_prune_removes_nothing_when_a_kept_manifest_is_unreadable(store: Store):
    """What it names is not known, so nothing can be said to be unused."""
    versions = [publish(store, name, second=number) for number, name in enumerate("abc")]
    spoil(store, f"versions/{versions[1]}/manifest.json", b"{")
    with pytest.raises(CorruptFile):
        store.prune(2, grace_seconds=-1)
    assert store.versions() == versions
    assert store.folder.names("segments") == ["a", "b", "c"]


def test_a_reader_keeps_what_prune_removes(tmp_path: Path):
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


# ── segments ─────────────────────────────────────────────────────────────────────────────────────────────────────


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


def test_a_whole_segment_is_never_replaced(open_store: Opener):
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
    spoil(store, "segments/a/vectors.f16", b"damaged")
    if not store.folder.is_local:
        shutil.rmtree(store.segment_path("a"))
    assert not store.has_segment("a")
    again = store_segment(store, "a")
    assert again.rows == before.rows
    assert store.has_segment("a")
    assert open_store("two").has_segment("a")


def test_usable_segment(open_store: Opener):
    store = open_store("one")
    assert not store.has_segment("a")
    store_segment(store, "a")
    assert store.has_segment("a")
    assert open_store("two").has_segment("a")
    shutil.move(store.segment_path("a"), store.segment_path("b"))
    assert not store.has_segment("b")


@pytest.fixture
def remote(tmp_path: Path) -> Callable[[str], Store]:
    url = f"memory://remote-{tmp_path.name}"
    return lambda machine: Store(url, tmp_path / f"cache-{machine}")


def test_segments_of_a_url_are_fetched_once(remote: Opener, monkeypatch: pytest.MonkeyPatch):
    publish(remote("one"), "a", "b")
    fetched: list[str] = []
    filesystem = type(fsspec.filesystem("memory"))
    get = filesystem.get

    def counting(self: Any, source: str, *rest: Any, **options: Any) -> Any:
        fetched.append(source.rstrip("/").rsplit("/", 1)[-1])
        return get(self, source, *rest, **options)

    monkeypatch.setattr(filesystem, "get", counting)
    store = remote("two")
    folders = store.fetch(store.manifest())
    assert [folder.name for folder in folders] == fetched == ["a", "b"]
    assert remote("two").fetch(store.manifest()) == folders
    assert fetched == ["a", "b"]
    assert remote("one").fetch(store.manifest())
    assert fetched == ["a", "b"]  # the writer has them already


def test_a_half_fetched_segment_is_not_used(remote: Opener, monkeypatch: pytest.MonkeyPatch):
    publish(remote("one"), "a")
    store = remote("two")
    filesystem = type(fsspec.filesystem("memory"))
    get_file = filesystem.get_file
    calls: list[str] = []

    def breaking(self: Any, source: str, *rest: Any, **options: Any) -> Any:
        calls.append(source)
        if len(calls) == 3:
            raise OSError("connection reset")
        return get_file(self, source, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "get_file", breaking)
        with pytest.raises(OSError, match="connection reset"):
            store.fetch(store.manifest())
    assert list(store.segment_path("a").parent.iterdir()) == []
    assert store.verify()


@pytest.mark.parametrize("damage", ["shorter", "another", "empty folder"])
def test_a_bad_copy_in_the_cache_is_fetched_again(remote: Opener, damage: str):
    publish(remote("one"), "a")
    store = remote("two")
    [folder] = store.fetch(store.manifest())
    if damage == "shorter":
        (folder / "vectors.f16").chmod(0o644)
        (folder / "vectors.f16").write_bytes(b"1")
    else:
        shutil.rmtree(folder)
        folder.mkdir()
        if damage == "another":  # another store's segment of that name
            write_segment(folder / "x", unit_vectors(9, seed=3), segment_id="a")
            for path in (folder / "x").iterdir():
                path.rename(folder / path.name)
            (folder / "x").rmdir()
    manifest = store.manifest()
    release = Release(manifest, store.fetch(manifest))
    assert release.count(()) == 5
    release.close()


def test_verify_mends_a_flipped_bit_in_the_cache(remote: Opener):
    publish(remote("one"), "a")
    store = remote("two")
    [folder] = store.fetch(store.manifest())
    content = bytearray((folder / "vectors.f16").read_bytes())
    content[5] ^= 1
    (folder / "vectors.f16").chmod(0o644)
    (folder / "vectors.f16").write_bytes(content)
    assert store.verify()
    release = Release(store.manifest(), [folder])
    release.close()


def test_an_upload_cut_short_is_done_again(remote: Opener, monkeypatch: pytest.MonkeyPatch):
    """What is on this machine alone does not count as done: a version must not name what nobody else can fetch."""
    store = remote("one")
    filesystem = type(fsspec.filesystem("memory"))
    put_file = filesystem.put_file
    for stop in range(1, 7):
        calls: list[str] = []

        def breaking(self: Any, source: str, *rest: Any, **options: Any) -> Any:
            calls.append(source)  # noqa: B023
            if len(calls) == stop:  # noqa: B023
                raise KeyboardInterrupt
            return put_file(self, source, *rest, **options)

        segment = f"s{stop}"
        with monkeypatch.context() as patch:
            patch.setattr(filesystem, "put_file", breaking)
            try:
                store_segment(store, segment)
            except KeyboardInterrupt:
                assert not store.has_segment(segment)
                assert not remote("two").has_segment(segment)
        publish(store, segment, second=stop)
        assert remote(f"reader-{stop}").verify().segments[0].id == segment
    assert len(calls) < 6  # the last one went through: every upload was cut short once


# ── kill -9 and full disks ───────────────────────────────────────────────────────────────────────────────────────


def test_kill_at_every_step(tmp_path: Path, publishers: Publishers):
    base = Store(str(tmp_path / "base"), tmp_path)
    old = publish(base, "old", second=1)
    step, finished = 0, False
    while not finished:
        step += 1
        root = tmp_path / "r"
        shutil.copytree(tmp_path / "base", root)
        [code] = publishers.run(("killed_at", str(root), step))
        assert code in (0, -signal.SIGKILL)
        finished = code == 0
        store = Store(str(root), tmp_path)
        # One version whole: the old one, or the new one.
        ids = [each.id for each in store.verify().segments]
        assert ids == (["old"] if store.current() == old else ["old", "new"])
        for version in store.versions():
            store.verify(version)
        # Doing it again ends as if nothing had happened.
        assert build_and_publish(str(root)) == store.current() == store.versions()[-1]
        assert [each.id for each in store.verify().segments] == ["old", "new"]
        assert len(store.versions()) == 2
        assert store.rollback() == old
        store.prune(1, grace_seconds=-1)
        assert not list(root.rglob(f"{TEMPORARY}*"))
        shutil.rmtree(root)
    assert step > 25


@pytest.mark.parametrize("limit", [0, 1000, 20_000, 100_000])
def test_a_full_disk(tmp_path: Path, publishers: Publishers, limit: int):
    """Whichever file it is that no longer fits."""
    store = Store(str(tmp_path / "r"), tmp_path)
    old = publish(store, "a")
    assert publishers.run(("disk_full", str(tmp_path / "r"), limit)) == [FULL]
    assert store.folder.names("segments") == ["a"]
    assert list((tmp_path / "r").rglob(f"{TEMPORARY}*")) == []
    assert store.verify().version == old


@pytest.mark.parametrize("failing", ["manifest.json", "CURRENT", "report.html"])
def test_a_disk_that_fills_up_while_publishing(store: Store, failing: str, monkeypatch: pytest.MonkeyPatch):
    old = publish(store, "a", second=1)
    reference = store_segment(store, "b")
    write_bytes = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name.endswith(failing):
            write_bytes(path, content[:2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, content)

    manifest = manifest_of([reference], second=2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            store.publish(manifest, FILES, expected=old)
    assert store.current() == old
    assert store.verify().version == old
    if store.folder.is_local:
        assert list(store.folder.local().rglob(f"{TEMPORARY}*")) == []
    version = store.publish(manifest, FILES, expected=old)
    assert store.current() == version
    assert len(store.versions()) == 2
