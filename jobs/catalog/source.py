"""A catalog's source, opened but not yet read, and the files that it consists of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import fsspec
from fsspec.implementations.local import LocalFileSystem

from artifacts.errors import CatalogError
from artifacts.storage import sha256_of
from jobs.catalog.staging import Staging

#: How Hive and Spark name the folder of a missing value.
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+._-]+)://")


@dataclass(frozen=True)
class Part:
    """A file of a catalog; the rows of its parts follow each other.

    Attributes:
        name: its path below the catalog's folder, which names it in messages.
        file: the file, or a copy of it, on this machine.
        of_several: whether the catalog has others, which may not be read.
    """

    name: str
    file: Path
    of_several: bool = False

    @property
    def label(self) -> str:
        """Return what rejects and messages call the part; empty if it is the only one."""
        return self.name if self.of_several else ""

    @property
    def partition(self) -> dict[str, str | None]:
        """Return the values of folders that are named key=value, as Hive and Spark write them."""
        pairs = (folder.partition("=") for folder in self.name.split("/")[:-1])
        return {key: None if value == HIVE_NULL else unquote(value) for key, equals, value in pairs if key and equals}

    @cached_property
    def digest(self) -> str:
        """The sha256 of the file."""
        return sha256_of(self.file)

    @property
    def short_digest(self) -> str:
        """The first 16 hexadecimal digits of the digest: a release keeps those of all parts."""
        return self.digest[:16]


@dataclass(frozen=True)
class Source:
    """A catalog that exists but has not been read yet.

    Attributes:
        display_name: the source in reports and messages, without passwords.
        base: path or URL of the folder that relative picture paths are resolved against; None for a database.
        content: fingerprint of the content; None if it is known only after reading.
        read: reads the parts, or what is not in files, into a staging file.
        parts: the files, in the order of their names; none of a database or a folder of pictures.
    """

    display_name: str
    base: str | None
    content: str | None
    read: Callable[[Sequence[Part], Staging], None]
    parts: Sequence[Part] = ()

    def stage(self, staging: Staging) -> None:
        """Read the catalog into a staging file."""
        self.read(self.parts, staging)

    def with_base(self, base: str) -> Source:
        """Return the source with another folder or URL for relative pictures; the same source if it is empty."""
        return replace(self, base=base) if base else self

    def without(self, applied: Mapping[str, str]) -> Source:
        """Return the source without the parts that have these names and short digests."""
        return replace(self, parts=[part for part in self.parts if applied.get(part.name) != part.short_digest])


def partition_keys(parts: Sequence[Part]) -> list[str]:
    """Return the keys of the parts' partitions, in order of appearance; each is a column."""
    return list(dict.fromkeys(key for part in parts for key in part.partition))


@contextmanager
def part_errors(part: Part) -> Iterator[None]:
    """Name the part in the message of a CatalogError, if there are several."""
    try:
        yield
    except CatalogError as error:
        raise CatalogError(f"{part.label}: {error}") if part.label else error from None


def is_url(source: str) -> bool:
    return _SCHEME.match(source) is not None


def is_database(source: str) -> bool:
    """Return whether a source is a URL that fsspec does not know, and so one of a database."""
    scheme = _SCHEME.match(source)
    return scheme is not None and scheme[1].split("+")[0].lower() not in fsspec.available_protocols()


def without_password(source: str) -> str:
    """Return a source for messages and reports: without user and password, and without a database's table or query."""
    name = source.partition("#")[0] if is_url(source) else source
    return hide_password_option(re.sub(r"://([^@/]*:[^@]*|[^@/]*)@", "://***@", name))


def hide_password_option(url: str) -> str:
    """Hide the value of a URL's option `password`, which libpq accepts."""
    return re.sub(r"(?i)([?&]password=)[^&#]*", r"\1***", url)


def open_filesystem(source: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system of a source, and the source's path in it.

    Raises:
        CatalogError: the URL is invalid, or a package for it is not installed.
    """
    try:
        fs, path = fsspec.core.url_to_fs(source if is_url(source) else str(Path(source).expanduser()))
    except (ImportError, ValueError) as error:  # fsspec names the missing package, or what is wrong with the URL
        raise CatalogError(f"cannot open {without_password(source)}: {error}") from None
    fs.invalidate_cache()  # file systems are kept for as long as the process lives, with the listings that they made
    return fs, path


def base_url(fs: fsspec.AbstractFileSystem, folder: str) -> str:
    """Return a folder as a Source's base: an absolute path if it is local, else a URL."""
    return str(Path(folder).absolute()) if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(folder)


def fetch_part(fs: fsspec.AbstractFileSystem, path: str, name: str, scratch: Path, *, of_several: bool = False) -> Part:
    """Return a file as a part of that name; a remote file is copied to `scratch`."""
    if isinstance(fs, LocalFileSystem):
        return Part(name, Path(path), of_several)
    copy = scratch / "source" / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    fs.get_file(path, str(copy))
    return Part(name, copy, of_several)
