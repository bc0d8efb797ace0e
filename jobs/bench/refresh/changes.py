"""Changes that are drawn for a base of drawn vectors, and the deltas that refreshes would write of them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artifacts.segments.delta_writer import DeltaWriter
from artifacts.segments.row_filter import rows_of_bitmaps
from artifacts.segments.segment import Segment
from jobs.bench.vectors import ClipLike
from jobs.steps import Progress, no_progress


@dataclass(frozen=True)
class Changes:
    """Changed products of a base that has one row for each product; the arrays are int64 rows of the base.

    Attributes:
        pictured: products with another picture.
        copied: products that new ones are like.
        vectors: float16[pictured and copied, dim], the vectors of these two.
        repriced: products with another price.
        deleted: products that are gone.
    """

    pictured: np.ndarray
    copied: np.ndarray
    vectors: np.ndarray
    repriced: np.ndarray
    deleted: np.ndarray

    @property
    def products(self) -> int:
        return len(self.vectors) + len(self.repriced) + len(self.deleted)

    def split(self, parts: int) -> Iterator[Changes]:
        """Yield the changes in parts of the same size."""
        cut = len(self.pictured)
        arrays = (self.pictured, self.copied, self.vectors[:cut], self.vectors[cut:], self.repriced, self.deleted)
        for pieces in zip(*(np.array_split(array, parts) for array in arrays), strict=True):
            pictured, copied, of_pictured, of_copied, repriced, deleted = pieces
            yield Changes(pictured, copied, np.concatenate([of_pictured, of_copied]), repriced, deleted)


def draw_changes(base: Segment, share: float, seed: int) -> Changes:
    """Draw changes of a share of a base's products, a quarter of each kind.

    Args:
        seed: that the base was drawn with.
    """
    each = max(1, round(base.info.rows * share / 4))
    random = np.random.default_rng((seed, each))
    rows = np.split(random.choice(base.info.rows, 4 * each, replace=False), 4)
    drawn = ClipLike(base.info.dim, seed).pictures(2 * each, seed + 10)
    vectors = np.concatenate([block.vectors for block in drawn]).astype(np.float16)
    return Changes(rows[0], rows[1], vectors, rows[2], rows[3])


def write_delta(folder: Path, base: Segment, changes: Changes, last: Segment | None = None) -> None:
    """Write changes as a delta, as a refresh does, but without the catalog's state.

    Args:
        folder: for the delta.
        base: open.
        last: the delta before, open; what it says is carried over.
    """
    writer = DeltaWriter(folder, base, base.products.table.schema)
    if last is not None and last.updates is not None:
        writer.carry(last, np.arange(last.info.rows))
        writer.update(last.updates.rows_table(np.arange(last.updates.rows)), last.updated_rows)
        writer.delete(rows_of_bitmaps((last.deleted,), 0))
    new = _replaced(base.products.rows_table(changes.copied), "product_id", _new_ids)
    writer.add(pa.concat_tables([base.products.rows_table(changes.pictured), new]), changes.vectors)
    repriced = _replaced(base.products.rows_table(changes.repriced), "price", _other_prices)
    writer.update(repriced, changes.repriced)
    writer.delete(np.concatenate([changes.pictured, changes.deleted]))
    writer.finish(folder.name)


def write_deltas(
    folder: Path, base: Segment, parts: Sequence[Changes], progress: Progress = no_progress
) -> tuple[Path, list[float]]:
    """Write one delta after the other, each with what the one before says; return the last and the seconds of each.

    Args:
        folder: for the deltas, of which only the last is left.
        base: open.
        progress: called with the number of deltas written and of all.
    """
    last: Segment | None = None
    seconds: list[float] = []
    for number, changes in enumerate(parts):
        delta = folder / f"delta-{number}"
        began = time.perf_counter()
        write_delta(delta, base, changes, last)
        seconds.append(round(time.perf_counter() - began, 4))
        if last is not None:
            last.close()
            shutil.rmtree(last.folder)
        last = Segment(delta, base, verify=False)
        progress(number + 1, len(parts))
    if last is None:
        raise ValueError("there are no changes to write")
    last.close()
    return last.folder, seconds


def _replaced(table: pa.Table, name: str, change: Callable[[pa.ChunkedArray], pa.ChunkedArray]) -> pa.Table:
    """Return a table with the values of one column changed."""
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), change(table[name]))


def _new_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.call_function("binary_join_element_wise", [pa.scalar("new", ids.type), ids, pa.scalar("-", ids.type)])


def _other_prices(prices: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.call_function("add", [prices, pa.scalar(1, prices.type)])
