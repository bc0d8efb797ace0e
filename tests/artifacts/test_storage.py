"""A folder, on this machine or on a URL: a file exists whole or not at all."""

from __future__ import annotations

import errno
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from artifacts import storage
from artifacts.storage import Folder, sha256_of


def files_in(folder: Folder) -> list[str]:
    """Names of all files of a folder on this machine, also of half-written ones."""
    return sorted(path.name for path in folder.local().rglob("*") if path.is_file())


def test_files_are_written_listed_and_read(url: str):
    folder = Folder(url)
    assert folder.names() == []
    assert not folder.exists("a/b.txt")
    folder.write_text("a/b.txt", "grün\n")
    folder.write_bytes("c", b"\x00\xff")
    assert folder.names() == ["a", "c"]
    assert folder.names("a") == ["b.txt"]
    assert folder.names("nowhere") == []
    assert folder.read_text("a/b.txt") == "grün\n"
    assert folder.size("c") == 2
    assert (folder / "a").read_text("b.txt") == "grün\n"
    with folder.open("c") as file:
        file.seek(1)
        assert file.read() == b"\xff"


def test_a_file_is_replaced_by_a_shorter_one(url: str):
    folder = Folder(url)
    folder.write_text("x", "a longer text")
    folder.write_text("x", "short")
    assert folder.read_text("x") == "short"


@pytest.mark.parametrize("target", ["x", "deep/er/x"])
def test_a_failed_write_keeps_the_old_file(url: str, target: str):
    folder = Folder(url)
    folder.write_text(target, "old")

    def fail() -> None:
        with folder.writing(target) as path:
            path.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert folder.read_text(target) == "old"
    if folder.is_local:
        assert files_in(folder) == ["x"]


def test_a_full_disk_keeps_the_old_file(url: str, monkeypatch: pytest.MonkeyPatch):
    folder = Folder(url)
    folder.write_text("x", "old")

    def fail_halfway(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail_halfway)
    with pytest.raises(OSError, match="No space left"):
        folder.write_text("x", "the new text")
    monkeypatch.undo()
    assert folder.read_text("x") == "old"
    assert folder.names() == ["x"]
    if folder.is_local:
        assert files_in(folder) == ["x"]


def test_half_written_files_are_not_listed(tmp_path: Path):
    (tmp_path / f"{storage.TEMPORARY}1234-x").write_text("half")
    assert Folder(tmp_path).names() == []


def test_create_succeeds_for_one_of_several_writers(url: str):
    folder = Folder(url)
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: folder.create("lock", str(number).encode()), range(8)))
    if folder.is_local:  # fsspec's memory filesystem is not atomic between threads
        assert sum(created) == 1
        assert folder.read_text("lock") == str(created.index(True))
        assert files_in(folder) == ["lock"]
    assert not folder.create("lock", b"late")
    assert folder.read_bytes("lock") != b"late"


def test_remove_deletes_files_and_folders(url: str):
    folder = Folder(url)
    folder.write_text("a/b/c", "1")
    folder.write_text("d", "1")
    folder.remove("a")
    folder.remove("d")
    folder.remove("missing")
    assert folder.names() == []
    assert not folder.exists("a/b/c")


def test_a_remote_folder_has_no_local_path():
    with pytest.raises(ValueError, match="not a folder on this machine"):
        Folder("memory://x").local()


@pytest.mark.parametrize("url", ["memory://", "memory:///"])
def test_the_root_of_a_url_is_not_a_local_folder(url: str):
    """The slashes of a URL are not a trailing slash: `memory:` would be a local folder of that name."""
    folder = Folder(url)
    assert not folder.is_local
    folder.write_text("root-test/x", "1")
    assert (folder / "root-test").read_text("x") == "1"
    folder.remove("root-test")


def test_a_trailing_slash_does_not_matter(tmp_path: Path):
    assert Folder(f"{tmp_path}/").path("x") == Folder(tmp_path).path("x")


def test_concurrent_writers_leave_one_whole_file(url: str):
    folder = Folder(url)
    contents = [bytes([65 + number]) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: folder.write_bytes("x", content), contents))
    assert folder.read_bytes("x") in contents
    assert folder.names() == ["x"]


def test_sha256_is_that_of_the_content(tmp_path: Path):
    path = tmp_path / "x"
    path.write_bytes(b"abc" * 1_000_000)
    assert sha256_of(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
