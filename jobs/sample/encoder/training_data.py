"""Draws the training data: every product of the training seed in several scenes, preprocessed for the encoder."""

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
from jobs.sample.product import Product, generate_product, generator
from jobs.sample.render import render
from jobs.sample.words import Caption

TRAINING_SEED = 4_100_000_001  # unlikely to be the seed of anyone's sample catalog
_NOISE_STREAM = 5
_BLOCK = 64  # products that a process draws in one task

_VALUES: dict[str, tuple[str, ...]] = {
    "kind": tuple(KINDS),
    "category": CATEGORIES,
    "colour": tuple(COLOURS),
    "pattern": PATTERNS,
}


class _Task(NamedTuple):
    start: int
    stop: int
    views: int
    side: int


def degrade(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Degrade a picture as the web does: blur some of them, and compress all as JPEG."""
    if rng.random() < 0.15:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.2))))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(rng.integers(50, 96)))
    return Image.open(buffer).convert("RGB")


def _draw(task: _Task) -> NDArray[np.uint8]:
    out = np.empty((task.stop - task.start, task.views, task.side, task.side, 3), dtype=np.uint8)
    for index in range(task.start, task.stop):
        for view in range(task.views):
            rng = generator(TRAINING_SEED, _NOISE_STREAM, index, view)
            picture = degrade(render(generate_product(TRAINING_SEED, index), view, side=192), rng)
            # The same as open_clip's "squash" preprocessing.
            small = picture.resize((task.side, task.side), Image.Resampling.BICUBIC)
            out[index - task.start, view] = np.asarray(small)
    return out


def draw_pictures(products: int, views: int, side: int, processes: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """Yield blocks of products, in order, as uint8[at most 64, views, side, side, 3].

    Args:
        products: number of products.
        views: pictures of each product.
        side: pixels of the square pictures.
        processes: number of processes that draw; one per core by default.
    """
    tasks = [_Task(start, min(start + _BLOCK, products), views, side) for start in range(0, products, _BLOCK)]
    with ProcessPoolExecutor(processes or os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield from pool.map(_draw, tasks)


def labels(items: list[Product] | list[Caption]) -> NDArray[np.int64]:
    """Return int64[n, 4]: kind, category, colour and pattern as numbers; -1 where a caption has no such attribute."""
    numbers = {field: {value: number for number, value in enumerate(values)} for field, values in _VALUES.items()}
    rows = [{field: getattr(item, field) for field in _VALUES} for item in items]
    return np.array([[-1 if row[field] is None else numbers[field][row[field]] for field in _VALUES] for row in rows])
