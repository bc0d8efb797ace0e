"""Images shards on disk: written row by row in order, read back row by row where an earlier result still holds.

Pictures come back in any order and the file is sorted, so what is ahead of its turn waits in a spool, on disk when it
is much: one slow picture holds back the file, not the downloads, and memory stays the same.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.schema import IMAGES, OK
from artifacts.storage import Folder
from jobs.download.fetch import Fetched
from jobs.parquet import corruption_guard

GROUP_ROWS = 256  # rows of a row group: what a reader holds at once
GROUP_BYTES = 32_000_000  # of JPEG, however few rows that is

_FETCHED = [field.name for field in fields(Fetched)]
_OPTIONS: dict[str, Any] = {
    "compression": {name: "none" if name == "jpeg" else "zstd" for name in IMAGES.names},  # a JPEG is compressed
    "use_dictionary": False,
    "write_statistics": ["product_id", "picture", "sha256"],  # of a JPEG they would be copies of its bytes
    "write_page_checksum": True,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that a catalog names: a row of IMAGES before it is fetched."""

    product_id: str
    picture: int  # position in the product's list
    url: str
    stamp: str | None  # of a local file


class ImagesWriter:
    """Writes rows of IMAGES, which must come in order, in small row groups."""

    def __init__(self, path: Path, metadata: dict[str, str]) -> None:
        self.statuses: Counter[str] = Counter()
        self._file = pq.ParquetWriter(path, IMAGES.with_metadata(metadata), **_OPTIONS)
        self._rows: list[tuple[object, ...]] = []
        self._bytes = 0

    def __enter__(self) -> ImagesWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self._flush()
        self._file.close()

    def add(self, row: Picture, fetched: Fetched) -> None:
        self.statuses[fetched.status] += 1
        self._rows.append((row.product_id, row.picture, row.url, *astuple(fetched), row.stamp))
        self._bytes += len(fetched.jpeg or b"")
        if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, kind) for column, kind in zip(columns, IMAGES.types, strict=True)]
            self._file.write_batch(pa.RecordBatch.from_arrays(arrays, schema=IMAGES))
        self._rows, self._bytes = [], 0


class EarlierImages:
    """The images shard of an earlier run; rows are found by URL, JPEGs are read only when asked for.

    Attributes:
        metadata: what the file was written with; decides which rows still hold.

    Raises:
        CorruptFile: on opening or from `read`; the file is of no use.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self._path = folder.path(name)
        self._group = (-1, pa.table({}))
        self._found: dict[tuple[str, str | None], tuple[str, int, int]] = {}
        with ExitStack() as stack:
            self._stream = stack.enter_context(folder.open(name))
            with corruption_guard(self._path):
                self._file = pq.ParquetFile(self._stream, page_checksum_verification=True)
                for number in range(self._file.num_row_groups):
                    self._index(number)
            stack.pop_all()
        self.metadata = {k.decode(): v.decode() for k, v in (self._file.schema_arrow.metadata or {}).items()}

    def _index(self, number: int) -> None:
        columns = self._file.read_row_group(number, ["url", "stamp", "status"]).to_pydict()
        for index, row in enumerate(zip(columns["url"], columns["stamp"], columns["status"], strict=True)):
            url, stamp, status = row
            if status == OK or (url, stamp) not in self._found:
                self._found[url, stamp] = (status, number, index)

    def close(self) -> None:
        self._stream.close()

    def status(self, url: str, stamp: str | None) -> str | None:
        """What became of a picture then, or None if it was not there or its file has changed since."""
        found = self._found.get((url, stamp))
        return found[0] if found else None

    def read(self, url: str, stamp: str | None) -> Fetched:
        _, number, index = self._found[url, stamp]
        if self._group[0] != number:  # both files are sorted alike, so a group is mostly read once
            with corruption_guard(self._path):
                self._group = (number, self._file.read_row_group(number, _FETCHED))
        values = self._group[1].slice(index, 1).to_pylist()[0]
        return Fetched(**values)
