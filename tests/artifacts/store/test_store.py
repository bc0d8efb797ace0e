"""Versions of a store: published, read, verified and rolled back; on a folder and on a URL."""

from __future__ import annotations

import pytest

from artifacts.errors import CorruptFile, IncompatibleRelease, NoRelease, PublishConflict
from artifacts.index.params import SearchParams
from artifacts.release.release import Release
from artifacts.store.manifest import Manifest
from artifacts.store.pointer import Pointer
from artifacts.store.store import Store
from tests.artifacts.building import manifest_of, store_segment
from tests.artifacts.store.store_building import FILES, Opener, overwrite, publish

# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_store_has_no_release(store: Store):
    assert store.current() is None
    assert store.versions() == []
    for call in (store.manifest, store.verify, store.rollback):
        with pytest.raises(NoRelease, match="nothing has been published"):
            call()
    assert store.prune(3) == []


def test_other_machines_see_a_published_version(open_store: Opener):
    version = publish(open_store("one"), "a")
    other = open_store("two")
    assert other.current() == version
    assert other.verify().version == version


@pytest.mark.parametrize("version", ["nope", "../segments", "a/b", "..", "20260101T000000Z-000000000000"])
def test_an_unknown_version_is_no_release(store: Store, version: str):
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


def test_a_pointer_to_an_unknown_version_is_no_release(store: Store):
    publish(store, "a")
    store.folder.write_text("CURRENT", "20990101T000000Z-ffffffffffff\n")
    with pytest.raises(NoRelease, match="there is no version"):
        store.manifest()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"format": 1, "version": 3}', b"null"])
def test_an_unreadable_manifest_is_corrupt(store: Store, content: bytes):
    name = f"versions/{publish(store, 'a')}/manifest.json"
    overwrite(store, name, content)
    with pytest.raises(CorruptFile, match=r"manifest\.json: is not a manifest"):
        store.manifest()


@pytest.mark.parametrize("content", [b'{"format": 4}', b'{"format": 99, "segments": "elsewhere"}'])
def test_another_format_is_incompatible(store: Store, content: bytes):
    overwrite(store, f"versions/{publish(store, 'a')}/manifest.json", content)
    with pytest.raises(IncompatibleRelease, match=r"manifest\.json is in format (4|99)"):
        store.manifest()


# ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_published_version_is_served(store: Store):
    version = publish(store, "a")
    assert store.current() == version
    assert store.versions() == [version]
    manifest = store.manifest()
    assert [segment.id for segment in manifest.segments] == ["a"]
    assert manifest.previous is None
    assert store.verify() == manifest
    assert store.folder.read_bytes(f"versions/{version}/report.html") == b"<p>"
    release = Release(manifest, store.fetch(manifest))
    assert release.count(()) == 5
    release.close()


def test_versions_are_in_the_order_of_publishing(store: Store):
    first, second = publish(store, "a", second=1), publish(store, "b", second=2)
    assert store.versions() == [first, second]
    assert (store.current(), store.manifest().previous) == (second, first)
    assert store.manifest(first).previous is None


@pytest.mark.parametrize("second", [7, 3])
def test_versions_of_one_second_or_a_slow_clock_sort_last(store: Store, second: int):
    """Pruning keeps the newest, so the order must be that of publishing."""
    versions = [
        publish(store, "a", second=7),
        *(publish(store, segment, second=second) for segment in ("b", "c", "d", "e")),
    ]
    assert store.versions() == versions
    assert [store.manifest(version).version for version in versions] == versions
    store.prune(2, grace_seconds=0)
    assert store.versions() == versions[-2:]


def test_publishing_the_same_again_changes_nothing(store: Store):
    version = publish(store, "a", second=1)
    before = store.folder.read_bytes(f"versions/{version}/manifest.json")
    assert publish(store, "a", second=9) == version
    assert publish(store, "a", second=1) == version
    assert publish(store, "a", second=9, expected=None) == version  # the caller was killed before it got the answer
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


def test_a_folder_that_is_no_version_does_not_stop_publishing(store: Store):
    store.folder.write_text("versions/mine/manifest.json", "{}")
    assert publish(store, "a") == store.current()


def test_old_content_is_published_as_a_new_version(store: Store):
    """A rollback leads to what was served before it now, not to what was served before it the first time."""
    first, second = publish(store, "a", second=1), publish(store, "b", second=2)
    third = publish(store, "a", second=3)
    assert third not in (first, second)
    assert store.current() == third
    assert store.rollback() == second


def test_an_interrupted_version_is_published_by_the_next_run(store: Store, monkeypatch: pytest.MonkeyPatch):
    publish(store, "a", second=1)
    with monkeypatch.context() as patch:
        patch.setattr(Pointer, "move", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish(store, "b", second=2)
    interrupted = store.versions()[-1]
    assert store.current() != interrupted
    assert publish(store, "b", second=3) == interrupted
    assert (store.current(), len(store.versions())) == (interrupted, 2)


def test_another_expected_version_is_a_conflict(store: Store):
    first = publish(store, "a", second=1)
    second = publish(store, "b", second=2)
    with pytest.raises(PublishConflict, match=f"CURRENT is {second}, not {first}"):
        publish(store, "c", second=3, expected=first)
    assert store.current() == second
    with pytest.raises(PublishConflict):
        publish(store, "d", second=4, expected=None)
    assert store.current() == second


@pytest.mark.parametrize("missing", ["the folder", "segment.json", "the digest"])
def test_a_version_of_missing_segments_is_not_created(store: Store, missing: str):
    reference = store_segment(store, "a")
    if missing == "the digest":
        reference = reference.model_copy(update={"info_sha256": "0" * 64})
    elif missing == "segment.json":
        store.folder.remove("segments/a/segment.json")
    else:
        store.folder.remove("segments/a")
    with pytest.raises(CorruptFile, match=r"segments/a/segment\.json"):
        store.publish(manifest_of([reference]), FILES, expected=None)
    assert (store.current(), store.versions()) == (None, [])


# ── verifying ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "damage"),
    [("part-00000/vectors.f16", "flip"), ("products.duckdb", "shorter"), ("part-00000/products.arrow", "missing"),
     ("segment.json", "flip"), ("segment.json", "missing")],
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
        overwrite(store, path, bytes(content) if damage == "flip" else bytes(content[:-1]))
    with pytest.raises(CorruptFile) as caught:
        store.verify()
    assert caught.value.path.endswith(f"b/{name}")
    with pytest.raises(CorruptFile):
        store.rollback(version)


def test_verify_names_a_missing_segment(open_store: Opener):
    publish(open_store("one"), "a", "b")
    store = open_store("two")
    store.folder.remove("segments/b")
    with pytest.raises(CorruptFile, match="segments/b"):
        store.verify()


# ── rolling back ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rollback_leads_to_the_previous_or_the_named_version(store: Store):
    first, second, third = (publish(store, name, second=number) for number, name in enumerate("abc"))
    assert store.rollback() == second == store.current()
    assert store.rollback(third) == third == store.current()
    assert store.rollback(first) == first == store.current()
    with pytest.raises(NoRelease, match="nothing was served before"):
        store.rollback()
    assert store.current() == first
    assert store.versions() == [first, second, third]


def test_rollback_to_the_current_version_changes_nothing(store: Store):
    version = publish(store, "a")
    assert store.rollback(version) == version == store.current()


def test_rollback_refuses_a_damaged_version(open_store: Opener):
    store = open_store("one")
    publish(store, "a", second=1)
    second = publish(store, "b", second=2)
    overwrite(store, "segments/a/part-00000/vectors.f16", bytes(store.folder.size("segments/a/part-00000/vectors.f16")))
    with pytest.raises(CorruptFile, match=r"a/part-00000/vectors\.f16"):
        open_store("two").rollback()
    assert store.current() == second


def test_rollback_during_a_publish_is_a_conflict(store: Store, monkeypatch: pytest.MonkeyPatch):
    first, second = publish(store, "a", second=1), publish(store, "b", second=2)
    verify = Store.verify

    def publish_and_verify(self: Store, version: str | None = None) -> Manifest:
        monkeypatch.setattr(Store, "verify", verify)
        publish(store, "c", second=3)
        return verify(self, version)

    monkeypatch.setattr(Store, "verify", publish_and_verify)
    with pytest.raises(PublishConflict):
        store.rollback()
    assert store.current() not in (first, second)
