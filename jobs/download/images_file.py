"""The file of an images shard: which pictures it names, and how it is written row by row, in order."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.schema import IMAGES, OK
from jobs.download.fetch import Fetched
from jobs.workspace.shards import UNKNOWN_AGE

#: Rows of a row group, which a reader holds at once.
GROUP_ROWS = 256
#: Bytes of JPEG after which a row group ends, however few its rows.
GROUP_BYTES = 32_000_000

#: URL and stamp of a picture: the same source gives the same picture.
Source = tuple[str, str | None]

#: Columns of a row's result.
FETCHED_COLUMNS = [field.name for field in fields(Fetched)]
#: Columns that later steps do not depend on: asking for an unchanged picture again must not build an index anew.
_HOUSEKEEPING = ("jpeg", "etag", "last_modified", "fetched_at")  # sha256 stands for the JPEG
_CONTENT_COLUMNS = [IMAGES.get_field_index(name) for name in IMAGES.names if name not in _HOUSEKEEPING]
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
    is_web: bool = False  # whether it is fetched over HTTP

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
        oldest_fetched_at: of the good pictures that come from the web; UNKNOWN_AGE if an older version of Lookalike
            fetched one, None if there are none.
    """

    def __init__(self, path: Path, metadata: dict[str, str]) -> None:
        self.statuses: Counter[str] = Counter()
        self.oldest_fetched_at: datetime | None = None
        self._content = hashlib.sha256()
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
        if row.is_web and fetched.status == OK:
            fetched_at = fetched.fetched_at or UNKNOWN_AGE
            self.oldest_fetched_at = min(self.oldest_fetched_at or fetched_at, fetched_at)
        values = {name: getattr(fetched, name) for name in FETCHED_COLUMNS}
        values |= {"product_id": row.product_id, "picture": row.picture, "url": row.url, "stamp": row.stamp}
        cells = tuple(values[name] for name in IMAGES.names)
        self._content.update(json.dumps([cells[column] for column in _CONTENT_COLUMNS]).encode())
        self._rows.append(cells)
        self._bytes += len(fetched.jpeg or b"")
        if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def content(self) -> str:
        """Return a digest of all rows so far: of every column that later steps depend on."""
        return self._content.hexdigest()

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, dtype) for column, dtype in zip(columns, IMAGES.types, strict=True)]
            self._file.write_batch(pa.RecordBatch.from_arrays(arrays, schema=IMAGES))
        self._rows, self._bytes = [], 0
