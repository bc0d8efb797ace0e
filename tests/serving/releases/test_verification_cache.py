"""What the workers of one server check once for all of them."""

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


def test_what_one_worker_keeps_another_holds(segment: Path, shared_dir: Path) -> None:
    assert not VerificationCache(shared_dir).holds(segment, "digest")
    VerificationCache(shared_dir).keep(segment, "digest", file_state(segment))
    assert VerificationCache(shared_dir).holds(segment, "digest")
    assert not VerificationCache(shared_dir).holds(segment, "another")
    next(shared_dir.iterdir()).write_text("[[")  # a worker died while it wrote
    assert not VerificationCache(shared_dir).holds(segment, "digest")
    VerificationCache(shared_dir).keep(segment, "digest", file_state(segment))
    shutil.copytree(segment, segment.parent / "copy")
    assert not VerificationCache(shared_dir).holds(segment.parent / "copy", "digest")


@pytest.mark.parametrize("touch", ["content", "replaced", "removed", "added", "all"])
def test_what_was_touched_is_to_be_checked_again(segment: Path, shared_dir: Path, touch: str) -> None:
    checked = VerificationCache(shared_dir)
    checked.keep(segment, "digest", file_state(segment))
    stat = (segment / "a").stat()
    if touch == "content":
        (segment / "a").write_bytes(b"One")
        os.utime(segment / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # size and time of writing are as before
    elif touch == "replaced":
        (segment / "c").write_bytes(b"one")
        (segment / "c").replace(segment / "a")
    elif touch == "removed":
        (segment / "a").unlink()
    elif touch == "added":
        (segment / "c").touch()
    else:
        shutil.rmtree(segment)
    assert not checked.holds(segment, "digest")


def test_a_process_by_itself_remembers_nothing(segment: Path) -> None:
    checked = VerificationCache(None)
    with checked.turn(threading.Event()):
        checked.keep(segment, "digest", file_state(segment))
    assert not checked.holds(segment, "digest")


def test_one_at_a_time_until_all_is_to_end(shared_dir: Path) -> None:
    stop, entered = threading.Event(), threading.Event()

    def next_one() -> None:
        with VerificationCache(shared_dir).turn(stop):
            entered.set()

    for end in (lambda: None, stop.set):
        entered.clear()
        other = threading.Thread(target=next_one)
        with VerificationCache(shared_dir).turn(stop):
            other.start()
            assert not entered.wait(0.3)
            end()
            if stop.is_set():
                wait_until(entered.is_set)
        other.join()
        assert entered.is_set()
