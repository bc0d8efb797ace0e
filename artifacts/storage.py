"""A folder on this machine or on any store that fsspec reaches (s3://, gs://, memory://, …).

It guarantees that a reader sees a file whole or not at all. Locally that takes a temporary file, fsync and a rename;
object stores make a put visible at once by themselves.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

#: Prefix of the names of files being written: readers skip them, and `Store.prune` removes those a crash has left.
TEMPORARY = ".tmp-"


class Folder:
    """A folder. Names of files within it are relative, with `/` on every store.

    Args:
        url: path on this machine, or fsspec URL.
    """

    def __init__(self, url: str | Path) -> None:
        url = str(url).rstrip("/") or "/"
        self.url = f"{url}//" if url.endswith(":") else url  # the root of a store, as in memory://
        self.fs, self.root = fsspec.core.url_to_fs(self.url)
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def __repr__(self) -> str:
        return f"Folder({self.url!r})"

    def __truediv__(self, name: str) -> Folder:
        """Return a folder inside this one."""
        return Folder(f"{self.url}{'' if self.url.endswith('/') else '/'}{name}")

    def path(self, name: str) -> str:
        """Return the path of `name` as the folder's fsspec filesystem takes it."""
        return f"{self.root}/{name}" if name else self.root

    def local(self, name: str = "") -> Path:
        """Return the path of `name` on this machine.

        Raises:
            ValueError: the folder is not on this machine.
        """
        if not self.is_local:
            raise ValueError(f"{self.url} is not a folder on this machine")
        return Path(self.path(name))

    def exists(self, name: str = "") -> bool:
        """Return whether a file or a folder of that name exists; the folder itself by default."""
        return self.fs.exists(self.path(name))

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return int(self.fs.size(self.path(name)))

    def names(self, name: str = "") -> list[str]:
        """Return the sorted names of a folder's entries, without half-written files; [] if there is no such folder."""
        self.fs.invalidate_cache(self.path(name))
        try:
            entries = self.fs.ls(self.path(name), detail=False)
        except FileNotFoundError:
            return []
        names = {str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries}
        return sorted(name for name in names if not name.startswith(TEMPORARY))

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading; it is seekable, so Parquet can be read from it."""
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
        """Yield a local temporary path to write to; it becomes `name` if the block succeeds, and is removed otherwise.

        Concurrent writers of one name do not disturb each other: temporary names are unique, and the last rename wins.
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
        """Copy a file of this machine into a folder that is on another store."""
        target = self.path(name)
        self.fs.makedirs(posixpath.dirname(target), exist_ok=True)
        self.fs.put_file(str(path), target)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless one of that name exists; atomic between writers. Return whether it was written."""
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
        """Remove a file, or a folder with its contents; do nothing if it does not exist."""
        if self.is_local:
            target = self.local(name)
            while target.is_dir():
                with suppress(FileNotFoundError):  # another process removes it too, and was faster with a file
                    shutil.rmtree(target)
            target.unlink(missing_ok=True)
        elif self.exists(name):
            with suppress(FileNotFoundError):  # another process was faster
                self.fs.rm(self.path(name), recursive=True)

    def last_written(self, name: str = "") -> datetime | None:
        """Return when a file of a folder was written last, aware; None where that is not known."""
        try:
            times = [self.fs.modified(path).astimezone(UTC) for path in self.fs.find(self.path(name))]
        except FileNotFoundError:  # a file was removed meanwhile
            return None
        except NotImplementedError:  # so fsspec says that a file system keeps no times
            return None
        return max(times, default=None)

    def info(self, name: str) -> dict[str, Any]:
        """Return size, times and type of a file, as fsspec describes them."""
        return self.fs.info(self.path(name))


def temporary_in(folder: Path, name: str) -> Path:
    """Return a new path with a temporary name in a folder on this machine, which is made if need be.

    Args:
        name: what it will be, for people.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{name}"


def fsync(path: Path) -> None:
    """Make a file's content, or a folder's entries, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content, in hex; the file is read once, in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
