"""Catalog states for tests, as a build or refresh would write them from a catalog's changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.schema import ATTRIBUTES_DIGEST, DELETED, OK, PICTURES_DIGEST, STATE, picture_source
from jobs.catalog.changes import CatalogChanges

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def all_ok(product_id: str, picture: int) -> str:
    """The status of every picture of a catalog without failures."""
    return OK


def write_state(changes: CatalogChanges, path: Path, status: Callable[[str, int], str] = all_ok) -> Path:
    """Write the state of a segment that holds exactly these changes; return its path.

    Args:
        changes: the changed and deleted products.
        path: of the file.
        status: returns the status of a product's picture.
    """
    rows: list[dict[str, object]] = []
    for product in pq.read_table(changes.changed).to_pylist():
        for picture, url in enumerate(product["image_url"]):
            rows.append(
                _row(
                    product["product_id"],
                    status(product["product_id"], picture),
                    product["updated_at"],
                    first=picture == 0,
                    picture=picture,
                    source=picture_source(url, None),
                    attributes=product[ATTRIBUTES_DIGEST],
                    pictures=product[PICTURES_DIGEST],
                )
            )
    deleted = pq.read_table(changes.deleted).to_pylist()
    rows += [_row(product["product_id"], DELETED, product["updated_at"]) for product in deleted]
    return write_state_rows(rows, path)


def write_state_rows(rows: Iterable[Mapping[str, object]], path: Path) -> Path:
    """Write rows of STATE; return the file's path."""
    ordered = sorted(rows, key=lambda row: str(row["product_id"]))
    pq.write_table(pa.Table.from_pylist([dict(row) for row in ordered], schema=STATE), path)
    return path


def _row(product_id: str, status: str, updated_at: datetime | None, **values: object) -> dict[str, object]:
    known = {"product_id": product_id, "status": status, "updated_at": updated_at, "applied_at": NOW}
    return {"first": True, "in_delta": False, **known, **values}
