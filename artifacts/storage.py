"""A folder that may be on this machine or on any store that fsspec reaches (s3://, gs://, memory://, …).

Only what the rest needs, and with one promise: a file is there whole or not at all. Locally that is a temporary file,
fsync, rename; object stores make a put visible at once by themselves.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

#: Names of files being written start so; readers skip them, and `Store.prune` collects what a crash has left.
TEMPORARY = ".tmp-"


class Folder:
    """A folder by path or URL. Relative names use `/` on every store."""

    def __init__(self, url: str | Path) -> None:
        url = str(url).rstrip("/") or "/"
        self.url = f"{url}//" if url.endswith(":") else url  # the root of a store, as in memory://
        self.fs, self.root = fsspec.core.url_to_fs(self.url)
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def __repr__(self) -> str:
        return f"Folder({self.url!r})"

    def __truediv__(self, name: str) -> Folder:
        return Folder(f"{self.url}{'' if self.url.endswith('/') else '/'}{name}")

    def path(self, name: str) -> str:
        """The path of `name` as this folder's filesystem wants it."""
        return f"{self.root}/{name}" if name else self.root

    def local(self, name: str = "") -> Path:
        """The path of `name` on this machine.

        Raises:
            ValueError: the folder is not on this machine.
        """
        if not self.is_local:
            raise ValueError(f"{self.url} is not a folder on this machine")
        return Path(self.path(name))

    def exists(self, name: str = "") -> bool:
        return self.fs.exists(self.path(name))

    def size(self, name: str) -> int:
        return int(self.fs.size(self.path(name)))

    def names(self, name: str = "") -> list[str]:
        """Names (not paths) of what is in the folder, sorted, without half-written files; empty if there is none."""
        self.fs.invalidate_cache(self.path(name))
        try:
            entries = self.fs.ls(self.path(name), detail=False)
        except FileNotFoundError:
            return []
        found = {str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries}
        return sorted(entry for entry in found if not entry.startswith(TEMPORARY))

    def open(self, name: str) -> IO[bytes]:
        """The file for reading; seekable, so Parquet can be read from it."""
        return self.fs.open(self.path(name), "rb")

    def read_bytes(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()

    def read_text(self, name: str) -> str:
        return self.read_bytes(name).decode()

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write the file whole or not at all."""
        with self.writing(name) as temporary:
            temporary.write_bytes(content)

    def write_text(self, name: str, content: str) -> None:
        self.write_bytes(name, content.encode())

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A local temporary path to write; when the block ends well it becomes `name`, otherwise it is gone.

        Two writers of one name do not meet: the temporary name is unique, and the last rename wins whole.
        """
        if self.is_local:
            target = self.local(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.parent / f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{target.name}"
            try:
                yield temporary
                fsync(temporary)
                temporary.replace(target)
                fsync(target.parent)
            finally:
                temporary.unlink(missing_ok=True)
            return
        with tempfile.TemporaryDirectory(prefix="lookalike-") as scratch:
            temporary = Path(scratch) / Path(name).name
            yield temporary
            self.put(temporary, name)

    def put(self, path: Path, name: str) -> None:
        """Copy a file of this machine into a folder that is not on it."""
        self.fs.makedirs(self.fs._parent(self.path(name)), exist_ok=True)
        self.fs.put_file(str(path), self.path(name))

    def create(self, name: str, content: bytes) -> bool:
        """Write the file only if there is none of that name; False if there is. Atomic between writers."""
        if self.is_local:
            target = self.local(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.parent / f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{target.name}"
            try:
                temporary.write_bytes(content)
                fsync(temporary)
                os.link(temporary, target)  # fails if the name is taken; a rename would overwrite it
                return True
            except FileExistsError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
        try:
            self.fs.pipe_file(self.path(name), content, mode="create")
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all in it; nothing happens if there is none."""
        if self.is_local:
            target = self.local(name)
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
        elif self.exists(name):
            self.fs.rm(self.path(name), recursive=True)

    def info(self, name: str) -> dict[str, Any]:
        return self.fs.info(self.path(name))


def fsync(path: Path) -> None:
    """Make a file's content, or a folder's entries, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """sha256 of a file's content, in hex; reads it once, in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
