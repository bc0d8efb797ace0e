"""Images shards on disk: written row by row in order, read back row by row where an earlier result is still valid."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
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

#: Rows of a row group, which a reader holds at once.
GROUP_ROWS = 256
#: Bytes of JPEG after which a row group ends, however few its rows.
GROUP_BYTES = 32_000_000

#: URL and stamp of a picture: the same source gives the same picture.
Source = tuple[str, str | None]

_FETCHED_COLUMNS = [field.name for field in fields(Fetched)]
_WRITER_OPTIONS: dict[str, Any] = {
    "compression": {name: "none" if name == "jpeg" else "zstd" for name in IMAGES.names},  # a JPEG is compressed
    "use_dictionary": False,
    "write_statistics": ["product_id", "picture", "sha256"],  # statistics of a JPEG would be copies of its bytes
    "write_page_checksum": True,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that a catalog names: a row of IMAGES before it is fetched."""

    product_id: str
    picture: int  # position in the product's list of pictures
    url: str
    stamp: str | None  # of a local file; see CatalogFolder.stamp

    @property
    def source(self) -> Source:
        """What the picture is recognized by in an earlier file."""
        return self.url, self.stamp


class ImagesWriter:
    """Writes rows of IMAGES, which must arrive in order, in small row groups.

    Args:
        path: the Parquet file to write.
        metadata: stored in the file; see EarlierImages.

    Attributes:
        statuses: rows written by status.
    """

    def __init__(self, path: Path, metadata: dict[str, str]) -> None:
        self.statuses: Counter[str] = Counter()
        self._file = pq.ParquetWriter(path, IMAGES.with_metadata(metadata), **_WRITER_OPTIONS)
        self._rows: list[tuple[object, ...]] = []
        self._bytes = 0  # of the JPEGs in _rows

    def __enter__(self) -> ImagesWriter:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._file.close()

    def add(self, row: Picture, fetched: Fetched) -> None:
        """Write one picture and its result."""
        self.statuses[fetched.status] += 1
        self._rows.append((row.product_id, row.picture, row.url, *astuple(fetched), row.stamp))
        self._bytes += len(fetched.jpeg or b"")
        if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, dtype) for column, dtype in zip(columns, IMAGES.types, strict=True)]
            self._file.write_batch(pa.RecordBatch.from_arrays(arrays, schema=IMAGES))
        self._rows, self._bytes = [], 0


class EarlierImages:
    """An images shard of an earlier run: indexed by URL and stamp; JPEGs are read only on demand.

    Args:
        products: sorted ids; row groups that hold none of these products are left out. None: all rows are indexed.

    Attributes:
        metadata: what ImagesWriter stored in the file; decides which rows are still valid.

    Raises:
        CorruptFile: on opening, or from `read`; the file is of no use.
    """

    def __init__(self, folder: Folder, name: str, products: Sequence[str] | None = None) -> None:
        self._path = folder.path(name)
        self._loaded_group = (-1, pa.table({}))  # index of a row group, and its _FETCHED_COLUMNS
        self._rows: dict[Source, tuple[str, int, int]] = {}  # status, row group, index in it
        with ExitStack() as stack:
            self._stream = stack.enter_context(folder.open(name))
            with corruption_guard(self._path):
                self._file = pq.ParquetFile(self._stream, page_checksum_verification=True)
                for group in range(self._file.num_row_groups):
                    if products is None or self._may_hold(group, products):
                        self._index_group(group)
            stack.pop_all()
        self.metadata = {k.decode(): v.decode() for k, v in (self._file.schema_arrow.metadata or {}).items()}

    def _may_hold(self, group: int, products: Sequence[str]) -> bool:
        """Tell by its statistics whether a row group can hold one of the products."""
        column = self._file.metadata.row_group(group).column(IMAGES.get_field_index("product_id"))
        statistics = column.statistics
        if statistics is None or not statistics.has_min_max:
            return True
        after = bisect_left(products, statistics.min)
        return after < len(products) and products[after] <= statistics.max

    def _index_group(self, group: int) -> None:
        columns = self._file.read_row_group(group, ["url", "stamp", "status"]).to_pydict()
        rows = zip(columns["url"], columns["stamp"], columns["status"], strict=True)
        for index, (url, stamp, status) in enumerate(rows):
            if status == OK or (url, stamp) not in self._rows:
                self._rows[url, stamp] = (status, group, index)

    def close(self) -> None:
        self._stream.close()

    def sources(self) -> Iterator[Source]:
        """Return the URL and stamp of each picture that is indexed; in this order they are read fastest."""
        return iter(sorted(self._rows, key=lambda source: self._rows[source][1:]))

    def status(self, source: Source) -> str | None:
        """Return a picture's earlier status; None if the file has no row with this URL and stamp."""
        row = self._rows.get(source)
        return row[0] if row else None

    def read(self, source: Source) -> Fetched:
        """Return a picture's earlier result.

        Raises:
            KeyError: the file has no such row; see `status`.
            CorruptFile: its row group is damaged.
        """
        _, group, index = self._rows[source]
        if self._loaded_group[0] != group:  # both files have the same order, so a group is rarely read twice
            with corruption_guard(self._path):
                self._loaded_group = (group, self._file.read_row_group(group, _FETCHED_COLUMNS))
        return Fetched(**self._loaded_group[1].slice(index, 1).to_pylist()[0])
