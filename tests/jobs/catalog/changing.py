"""A shop whose catalog changes, for tests of what a catalog changes in the served release."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.schema import CHANGE_KIND
from jobs.catalog.changes import CatalogChanges, find_changes
from jobs.catalog.compare.state import StateFiles
from tests.states import write_state

Row = dict[str, Any]


def product(number: int, **values: object) -> Row:
    """Return a row of a catalog: product p<number> with one picture and a price."""
    return {"product_id": f"p{number}", "image_url": f"https://x.example/{number}.jpg", "price": number} | values


class Shop:
    """A shop whose catalog changes: each reading is compared with the state that earlier ones left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()
        self.state: StateFiles | None = None

    def write(self, rows: Sequence[Row], suffix: str = "jsonl") -> str:
        path = self.folder / f"shop.{suffix}"
        if suffix == "parquet":
            pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    def find(self, rows: Sequence[Row], suffix: str = "jsonl", **options: Any) -> CatalogChanges:
        """Return the changes that these rows make."""
        scratch = self.folder / f"changes-{next(self._numbers)}"
        source = self.write(rows, suffix)
        return find_changes(source, self.state, options.pop("max_reject_rate", 1), scratch, **options)

    def serve(self, rows: Sequence[Row], suffix: str = "jsonl", **state: Any) -> CatalogChanges:
        """Take the rows as the base of the served release."""
        self.state = None
        changes = self.find(rows, suffix)
        self.state = StateFiles(write_state(changes, self.folder / f"base-{next(self._numbers)}.parquet", **state))
        return changes

    def apply(self, changes: CatalogChanges, **state: Any) -> None:
        """Take the changes as the delta of the served release."""
        assert self.state is not None
        assert self.state.delta is None
        delta = write_state(changes, self.folder / f"delta-{next(self._numbers)}.parquet", **state)
        self.state = StateFiles(self.state.base, delta)


def kinds(changes: CatalogChanges) -> dict[str, str]:
    """Return the kind of each changed product."""
    table = pq.read_table(changes.changed)
    return dict(zip(table["product_id"].to_pylist(), table[CHANGE_KIND].to_pylist(), strict=True))


def deleted(changes: CatalogChanges) -> list[str]:
    return pq.read_table(changes.deleted)["product_id"].to_pylist()


def day(number: int) -> str:
    return f"2026-11-{number:02}T00:00:00Z"
