"""Files beside the catalog: regular files inside its folder are read, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from artifacts.errors import PictureError
from artifacts.schema import Reason
from jobs.catalog.local_pictures import NO_FILE
from jobs.download.local import CatalogFolder

LIMIT = 1000


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = tmp_path / "shop"
    (base / "images").mkdir(parents=True)
    (base / "images" / "größe 1%.jpg").write_bytes(b"picture")
    (base / "a.jpg").write_bytes(b"a")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "shop-2").mkdir()
    (tmp_path / "shop-2" / "a.jpg").write_bytes(b"another shop")
    return base


def read_failure(folder: CatalogFolder, url: str) -> Reason:
    """Return the reason for which a file cannot be read."""
    with pytest.raises(PictureError) as error:
        folder.read(url, LIMIT)
    return error.value.reason


def test_file_inside_the_folder_is_read(base: Path) -> None:
    folder = CatalogFolder(str(base))
    assert folder.read("images/größe 1%.jpg", LIMIT) == b"picture"
    assert folder.read("./images/../a.jpg", LIMIT) == b"a"
    assert folder.read(str(base / "a.jpg"), LIMIT) == b"a"
    assert folder.read((base / "images" / "größe 1%.jpg").as_uri(), LIMIT) == b"picture"
    assert folder.read(f"file://localhost{base}/a.jpg", LIMIT) == b"a"


def test_file_outside_the_folder_is_rejected(base: Path, tmp_path: Path) -> None:
    folder = CatalogFolder(str(base))
    (base / "link").symlink_to(tmp_path / "secret")
    (base / "folder").symlink_to(tmp_path)
    (base / "inner").symlink_to(base / "a.jpg")
    for url in [
        "../secret", "images/../../secret", str(tmp_path / "secret"), "/etc/hostname", "file:///etc/hostname", "link",
        "folder/secret", "../shop-2/a.jpg", f"{base}/../secret", "file:..%2fsecret", "..", "/",
    ]:  # fmt: skip
        assert read_failure(folder, url) == Reason.OUTSIDE_CATALOG, url
    assert folder.read("inner", LIMIT) == b"a"


def test_folder_may_be_a_link(base: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(base)
    assert CatalogFolder(str(tmp_path / "current")).read("a.jpg", LIMIT) == b"a"


def test_catalog_without_a_folder_has_no_files() -> None:
    folder = CatalogFolder(None)
    assert read_failure(folder, "a.jpg") == Reason.OUTSIDE_CATALOG
    assert read_failure(folder, "/etc/hostname") == Reason.OUTSIDE_CATALOG
    assert read_failure(folder, "") == Reason.BAD_URL
    assert folder.stamp("a.jpg") is None


def test_missing_or_irregular_file_is_not_found(base: Path) -> None:
    folder = CatalogFolder(str(base))
    os.mkfifo(base / "pipe.jpg")
    (base / "loop").symlink_to("loop")
    (base / "gone").symlink_to("nothing")
    for url in [
        "none.jpg",
        "images",
        "images/",
        ".",
        "pipe.jpg",
        "loop",
        "gone",
        "a.jpg/b",
        "x" * 5000,
        "a\udc80\ud800",
    ]:
        assert read_failure(folder, url) == Reason.FILE_NOT_FOUND, url
        assert folder.stamp(url) == NO_FILE, url


def test_large_files_and_other_schemes_are_rejected(base: Path) -> None:
    folder = CatalogFolder(str(base))
    (base / "large.jpg").write_bytes(b"x" * (LIMIT + 1))
    assert read_failure(folder, "large.jpg") == Reason.TOO_MANY_BYTES
    for url in ["ftp://x/a.jpg", "s3://bucket/a.jpg", "file://elsewhere/a.jpg", "data:x", "a\0b", ""]:
        assert read_failure(folder, url) == Reason.BAD_URL, url


def test_device_is_never_opened(base: Path) -> None:
    assert read_failure(CatalogFolder("/dev"), "zero") == Reason.FILE_NOT_FOUND


def test_stamp_changes_with_the_file(base: Path) -> None:
    folder = CatalogFolder(str(base))
    before = folder.stamp("a.jpg")
    assert before == folder.stamp(str(base / "a.jpg"))
    os.utime(base / "a.jpg", ns=(1, 1))
    assert folder.stamp("a.jpg") == "1:1" != before
    assert folder.stamp("none.jpg") == NO_FILE
    assert folder.stamp("../secret") == NO_FILE
    assert folder.stamp("http://x.example/a.jpg") is None
    assert folder.stamp("//x.example/a.jpg") is None


@pytest.fixture
def memory() -> Iterator[str]:
    store = fsspec.filesystem("memory")
    store.pipe_file("/catalog-tests/shop/images/a.jpg", b"remote")
    store.pipe_file("/catalog-tests/secret.jpg", b"secret")
    yield "memory://catalog-tests/shop"
    store.rm("/catalog-tests", recursive=True)


def test_folder_may_be_on_a_store(memory: str) -> None:
    folder = CatalogFolder(memory)
    assert folder.read("images/a.jpg", LIMIT) == b"remote"
    assert folder.read(f"{memory}/images/a.jpg", LIMIT) == b"remote"
    assert folder.stamp("images/a.jpg") is None
    assert read_failure(folder, "images/b.jpg") == Reason.FILE_NOT_FOUND
    assert read_failure(folder, "images") == Reason.FILE_NOT_FOUND
    assert read_failure(folder, "ftp://x/y") == Reason.BAD_URL
    for url in ["../secret.jpg", "images/../../secret.jpg", "/etc/hostname", "memory://catalog-tests/secret.jpg", ".."]:
        assert read_failure(folder, url) == Reason.OUTSIDE_CATALOG, url
    with pytest.raises(PictureError) as error:
        folder.read("images/a.jpg", 3)
    assert error.value.reason == Reason.TOO_MANY_BYTES


def test_folder_may_be_on_the_web() -> None:
    folder = CatalogFolder("https://shop.example/feeds")
    assert str(folder.web_url("images/a b.jpg")) == "https://shop.example/feeds/images/a%20b.jpg"
    assert str(folder.web_url("/images/a.jpg")) == "https://shop.example/images/a.jpg"
    assert str(folder.web_url("//cdn.example/a.jpg")) == "https://cdn.example/a.jpg"
    assert folder.web_url("ftp://x/a.jpg") is None
    assert read_failure(folder, "ftp://x/a.jpg") == Reason.BAD_URL
    assert folder.depends("images/a.jpg")
    assert not folder.depends("HTTP://shop.example/a.jpg")
