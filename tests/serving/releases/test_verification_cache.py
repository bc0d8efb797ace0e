"""The verification cache: what one worker verified, another need not, and they load one after the other."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from serving.releases.verification_cache import VerificationCache, file_state
from tests.waiting import wait_until


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    folder = tmp_path / "segment"
    folder.mkdir()
    (folder / "a").write_bytes(b"one")
    (folder / "b").write_bytes(b"two")
    return folder


@pytest.fixture
def shared_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "shared_dir"
    folder.mkdir()
    return folder


def test_workers_share_verified_segments(segment: Path, shared_dir: Path) -> None:
    assert not VerificationCache(shared_dir).holds(segment, "digest")
    VerificationCache(shared_dir).keep(segment, "digest", file_state(segment))
    assert VerificationCache(shared_dir).holds(segment, "digest")
    assert not VerificationCache(shared_dir).holds(segment, "another")
    next(shared_dir.iterdir()).write_text("[[")  # a worker died while it wrote
    assert not VerificationCache(shared_dir).holds(segment, "digest")
    VerificationCache(shared_dir).keep(segment, "digest", file_state(segment))
    shutil.copytree(segment, segment.parent / "copy")
    assert not VerificationCache(shared_dir).holds(segment.parent / "copy", "digest")


@pytest.mark.parametrize("change", ["content", "replaced", "removed", "added", "all"])
def test_changed_segment_has_to_be_verified_again(segment: Path, shared_dir: Path, change: str) -> None:
    cache = VerificationCache(shared_dir)
    cache.keep(segment, "digest", file_state(segment))
    stat = (segment / "a").stat()
    if change == "content":
        (segment / "a").write_bytes(b"One")
        os.utime(segment / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size and modification time as before
    elif change == "replaced":
        (segment / "c").write_bytes(b"one")
        (segment / "c").replace(segment / "a")
    elif change == "removed":
        (segment / "a").unlink()
    elif change == "added":
        (segment / "c").touch()
    else:
        shutil.rmtree(segment)
    assert not cache.holds(segment, "digest")


def test_cache_without_a_folder_records_nothing(segment: Path) -> None:
    cache = VerificationCache(None)
    with cache.lock(threading.Event()):
        cache.keep(segment, "digest", file_state(segment))
    assert not cache.holds(segment, "digest")


def test_lock_excludes_other_workers_until_the_process_stops(shared_dir: Path) -> None:
    stop, entered = threading.Event(), threading.Event()

    def enter() -> None:
        with VerificationCache(shared_dir).lock(stop):
            entered.set()

    for release in (lambda: None, stop.set):
        entered.clear()
        other = threading.Thread(target=enter)
        with VerificationCache(shared_dir).lock(stop):
            other.start()
            assert not entered.wait(0.3)
            release()
            if stop.is_set():
                wait_until(entered.is_set)
        other.join()
        assert entered.is_set()
