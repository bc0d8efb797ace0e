"""Training data: every product of the training seed twice, each time in another scene, as the encoder will see it."""

import io
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from jobs.sample.drawing.palette import COLOURS
from jobs.sample.drawing.patterns import PATTERNS
from jobs.sample.kinds.registry import CATEGORIES, KINDS
from jobs.sample.product import Product, generator, product
from jobs.sample.render import render
from jobs.sample.words import Caption

TRAINING_SEED = 4_100_000_001  # no catalog a person would draw by hand has this seed
_NOISE = 5
_BLOCK = 64

NAMES: dict[str, tuple[str, ...]] = {
    "kind": tuple(KINDS),
    "category": CATEGORIES,
    "colour": tuple(COLOURS),
    "pattern": PATTERNS,
}


class Task(NamedTuple):
    start: int
    stop: int
    views: int
    side: int


def worn(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The picture after a life on the web: sometimes soft, always JPEG."""
    if rng.random() < 0.15:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.2))))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(rng.integers(50, 96)))
    return Image.open(buffer).convert("RGB")


def _draw(task: Task) -> NDArray[np.uint8]:
    out = np.empty((task.stop - task.start, task.views, task.side, task.side, 3), dtype=np.uint8)
    for index in range(task.start, task.stop):
        for view in range(task.views):
            rng = generator(TRAINING_SEED, _NOISE, index, view)
            picture = worn(render(product(TRAINING_SEED, index), view, side=192), rng)
            # Exactly what open_clip's own "squash" preprocessing does.
            small = picture.resize((task.side, task.side), Image.Resampling.BICUBIC)
            out[index - task.start, view] = np.asarray(small)
    return out


def draw_pairs(products: int, views: int, side: int, processes: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """uint8[<= 64, views, side, side, 3] for one block of products after the other."""
    tasks = [Task(start, min(start + _BLOCK, products), views, side) for start in range(0, products, _BLOCK)]
    with ProcessPoolExecutor(processes or os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield from pool.map(_draw, tasks)


def labels(items: list[Product] | list[Caption]) -> NDArray[np.int64]:
    """int64[n, 4]: kind, category, colour, pattern as numbers; -1 where a caption does not care."""
    rows = [[getattr(item, field) for field in NAMES] for item in items]
    numbers = [{name: number for number, name in enumerate(names)} for names in NAMES.values()]
    return np.array([[-1 if v is None else table[v] for v, table in zip(row, numbers, strict=True)] for row in rows])
