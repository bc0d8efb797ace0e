"""Embeddings in Parquet files: a folder, or the URL of an object store, that needs no server.

    <store>/<encoder>-<digest>/
      000010000-<id>.parquet       rows of one put or one merge, sorted by sha256; the name begins with their number
      merge.lease                  while a process merges files

Files are written under names of their own and never changed, so any number of processes may read and write. Each put
is a file; when eight files are of about one size, the writer merges them, up to files of four million rows. So a row
is written once for each power of eight, and of a hundred million rows there are about 25 large files and a few dozen
small ones. A reader whose file was merged meanwhile looks again.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar

import numpy as np

from artifacts.errors import EmbeddingStoreError, InputError
from artifacts.features.base import EmbeddingStore
from artifacts.features.parquet_file import KEY_DTYPE, DamagedFile, VectorFile, VectorFileWriter
from artifacts.lease import Lease
from artifacts.storage import TEMPORARY, Folder

_NAME = re.compile(r"(\d{9})-\w+\.parquet")
#: Files of about one size that are merged into one.
_MERGED_FILES = 8
#: Rows above which a file is not merged any more: of 512 dimensions 4 GB.
_MAX_ROWS = 4_000_000
#: Row groups of a merge that are in memory at a time, about.
_MERGED_GROUPS = 64
#: Times that a reader looks again for files that were merged meanwhile.
_LOOKS = 10
#: Age in seconds from which a temporary file is one that a killed process has left.
_ABANDONED_SECONDS = 86_400

_log = logging.getLogger(__name__)


class ParquetStore(EmbeddingStore):
    """Vectors in the Parquet files of a folder, which is made if need be.

    Args:
        url: path on this machine, or fsspec URL.

    Raises:
        InputError: fsspec does not know the URL's protocol, or its package is not installed.
    """

    rows_per_call: ClassVar[int] = 100_000

    def __init__(self, url: str) -> None:
        self._url = url
        try:
            self._folder = Folder(url)
        except (ValueError, ImportError) as error:
            raise InputError(f"embedding_store {url!r}: {error}") from error
        self._lock = threading.Lock()
        self._files: dict[str, VectorFile | None] = {}  # by path; None is a damaged one

    def _read(self, encoder_id: str, keys: list[bytes], found: np.ndarray, vectors: np.ndarray) -> None:
        dim = vectors.shape[1]
        folder = self._folder / _folder_name(encoder_id, dim)
        unsorted = np.array(keys, KEY_DTYPE)
        order = np.argsort(unsorted)
        with self._failures():
            for _ in range(_LOOKS):
                missing = order[~found[order]]
                try:
                    for file in self._open_files(folder, encoder_id, dim):
                        for positions, block in self._lookup(file, unsorted[missing]):
                            found[missing[positions]] = True
                            vectors[missing[positions]] = block
                        missing = order[~found[order]]
                    return
                except FileNotFoundError:
                    continue
            raise EmbeddingStoreError(f"embedding store {self._url}: files vanish faster than they can be read")

    def _write(self, encoder_id: str, keys: list[bytes], vectors: np.ndarray) -> None:
        dim = vectors.shape[1]
        folder = self._folder / _folder_name(encoder_id, dim)
        unsorted = np.array(keys, KEY_DTYPE)
        order = np.argsort(unsorted)
        with self._failures():
            with (
                folder.writing(_file_name(len(keys))) as path,
                VectorFileWriter(path, encoder_id, dim) as writer,
            ):
                writer.append(unsorted[order], vectors[order])
            while self._merge(folder, encoder_id, dim):
                pass

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _open_files(self, folder: Folder, encoder_id: str, dim: int) -> list[VectorFile]:
        """Return the files of an encoder that can be read, the largest first."""
        names = sorted((name for name in folder.names() if _NAME.fullmatch(name)), reverse=True)
        paths = {folder.path(name): name for name in names}
        with self._lock:
            prefix = folder.path("")
            for path in [path for path in self._files if path.startswith(f"{prefix}/") and path not in paths]:
                del self._files[path]
        files = [self._open_file(folder, name, encoder_id, dim) for name in names]
        return [file for file in files if file is not None]

    def _open_file(self, folder: Folder, name: str, encoder_id: str, dim: int) -> VectorFile | None:
        path = folder.path(name)
        if path not in self._files:
            try:
                file = VectorFile.open(folder, name, encoder_id, dim)
            except DamagedFile as error:
                self._ignore(folder, name, error)
            else:
                with self._lock:
                    self._files[path] = file
        return self._files.get(path)

    def _lookup(self, file: VectorFile, keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield what a file has of some keys; nothing more once it turns out to be damaged."""
        try:
            yield from file.lookup(keys)
        except DamagedFile as error:
            self._ignore(file.folder, file.name, error)

    def _ignore(self, folder: Folder, name: str, error: DamagedFile) -> None:
        with self._lock:
            self._files[folder.path(name)] = None
        _log.warning("%s is ignored and can be deleted: %s", folder.path(name), error)

    # ── merging ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _merge(self, folder: Folder, encoder_id: str, dim: int) -> bool:
        """Merge files of about one size, if there are enough; return whether that was done.

        Inputs are removed after their rows are in the new file. If this is killed, some rows are in two files.
        """
        if not self._mergeable(folder):
            return False
        with Lease(folder, "merge.lease").held(seconds=0) as held:
            names = self._mergeable(folder) if held else []
            try:
                opened = [self._open_file(folder, name, encoder_id, dim) for name in names]
                files = [file for file in opened if file is not None]
                if len(files) < 2:
                    return False
                with (
                    folder.writing(_file_name(sum(file.rows for file in files))) as path,
                    VectorFileWriter(path, encoder_id, dim) as writer,
                ):
                    for keys, vectors in self._merged(files):
                        writer.append(keys, vectors)
            except (DamagedFile, FileNotFoundError):  # the latter: another process has merged them
                return False
            for file in files:
                folder.remove(file.name)
            if folder.is_local:
                _remove_abandoned(folder)
        return True

    def _mergeable(self, folder: Folder) -> list[str]:
        """Return the names of files of about one size that are to be merged; none if there are too few."""
        sizes: dict[int, list[tuple[int, str]]] = defaultdict(list)
        for name in folder.names():
            match = _NAME.fullmatch(name)
            damaged = self._files.get(folder.path(name), ...) is None
            if match and not damaged and (rows := int(match[1])) <= _MAX_ROWS // 2:
                sizes[int(math.log(max(rows, 1), _MERGED_FILES))].append((rows, name))
        alike = next((sorted(sizes[size]) for size in sorted(sizes) if len(sizes[size]) >= _MERGED_FILES), [])
        total = np.cumsum([rows for rows, _ in alike])
        return [name for (_, name), rows in zip(alike, total, strict=True) if rows <= _MAX_ROWS]

    def _merged(self, files: list[VectorFile]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the rows of several files in blocks: keys S32[n], sorted and distinct, and vectors float16[n, dim].

        Raises:
            DamagedFile: one of them is; it will be ignored.
        """
        starts = np.sort(np.concatenate([file.first for file in files]))[::_MERGED_GROUPS].tolist()
        for low, high in zip(starts, [*starts[1:], None], strict=True):
            parts = [self._between(file, low, high) for file in files]
            keys, vectors = (np.concatenate(part) for part in zip(*parts, strict=True))
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            distinct = np.append(True, keys[1:] != keys[:-1])
            yield keys[distinct], vectors[order[distinct]]

    def _between(self, file: VectorFile, low: bytes, high: bytes | None) -> tuple[np.ndarray, np.ndarray]:
        try:
            return file.between(low, high)
        except DamagedFile as error:
            self._ignore(file.folder, file.name, error)
            raise

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Raise EmbeddingStoreError where the folder cannot be used."""
        try:
            yield
        except EmbeddingStoreError:
            raise
        except Exception as error:  # each file system raises its own
            raise EmbeddingStoreError(f"embedding store {self._url}: {type(error).__name__}: {error}") from error


def _folder_name(encoder_id: str, dim: int) -> str:
    """Return the name of an encoder's folder: readable, and another one for each encoder and dimension."""
    readable = re.sub(r"[^A-Za-z0-9.@_-]+", "-", encoder_id)[-80:].strip("-.")
    return f"{readable}-{hashlib.sha256(f'{encoder_id} {dim}'.encode()).hexdigest()[:12]}"


def _file_name(rows: int) -> str:
    return f"{rows:09}-{uuid.uuid4().hex[:16]}.parquet"


def _remove_abandoned(folder: Folder) -> None:
    """Remove the temporary files that killed processes have left."""
    for path in folder.local().glob(f"{TEMPORARY}*"):
        with suppress(FileNotFoundError):  # another process was faster
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()
