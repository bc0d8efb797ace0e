"""Images shards that are there already: of an earlier run, and of the refreshes since."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artifacts.errors import CorruptFile
from artifacts.schema import IMAGES, OK, shard_of
from artifacts.storage import Folder
from jobs.download.fetch import Fetched
from jobs.download.images_file import FETCHED_COLUMNS, Source
from jobs.download.validators import Validators
from jobs.parquet import corruption_guard, read_parquet
from jobs.workspace.refreshes import earlier_refreshes
from jobs.workspace.shards import shard_name
from jobs.workspace.workspace import Workspace


class _Row(NamedTuple):
    """One row of an images shard, and where it is."""

    status: str
    group: int  # row group
    position: int  # in the row group
    fetched_at: int | None  # microseconds since 1970


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
        self._loaded_group = (-1, pa.table({}))  # index of a row group, and its _columns
        self._rows: dict[Source, _Row] = {}
        with ExitStack() as stack:
            self._stream = stack.enter_context(folder.open(name))
            with corruption_guard(self._path):
                self._file = pq.ParquetFile(self._stream, page_checksum_verification=True)
                # an older version of Lookalike wrote fewer columns
                self._columns = [name for name in FETCHED_COLUMNS if name in self._file.schema_arrow.names]
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
        table = self._file.read_row_group(group, ["url", "stamp", "status", "fetched_at"])
        columns = [table[name].to_pylist() for name in ("url", "stamp", "status")]
        times = _microseconds(table) or [None] * table.num_rows
        for index, (url, stamp, status, fetched_at) in enumerate(zip(*columns, times, strict=True)):
            if status == OK or (url, stamp) not in self._rows:
                self._rows[url, stamp] = _Row(status, group, index, fetched_at)

    def close(self) -> None:
        self._stream.close()

    def sources(self) -> Iterator[Source]:
        """Return the URL and stamp of each picture that is indexed; in this order they are read fastest."""
        return iter(sorted(self._rows, key=lambda source: self._rows[source][1:3]))

    def status(self, source: Source) -> str | None:
        """Return a picture's earlier status; None if the file has no row with this URL and stamp."""
        row = self._rows.get(source)
        return row.status if row else None

    def fetched_at(self, source: Source) -> int:
        """Return when a picture was fetched, in microseconds since 1970; 0 if that is unknown, or it is a file."""
        row = self._rows.get(source)
        return (row.fetched_at if row else None) or 0

    def validators(self, sources: Collection[Source]) -> dict[Source, Validators]:
        """Return the validators of some pictures that the file has.

        Raises:
            CorruptFile: a row group is damaged.
        """
        names = [name for name in ("etag", "last_modified") if name in self._columns]
        found: dict[Source, Validators] = {}
        table, loaded = pa.table({}), -1
        for source in sorted(sources, key=lambda source: self._rows[source].group):
            row = self._rows[source]
            if row.group != loaded:
                with corruption_guard(self._path):
                    table, loaded = self._file.read_row_group(row.group, names), row.group
            found[source] = Validators(**{name: table[name][row.position].as_py() for name in names})
        return found

    def read(self, source: Source) -> Fetched:
        """Return a picture's earlier result.

        Raises:
            KeyError: the file has no such row; see `status`.
            CorruptFile: its row group is damaged.
        """
        _, group, position, _ = self._rows[source]
        if self._loaded_group[0] != group:  # both files have the same order, so a group is rarely read twice
            with corruption_guard(self._path):
                self._loaded_group = (group, self._file.read_row_group(group, self._columns))
        return Fetched(**self._loaded_group[1].slice(position, 1).to_pylist()[0])


def open_refreshed(workspace: Workspace, products: Sequence[str]) -> Iterator[EarlierImages]:
    """Open the images shards in which refreshes may hold pictures of some products, those of the newest refresh first.

    Files that are damaged or gone are left out. A file is closed when the next one is asked for.

    Args:
        products: sorted ids.
    """
    if not products:
        return
    for refresh in earlier_refreshes(workspace):
        for shard in sorted({shard_of(product, refresh.shards) for product in products}):
            if not refresh.images.exists(shard):
                continue
            try:
                images = EarlierImages(refresh.images.folder, shard_name(shard), products)
            except (CorruptFile, FileNotFoundError):
                continue
            with closing(images):
                yield images


def newest_fetches(workspace: Workspace) -> dict[tuple[str, str], int]:
    """Return when refreshes have last fetched a picture, in microseconds since 1970, by its product id and URL.

    Reads no picture. Files that are damaged or gone are left out.
    """
    newest: dict[tuple[str, str], int] = {}
    for refresh in earlier_refreshes(workspace):
        for shard in filter(refresh.images.exists, range(refresh.shards)):
            with suppress(CorruptFile, FileNotFoundError):
                table = _read_fetches(refresh, shard)
                pictures = zip(table["product_id"].to_pylist(), table["url"].to_pylist(), strict=True)
                for picture, fetched_at in zip(pictures, _microseconds(table) or (), strict=True):
                    newest[picture] = max(newest.get(picture, 0), fetched_at or 0)
    return newest


def _read_fetches(refresh: Workspace, shard: int) -> pa.Table:
    """Return product_id, url and fetched_at of the good pictures of a shard that came from the web."""
    with refresh.images.open(shard) as stream, corruption_guard(refresh.images.path(shard)):
        columns = ["product_id", "url", "status", "fetched_at"]
        table = read_parquet(stream, columns=columns, checked=True)
    return table.filter((pc.field("status") == OK) & pc.field("fetched_at").is_valid())


def _microseconds(table: pa.Table) -> list[int | None] | None:
    """Return the column fetched_at as numbers; None if the table has no such column."""
    return table["fetched_at"].cast(pa.int64()).to_pylist() if "fetched_at" in table.column_names else None
