"""The pointer to the version being served: one process moves it at a time, and none moves it unseen."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from artifacts.errors import PublishConflict
from artifacts.storage import Folder
from artifacts.store.pointer import Pointer
from artifacts.store.store import Store
from tests.artifacts.building import manifest_of, store_segment
from tests.artifacts.store.publisher import CONFLICT, Publishers
from tests.artifacts.store.store_building import FILES, Opener, publish


def test_the_pointer_moves_only_from_the_expected_version(url: str):
    pointer = Pointer(Folder(url))
    assert pointer.read() is None
    pointer.move("a", expected=None)
    assert pointer.read() == "a"
    pointer.move("a", expected="outdated")  # it is there already
    with pytest.raises(PublishConflict, match="CURRENT is a, not None"):
        pointer.move("b", expected=None)
    assert pointer.read() == "a"
    pointer.move("b", expected="a")
    assert pointer.read() == "b"


@pytest.mark.parametrize("content", [b"2020-01-01T00:00:00+00:00 dead", b"", b"nonsense"])
def test_a_stale_lock_is_ignored(store: Store, content: bytes):
    store.folder.write_bytes("CURRENT.lock", content)
    assert publish(store, "a") == store.current()


def test_a_fresh_lock_is_respected(open_remote: Opener):
    """Folders of this machine are locked by the kernel, which releases the locks of dead processes."""
    store = open_remote("one")
    before = publish(store, "a")
    lock = f"{datetime.now(UTC).isoformat()} other".encode()
    store.folder.write_bytes("CURRENT.lock", lock)
    with pytest.raises(PublishConflict, match="another process is publishing"):
        publish(store, "b")
    assert store.current() == before
    assert store.folder.read_bytes("CURRENT.lock") == lock


def test_one_of_many_threads_wins(open_store: Opener):
    """On a folder, fcntl.flock distinguishes open files, not processes, so threads can stand for processes."""
    first = publish(open_store("one"), "a", second=1)
    stores = [open_store("one") for _ in range(6)]
    for number in range(6):
        store_segment(stores[0], f"s{number}", seed=number)
    start = threading.Barrier(6)

    def race(number: int) -> str | None:
        store = stores[number]
        manifest = manifest_of([store.reference(f"s{number}")], second=2)
        start.wait()
        try:
            return store.publish(manifest, FILES, expected=first)
        except PublishConflict:
            return None

    with ThreadPoolExecutor(6) as pool:
        winners = [version for version in pool.map(race, range(6)) if version]
    assert len(winners) == 1
    assert stores[0].verify().version == winners[0] == stores[0].current()


def test_one_of_two_processes_wins(tmp_path: Path, publishers: Publishers):
    root = str(tmp_path / "r")
    store = Store(root, tmp_path)
    for segment in ("b", "c"):
        store_segment(store, segment)
    for second in range(3, 8):
        before = publish(store, "a", f"a{second}", second=second)
        codes = publishers.run(("race", root, "b", before), ("race", root, "c", before))
        assert sorted(codes) == [0, CONFLICT]
        assert [segment.id for segment in store.verify().segments] == ["bc"[codes.index(0)]]
