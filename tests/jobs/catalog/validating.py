"""Running the catalog step on a source, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.errors import CatalogError
from jobs.catalog.report import CatalogReport
from jobs.catalog.shards import read_products
from jobs.catalog.step import validate_catalog
from jobs.workspace.workspace import Workspace


def validate(source: object, tmp_path: Path) -> tuple[CatalogReport, dict[str, dict[str, Any]], list[str]]:
    """Run the catalog step; return its report, the products by id, and the details of the rejects."""
    workspace = Workspace.open(str(tmp_path / "ws"), 1)
    report = validate_catalog(str(source), workspace, 1)
    details = pq.read_table(workspace.folder.local("catalog/rejects.parquet"))["detail"].to_pylist()
    return report, {row["product_id"]: row for row in read_products(workspace, 0).to_pylist()}, details


def assert_refused(source: object, tmp_path: Path, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        validate(source, tmp_path)
    assert not (tmp_path / "ws/catalog/report.json").exists()


def write_part(path: Path, ids: list[Any], **columns: Any) -> None:
    """Write a Parquet part of products with these ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"product_id": ids, "image_url": [f"{name}.jpg" for name in ids], **columns}), path)
