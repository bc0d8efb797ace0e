"""The catalogs of a sample shop: as it is published first, with changed products, and with other prices."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.sample.catalog import draw_catalog

_SEED = 0
#: Event times of the two changes: after all that the sample draws.
_CHANGED_AT, _REPRICED_AT = "2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z"

Row = dict[str, str]


@dataclass(frozen=True)
class Shop:
    """Three catalogs of one shop, with the same pictures beside them.

    Attributes:
        first: as it is published first.
        changed: `first` with new products, others with other pictures or prices, and some deleted; `each` of a kind.
        repriced: `changed` with the prices of `prices` products changed.
    """

    first: Path
    changed: Path
    repriced: Path
    each: int
    prices: int


def draw_shop(products: int, share: float, folder: Path, *, progress: Callable[[int, int], None]) -> Shop:
    """Draw a shop, or take the pictures that an earlier run has drawn.

    Args:
        products: of the first catalog.
        share: of them that change, at least four.
        folder: keeps the pictures for later runs.
        progress: called with the number of products drawn and of all products.
    """
    each = max(1, round(products * share / 4))
    total = products + 2 * each
    folder = folder / f"sample-{total}"
    table = folder / "catalog.csv"
    if not table.exists():
        draw_catalog(total, _SEED, folder, progress=lambda done: progress(done, total))
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    first, added, others = rows[:products], rows[products : products + each], rows[products + each :]
    random = np.random.default_rng(_SEED)
    sold = [number for number, row in enumerate(first) if row["is_active"] == "true"]
    chosen = random.choice(sold, 3 * each, replace=False).tolist()
    pictured, priced, deleted = chosen[:each], chosen[each : 2 * each], set(chosen[2 * each :])
    changed = [dict(row) for row in first]
    for number, other in zip(pictured, others, strict=True):
        changed[number] |= {"image_url": other["image_url"], "updated_at": _CHANGED_AT}
    for number in priced:
        changed[number] = _repriced(changed[number], _CHANGED_AT)
    changed = [row for number, row in enumerate(changed) if number not in deleted]
    changed += [row | {"is_active": "true", "updated_at": _CHANGED_AT} for row in added]
    sold = [number for number, row in enumerate(changed) if row["is_active"] == "true"]
    repriced = list(changed)
    for number in random.choice(sold, 4 * each, replace=False).tolist():
        repriced[number] = _repriced(changed[number], _REPRICED_AT)
    return Shop(
        _write(folder / f"first-{each}.csv", first),
        _write(folder / f"changed-{each}.csv", changed),
        _write(folder / f"repriced-{each}.csv", repriced),
        each,
        4 * each,
    )


def _repriced(row: Row, updated_at: str) -> Row:
    return row | {"price": f"{float(row['price']) + 1:.2f}", "updated_at": updated_at}


def _write(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path
