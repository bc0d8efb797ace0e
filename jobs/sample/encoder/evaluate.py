"""Measures the sample encoder on products it never saw.  python -m jobs.sample.encoder.evaluate

A catalog of a held-out seed is drawn, JPEG-compressed, and searched exactly (no index): by words, and by another
picture of a product. What is right is known from the seed.
"""

import argparse
import io
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jobs.sample.catalog import jpeg
from jobs.sample.drawing.palette import COLOUR_SYNONYMS
from jobs.sample.drawing.patterns import PATTERN_SYNONYMS
from jobs.sample.encoder.card import card
from jobs.sample.encoder.recipe import FOLDER
from jobs.sample.kinds.registry import KINDS
from jobs.sample.product import Product, generator, product
from jobs.sample.words import query

if TYPE_CHECKING:
    from jobs.sample.encoder.encode import SampleEncoder

HELD_OUT_SEED = 2026
TARGETS = {"words_precision_at_1": 0.85, "picture_recall_at_10": 0.9}
_SYNONYM_STREAM = 6
_BLOCK = 32


class Task(NamedTuple):
    seed: int
    start: int
    stop: int
    view: int
    side: int


def _draw(task: Task) -> list[bytes]:
    return [jpeg(product(task.seed, index), task.view, task.side) for index in range(task.start, task.stop)]


def drawn(seed: int, products: int, view: int, side: int, processes: int) -> Iterator[list[bytes]]:
    """JPEGs of one view of every product, in blocks."""
    tasks = [Task(seed, start, min(start + _BLOCK, products), view, side) for start in range(0, products, _BLOCK)]
    if processes == 1:
        yield from map(_draw, tasks)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_draw, tasks)


def embedded(encoder: "SampleEncoder", blocks: Iterator[list[bytes]]) -> NDArray[np.float32]:
    """float32[products, dim], L2-normalised."""
    return np.concatenate([encoder.pictures([Image.open(io.BytesIO(data)) for data in block]) for block in blocks])


def synonym_query(item: Product) -> str:
    """The same wish in other words: "scarlet polka dot cup" for a red dotted mug."""
    rng = generator(item.seed, _SYNONYM_STREAM, item.index)

    def other(words: Sequence[str]) -> str:
        return words[int(rng.integers(len(words)))]

    colour, pattern = other(COLOUR_SYNONYMS[item.colour]), other(PATTERN_SYNONYMS[item.pattern])
    kind = other(KINDS[item.kind].synonyms or (item.kind,))
    return f"{colour} {kind} {pattern}" if pattern.startswith("with ") else f"{colour} {pattern} {kind}"


def _precision_at_1(
    encoder: "SampleEncoder",
    vectors: NDArray[np.float32],
    truth: list[tuple[str, ...]],
    queries: dict[str, tuple[str, ...]],
) -> float:
    """Share of the queries whose first result is what was asked for."""
    found = (encoder.texts(list(queries)) @ vectors.T).argmax(axis=1).tolist()
    return float(np.mean([truth[best] == wanted for best, wanted in zip(found, queries.values(), strict=True)]))


def measure(
    encoder: "SampleEncoder", products: int = 2000, seed: int = HELD_OUT_SEED, side: int = 512, processes: int = 1
) -> dict[str, float]:
    """The numbers, 0 to 1. Queries are only asked for what the catalog has."""
    items = [product(seed, index) for index in range(products)]
    vectors = embedded(encoder, drawn(seed, products, 0, side, processes))
    others = embedded(encoder, drawn(seed, products, 1, side, processes))
    exact = [(item.colour, item.pattern, item.kind) for item in items]
    loose = [(item.colour, item.kind) for item in items]
    scores = others @ vectors.T
    own = scores[np.arange(products), np.arange(products)]
    ranks = (scores > own[:, None]).sum(axis=1)
    return {
        "words_precision_at_1": _precision_at_1(
            encoder, vectors, exact, {query(item): wanted for item, wanted in zip(items, exact, strict=True)}
        ),
        "colour_and_kind_precision_at_1": _precision_at_1(
            encoder, vectors, loose, {f"{colour} {kind}": (colour, kind) for colour, kind in loose}
        ),
        "synonyms_precision_at_1": _precision_at_1(
            encoder, vectors, exact, {synonym_query(item): wanted for item, wanted in zip(items, exact, strict=True)}
        ),
        "picture_recall_at_1": float((ranks < 1).mean()),
        "picture_recall_at_10": float((ranks < 10).mean()),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.sample.encoder.evaluate", description="Evaluate the sample encoder."
    )
    parser.add_argument("--products", type=int, default=2000, help="size of the held-out catalog (default %(default)s)")
    parser.add_argument("--encoder", type=Path, default=FOLDER, help="folder with the weights")
    options = parser.parse_args(arguments)

    from jobs.sample.encoder.encode import (
        SampleEncoder,  # late: the drawing processes import this module and need no torch
    )

    started = time.monotonic()
    encoder = SampleEncoder(options.encoder)
    numbers = measure(encoder, options.products, processes=os.cpu_count() or 1)
    report = {
        "products": options.products,
        "seed": HELD_OUT_SEED,
        "targets": TARGETS,
        "measured": {name: round(value, 4) for name, value in numbers.items()},
        "seconds": round(time.monotonic() - started),
    }
    (options.encoder / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (options.encoder / "README.md").write_text(card(options.encoder), encoding="utf-8")
    for name, value in numbers.items():
        print(f"{name:32s} {value:.3f}" + (f"  (target {TARGETS[name]})" if name in TARGETS else ""))
    missed = [name for name, target in TARGETS.items() if numbers[name] < target]
    if missed:
        print(f"below target: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
