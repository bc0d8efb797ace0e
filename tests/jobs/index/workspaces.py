"""Workspaces with enough pictures for an index of several parts."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from artifacts.settings import Settings
from jobs.steps import StepContext
from tests.pipeline import prepared, small_settings

#: Parts of at least 256 rows, the fewest that PQ is trained on.
SETTINGS: dict[str, Any] = {"shards": 12, "flat_max_rows": 0, "codec": "pq", "rows_per_index": 256}
PRODUCTS = 900


def draw_catalog(folder: Path, products: int = PRODUCTS, *, first: int = 0, hue: int = 0, same: float = 0) -> Path:
    """Write a catalog of pictures of one color each; every tenth product has no picture, every ninth two.

    Args:
        first: number of the first product.
        hue: 0 for colors of all kinds, or 1 to 3 for one kind.
        same: share of the pictures that are all the same.
    """
    random = np.random.default_rng(first + hue)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(first, first + products):
        names = [f"images/{number:04d}-{picture}.png" for picture in range(2 if number % 9 == 0 else 1)]
        for name in names if number % 10 else []:
            color = random.integers(0, 256, 3) if random.random() >= same else np.array([120, 40, 200])
            if hue:
                color = color // 8 + np.eye(3, dtype=int)[hue - 1] * 220
            Image.new("RGB", (50, 50), tuple(int(value) for value in color)).save(folder / name, compress_level=1)
        rows.append({"product_id": f"p{number:04d}", "image_url": "|".join(names), "price": number})
    path = folder / "catalog.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "image_url": _list(row["image_url"])} for row in rows)
    return path


def _list(names: str) -> str:
    return '["' + names.replace("|", '", "') + '"]'


def settings_for(folder: Path, **changes: Any) -> Settings:
    return small_settings(folder, **(SETTINGS | {"max_reject_rate": 0.5} | changes))


def embedded(folder: Path) -> Path:
    """Write a workspace in which all is done but the index; returns its folder."""
    prepared(draw_catalog(folder / "shop"), settings_for(folder))
    return folder


def copied(workspace: Path, folder: Path, **changes: Any) -> StepContext:
    """Return a context on a copy of a workspace, with a store of its own."""
    shutil.copytree(workspace / "workspace", folder / "workspace")
    return StepContext.open(settings_for(folder, **changes).pipeline, str(workspace / "shop" / "catalog.csv"))
