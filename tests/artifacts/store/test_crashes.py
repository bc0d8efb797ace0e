"""Killed processes and full disks: the old version is served, and a re-run succeeds."""

from __future__ import annotations

import errno
import shutil
import signal
from pathlib import Path

import pytest

from artifacts.storage import TEMPORARY
from artifacts.store.store import Store
from tests.artifacts.building import manifest_of, store_segment
from tests.artifacts.store.publisher import FULL, Publishers, build_and_publish
from tests.artifacts.store.store_building import FILES, publish

pytestmark = pytest.mark.slow


def test_a_publish_survives_a_kill_at_every_disk_call(tmp_path: Path, publishers: Publishers):
    base = Store(str(tmp_path / "base"), tmp_path)
    old = publish(base, "old", second=1)
    number, finished = 0, False
    while not finished:
        number += 1
        root = tmp_path / "r"
        shutil.copytree(tmp_path / "base", root)
        [code] = publishers.run(("die_before_disk_call", str(root), number))
        assert code in (0, -signal.SIGKILL)
        finished = code == 0
        store = Store(str(root), tmp_path)
        # One complete version is served: the old one, or the new one.
        ids = [segment.id for segment in store.verify().segments]
        assert ids == (["old"] if store.current() == old else ["old", "new"])
        for version in store.versions():
            store.verify(version)
        # A re-run ends as if there had been no crash.
        assert build_and_publish(str(root)) == store.current() == store.versions()[-1]
        assert [segment.id for segment in store.verify().segments] == ["old", "new"]
        assert len(store.versions()) == 2
        assert store.rollback() == old
        store.prune(1, grace_seconds=-1)
        assert not list(root.rglob(f"{TEMPORARY}*"))
        shutil.rmtree(root)
    assert number > 25


@pytest.mark.parametrize("limit", [0, 1000, 20_000, 100_000])
def test_a_disk_that_is_full_for_a_segment_leaves_nothing(tmp_path: Path, publishers: Publishers, limit: int):
    """Whichever file it is that no longer fits."""
    store = Store(str(tmp_path / "r"), tmp_path)
    old = publish(store, "a")
    assert publishers.run(("fill_disk", str(tmp_path / "r"), limit)) == [FULL]
    assert store.folder.names("segments") == ["a"]
    assert list((tmp_path / "r").rglob(f"{TEMPORARY}*")) == []
    assert store.verify().version == old


@pytest.mark.parametrize("name", ["manifest.json", "CURRENT", "report.html"])
def test_a_disk_that_is_full_for_a_version_keeps_the_old_one(store: Store, name: str, monkeypatch: pytest.MonkeyPatch):
    old = publish(store, "a", second=1)
    reference = store_segment(store, "b")
    write_bytes = Path.write_bytes

    def fail_halfway(path: Path, content: bytes) -> int:
        if path.name.endswith(name):
            write_bytes(path, content[:2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, content)

    manifest = manifest_of([reference], second=2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail_halfway)
        with pytest.raises(OSError, match="No space left"):
            store.publish(manifest, FILES, expected=old)
    assert store.current() == old
    assert store.verify().version == old
    if store.folder.is_local:
        assert list(store.folder.local().rglob(f"{TEMPORARY}*")) == []
    version = store.publish(manifest, FILES, expected=old)
    assert store.current() == version
    assert len(store.versions()) == 2
