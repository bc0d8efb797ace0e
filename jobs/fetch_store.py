"""Images shards on disk: written row by row in order, read back row by row where an earlier result still holds.

Pictures come back in any order and the file is sorted, so what is ahead of its turn waits in a spool, on disk when it
is much: one slow picture holds back the file, not the downloads, and memory stays the same.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import CorruptFile
from artifacts.schema import IMAGES, OK
from artifacts.storage import Folder
from jobs.fetch import Fetched

GROUP_ROWS = 256  # rows of a row group: what a reader holds at once
GROUP_BYTES = 32_000_000  # of JPEG, however few rows that is
SPOOL_BYTES = 64_000_000  # of JPEG that may wait in memory; what comes on top waits on disk

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


@contextmanager
def sound(path: str) -> Iterator[None]:
    """Around reading a Parquet file of ours.

    Raises:
        CorruptFile: it is damaged, rather than not reachable.
    """
    try:
        yield
    except pa.ArrowInvalid as error:
        raise CorruptFile(path, str(error)) from None
    except OSError as error:
        if "CRC" not in str(error):  # the store does not answer: nothing is known about the file
            raise
        raise CorruptFile(path, str(error)) from None


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


@dataclass(slots=True)
class _Waiting:
    fetched: Fetched  # without its JPEG where that is on disk
    size: int  # bytes of the JPEG
    rows: int  # that still need it
    start: int | None = None  # in the file; None while it is in memory


class Spool:
    """Results that wait for their turn, by position; what is over SPOOL_BYTES of JPEG waits on disk."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="lookalike-")  # noqa: SIM115
        self._waiting: dict[int, _Waiting] = {}
        self._in_memory = 0  # bytes
        self._on_disk = 0  # results
        self._end = 0  # of what the file holds

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, positions: Collection[int], fetched: Fetched) -> None:
        """Keep one result for all the rows that named its URL."""
        jpeg = fetched.jpeg or b""
        entry = _Waiting(fetched, len(jpeg), len(positions))
        if self._in_memory + entry.size > SPOOL_BYTES:
            self._file.seek(self._end)
            self._file.write(jpeg)
            entry.fetched, entry.start = replace(fetched, jpeg=None), self._end
            self._end += entry.size
            self._on_disk += 1
        else:
            self._in_memory += entry.size
        self._waiting.update(dict.fromkeys(positions, entry))

    def pop(self, position: int) -> Fetched | None:
        """The result for a position, or None if it is not there yet."""
        entry = self._waiting.pop(position, None)
        if entry is None:
            return None
        entry.rows -= 1
        if entry.start is None:
            self._in_memory -= 0 if entry.rows else entry.size
            return entry.fetched
        self._file.seek(entry.start)
        fetched = replace(entry.fetched, jpeg=self._file.read(entry.size) or None)
        self._on_disk -= 0 if entry.rows else 1
        if not self._on_disk:  # nothing there is needed any more: use the room again
            self._end = 0
        return fetched


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
            with sound(self._path):
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
            with sound(self._path):
                self._group = (number, self._file.read_row_group(number, _FETCHED))
        values = self._group[1].slice(index, 1).to_pylist()[0]
        return Fetched(**values)
