"""The sample catalog as files: catalog.csv, images/ and sample.json, which says how to draw the same again.

sample.json is written first and catalog.csv last, each by renaming a finished file: a folder with a catalog.csv is a
whole sample, and a folder with a sample.json is ours to draw over.
"""

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from jobs.sample.kinds.registry import KINDS
from jobs.sample.product import SALES, Product, generator, product
from jobs.sample.render import render
from jobs.sample.words import brand, title

COLUMNS = (
    "product_id", "image_url", "title", "category", "brand", "price", "is_active", "popularity_score", "avg_rating",
    "conversion_rate", "added_at", "updated_at", "kind", "colour", "pattern", "material",
)  # fmt: skip
TODAY = datetime(2026, 11, 1, tzinfo=UTC)  # the sample's "now": real time would give other bytes every day
QUALITY = 90
_MARKER, _TABLE, _IMAGES = "sample.json", "catalog.csv", "images"
_PICTURE = re.compile(r"\d{6,}(-\d+)?\.jpg(\.tmp)?")
_BLOCK = 16


class Task(NamedTuple):
    seed: int
    start: int
    stop: int
    pictures: int
    side: int
    folder: Path


def draw_catalog(
    products: int,
    seed: int,
    out: Path,
    *,
    progress: Callable[[int], None] | None = None,
    pictures_per_product: int = 1,
    side: int = 512,
    processes: int | None = None,
) -> Path:
    """Draws a catalog of `products` products into the folder `out` and returns the path of its catalog.csv.

    Args:
        products: how many, 1 or more.
        seed: 0 to 2**32 - 1. The same seed gives the same bytes, and product i is the same in a catalog of any size.
        out: a folder that is new, empty, or holds an earlier sample, which is replaced.
        progress: called with the number of products drawn so far.
        pictures_per_product: with 2 or more, `image_url` is a JSON list; the first picture is the same as with 1.
        side: pixels along a picture's longer edge.
        processes: how many to draw with; one per core by default.

    Raises:
        ValueError: an argument is out of range, or `out` holds something else than an earlier sample.
    """
    for name, value in (("products", products), ("pictures_per_product", pictures_per_product)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, not {value}")
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be 1 or more, not {processes}")
    generator(seed)  # refuses a bad seed before anything is written
    images = out / _IMAGES
    _claim(out)
    (out / _TABLE).unlink(missing_ok=True)
    images.mkdir(parents=True, exist_ok=True)
    recipe = {"products": products, "seed": seed, "pictures_per_product": pictures_per_product, "side": side}
    _write(out / _MARKER, (json.dumps(recipe) + "\n").encode())

    tasks = [
        Task(seed, start, min(start + _BLOCK, products), pictures_per_product, side, images)
        for start in range(0, products, _BLOCK)
    ]
    done = 0
    for count in _each(tasks, processes):
        done += count
        if progress is not None:
            progress(done)

    kept = {name for index in range(products) for name in _names(index, pictures_per_product)}
    for path in images.iterdir():  # what a larger or interrupted sample left behind
        if path.name not in kept:
            path.unlink()
    return _write(out / _TABLE, _table(seed, products, pictures_per_product))


def _each(tasks: list[Task], processes: int | None) -> Iterator[int]:
    """Runs the tasks; the number of products of each, in order."""
    workers = min(processes or os.cpu_count() or 1, len(tasks))
    if workers == 1:
        yield from map(_draw, tasks)
        return
    # Spawned, not forked: the caller may have threads running, and a fork would copy their locks.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_draw, tasks)


def _draw(task: Task) -> int:
    for index in range(task.start, task.stop):
        item = product(task.seed, index)
        for view, name in enumerate(_names(index, task.pictures)):
            _write(task.folder / name, jpeg(item, view, task.side))
    return task.stop - task.start


def jpeg(item: Product, view: int, side: int = 512) -> bytes:
    """One picture of the product as the catalog stores it."""
    buffer = io.BytesIO()
    render(item, view, side).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _names(index: int, pictures: int) -> list[str]:
    return [f"{index:06d}.jpg" if view == 0 else f"{index:06d}-{view}.jpg" for view in range(pictures)]


def _claim(out: Path) -> None:
    """Refuses a folder in which drawing would overwrite or mix with somebody's files."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; the sample needs a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    ours = {_MARKER, _TABLE, _IMAGES, f"{_MARKER}.tmp", f"{_TABLE}.tmp"}
    foreign = sorted(path.name for path in out.iterdir() if path.name not in ours)
    images = out / _IMAGES
    if images.is_dir():
        foreign += sorted(f"{_IMAGES}/{path.name}" for path in images.iterdir() if not _PICTURE.fullmatch(path.name))
    if foreign:
        raise ValueError(f"{out} holds other files than a sample ({foreign[0]}); choose an empty folder")
    if not (out / _MARKER).is_file():
        raise ValueError(f"{out} has files but no {_MARKER}, so it is not an earlier sample; choose an empty folder")


def _write(path: Path, content: bytes) -> Path:
    part = path.with_name(path.name + ".tmp")
    part.write_bytes(content)
    part.replace(path)
    return path


def _table(seed: int, products: int, pictures: int) -> bytes:
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(product(seed, index), pictures) for index in range(products))
    return text.getvalue().encode()


def row(item: Product, pictures: int = 1) -> dict[str, str]:
    """The product's line of catalog.csv."""
    rng = generator(item.seed, SALES, item.index, 0)
    urls = [f"{_IMAGES}/{name}" for name in _names(item.index, pictures)]
    low, high = KINDS[item.kind].prices
    price = math.floor(math.exp(rng.uniform(math.log(low), math.log(high)))) + float(rng.choice((0.0, 0.5, 0.9, 0.95)))
    # Most of a shop has been there for a while; a tenth or so is new this month.
    age = timedelta(seconds=int(min(rng.exponential(260), 1200) * 86_400))
    added = TODAY - age
    updated = added + timedelta(seconds=int(age.total_seconds() * rng.random()))
    return {
        "product_id": item.product_id,
        "image_url": urls[0] if pictures == 1 else json.dumps(urls),
        "title": title(item),
        "category": item.category,
        "brand": brand(item),
        "price": f"{price:.2f}",
        "is_active": "true" if rng.random() < 0.97 else "false",
        "popularity_score": f"{rng.beta(1.2, 4):.4f}",
        "avg_rating": f"{min(max(rng.normal(4.1, 0.5), 0), 5):.1f}",
        "conversion_rate": f"{rng.beta(2, 40):.4f}",
        "added_at": _stamp(added),
        "updated_at": _stamp(updated),
        "kind": item.kind,
        "colour": item.colour,
        "pattern": item.pattern,
        "material": item.material,
    }


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
