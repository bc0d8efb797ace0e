"""Writes the sample catalog to files: catalog.csv, images/ and sample.json, which holds the arguments that drew it.

sample.json is written first and catalog.csv last, each by renaming a finished file. So a folder with a catalog.csv
holds a complete sample, and a folder with a sample.json may be overwritten.
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

from artifacts.errors import InputError
from jobs.sample.kinds.registry import KINDS
from jobs.sample.product import SALES, Product, generate_product, generator
from jobs.sample.render import render
from jobs.sample.words import brand, title

COLUMNS = (
    "product_id", "image_url", "title", "category", "brand", "price", "is_active", "popularity_score", "avg_rating",
    "conversion_rate", "added_at", "updated_at", "kind", "colour", "pattern", "material",
)  # fmt: skip
TODAY = datetime(2026, 11, 1, tzinfo=UTC)  # the sample's "now": with the real time its bytes would change every day
_JPEG_QUALITY = 90
_MARKER, _TABLE, _IMAGES = "sample.json", "catalog.csv", "images"
_PICTURE = re.compile(r"\d{6,}(-\d+)?\.jpg(\.tmp)?")
_BLOCK = 16  # products that a process draws in one task


class _Task(NamedTuple):
    """The pictures of products start to stop - 1."""

    seed: int
    start: int
    stop: int
    pictures: int  # of each product
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
    """Draw a catalog into the folder `out` and return the path of its catalog.csv.

    Args:
        products: number of products, 1 or more.
        seed: 0 to 2**32 - 1. The same seed gives the same bytes, and product i is the same in a catalog of any size.
        out: a folder that is new, empty, or holds an earlier sample, which is replaced.
        progress: called with the number of products drawn so far.
        pictures_per_product: with 2 or more, `image_url` is a JSON list; the first picture is the same as with 1.
        side: pixels along a picture's longer edge.
        processes: number of processes that draw; one per core by default.

    Raises:
        ValueError: an argument is out of range.
        InputError: `out` is a file, or holds anything other than an earlier sample.
    """
    for name, value in (("products", products), ("pictures_per_product", pictures_per_product)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, not {value}")
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be 1 or more, not {processes}")
    generator(seed)  # raises for a bad seed, before anything is written
    images = out / _IMAGES
    _check_folder(out)
    (out / _TABLE).unlink(missing_ok=True)
    images.mkdir(parents=True, exist_ok=True)
    recipe = {"products": products, "seed": seed, "pictures_per_product": pictures_per_product, "side": side}
    _write(out / _MARKER, (json.dumps(recipe) + "\n").encode())

    tasks = [
        _Task(seed, start, min(start + _BLOCK, products), pictures_per_product, side, images)
        for start in range(0, products, _BLOCK)
    ]
    done = 0
    for count in _run(tasks, processes):
        done += count
        if progress is not None:
            progress(done)

    current = {name for index in range(products) for name in _picture_names(index, pictures_per_product)}
    for path in images.iterdir():
        if path.name not in current:  # left behind by a larger or an interrupted sample
            path.unlink()
    return _write(out / _TABLE, _table(seed, products, pictures_per_product))


def _run(tasks: list[_Task], processes: int | None) -> Iterator[int]:
    """Run the tasks and yield the number of products of each, in order."""
    workers = min(processes or os.cpu_count() or 1, len(tasks))
    if workers == 1:
        yield from map(_draw, tasks)
        return
    # Spawned, not forked: the caller may run threads, and a fork would copy their locks.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_draw, tasks)


def _draw(task: _Task) -> int:
    for index in range(task.start, task.stop):
        product = generate_product(task.seed, index)
        for view, name in enumerate(_picture_names(index, task.pictures)):
            _write(task.folder / name, jpeg(product, view, task.side))
    return task.stop - task.start


def jpeg(product: Product, view: int, side: int = 512) -> bytes:
    """Render a picture of the product as the JPEG that the catalog stores; see `render` for the arguments."""
    buffer = io.BytesIO()
    render(product, view, side).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _picture_names(index: int, pictures: int) -> list[str]:
    return [f"{index:06d}.jpg" if view == 0 else f"{index:06d}-{view}.jpg" for view in range(pictures)]


def _check_folder(out: Path) -> None:
    """Raise InputError if the folder holds files that are not an earlier sample's."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; the sample needs a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    expected = {_MARKER, _TABLE, _IMAGES, f"{_MARKER}.tmp", f"{_TABLE}.tmp"}
    foreign = sorted(path.name for path in out.iterdir() if path.name not in expected)
    images = out / _IMAGES
    if images.is_dir():
        foreign += sorted(f"{_IMAGES}/{path.name}" for path in images.iterdir() if not _PICTURE.fullmatch(path.name))
    if foreign:
        raise InputError(f"{out} holds files other than a sample's ({foreign[0]}); choose an empty folder")
    if not (out / _MARKER).is_file():
        raise InputError(f"{out} has files but no {_MARKER}, so it is not an earlier sample; choose an empty folder")


def _write(path: Path, content: bytes) -> Path:
    part = path.with_name(path.name + ".tmp")
    part.write_bytes(content)
    part.replace(path)
    return path


def _table(seed: int, products: int, pictures: int) -> bytes:
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(catalog_row(generate_product(seed, index), pictures) for index in range(products))
    return text.getvalue().encode()


def catalog_row(product: Product, pictures: int = 1) -> dict[str, str]:
    """Return the row of a product with `pictures` pictures in catalog.csv, by column."""
    rng = generator(product.seed, SALES, product.index, 0)
    urls = [f"{_IMAGES}/{name}" for name in _picture_names(product.index, pictures)]
    low, high = KINDS[product.kind].prices
    price = math.floor(math.exp(rng.uniform(math.log(low), math.log(high)))) + float(rng.choice((0.0, 0.5, 0.9, 0.95)))
    # About a tenth of the products are less than a month old.
    age = timedelta(seconds=int(min(rng.exponential(260), 1200) * 86_400))
    added = TODAY - age
    updated = added + timedelta(seconds=int(age.total_seconds() * rng.random()))
    return {
        "product_id": product.product_id,
        "image_url": urls[0] if pictures == 1 else json.dumps(urls),
        "title": title(product),
        "category": product.category,
        "brand": brand(product),
        "price": f"{price:.2f}",
        "is_active": "true" if rng.random() < 0.97 else "false",
        "popularity_score": f"{rng.beta(1.2, 4):.4f}",
        "avg_rating": f"{min(max(rng.normal(4.1, 0.5), 0), 5):.1f}",
        "conversion_rate": f"{rng.beta(2, 40):.4f}",
        "added_at": _iso(added),
        "updated_at": _iso(updated),
        "kind": product.kind,
        "colour": product.colour,
        "pattern": product.pattern,
        "material": product.material,
    }


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
