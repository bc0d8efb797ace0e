"""Evaluates the sample encoder on products that it was not trained on: python -m jobs.sample.encoder.evaluate

A catalog of a held-out seed is drawn, compressed as JPEG, and searched exactly (no index): by words, and by another
picture of a product. The seed determines the correct results.
"""

import argparse
import io
import json
import os
import time
from collections.abc import Iterator
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
from jobs.sample.encoder.model_card import model_card
from jobs.sample.encoder.recipe import FOLDER
from jobs.sample.kinds.registry import KINDS
from jobs.sample.product import Product, generate_product, generator
from jobs.sample.words import pick, query

if TYPE_CHECKING:
    from jobs.sample.encoder.sample_encoder import SampleEncoder

HELD_OUT_SEED = 2026
TARGETS = {"words_precision_at_1": 0.85, "picture_recall_at_10": 0.9}
_SYNONYM_STREAM = 6
_BLOCK = 32  # pictures that a process draws in one task


class _Task(NamedTuple):
    seed: int
    start: int
    stop: int
    view: int
    side: int


def _draw(task: _Task) -> list[bytes]:
    return [jpeg(generate_product(task.seed, index), task.view, task.side) for index in range(task.start, task.stop)]


def _draw_jpegs(seed: int, products: int, view: int, side: int, processes: int) -> Iterator[list[bytes]]:
    """Yield JPEGs of one view of every product, in blocks."""
    tasks = [_Task(seed, start, min(start + _BLOCK, products), view, side) for start in range(0, products, _BLOCK)]
    if processes == 1:
        yield from map(_draw, tasks)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_draw, tasks)


def _encode(encoder: "SampleEncoder", blocks: Iterator[list[bytes]]) -> NDArray[np.float32]:
    """Return float32[products, dim], L2-normalised."""
    pictures = ([Image.open(io.BytesIO(data)) for data in block] for block in blocks)
    return np.concatenate([encoder.encode_pictures(block) for block in pictures])


def synonym_query(product: Product) -> str:
    """Return a query in synonyms: "scarlet polka dot cup" for a red dotted mug."""
    rng = generator(product.seed, _SYNONYM_STREAM, product.index)
    colour, pattern = pick(rng, COLOUR_SYNONYMS[product.colour]), pick(rng, PATTERN_SYNONYMS[product.pattern])
    kind = pick(rng, KINDS[product.kind].synonyms or (product.kind,))
    return f"{colour} {kind} {pattern}" if pattern.startswith("with ") else f"{colour} {pattern} {kind}"


def _precision_at_1(
    encoder: "SampleEncoder",
    vectors: NDArray[np.float32],
    truth: list[tuple[str, ...]],
    queries: dict[str, tuple[str, ...]],
) -> float:
    """Return the share of the queries whose first result has the requested attributes.

    Args:
        vectors: float32[products, dim].
        truth: attributes of each product.
        queries: the attributes that each text asks for.
    """
    nearest = (encoder.encode_texts(list(queries)) @ vectors.T).argmax(axis=1).tolist()
    return float(np.mean([truth[row] == attributes for row, attributes in zip(nearest, queries.values(), strict=True)]))


def measure(
    encoder: "SampleEncoder", products: int = 2000, seed: int = HELD_OUT_SEED, side: int = 512, processes: int = 1
) -> dict[str, float]:
    """Return each measure, 0 to 1. Every query asks for attributes of at least one product in the catalog.

    Args:
        products: size of the held-out catalog.
        side: pixels along a picture's longer edge.
        processes: number of processes that draw.
    """
    catalog = [generate_product(seed, index) for index in range(products)]
    vectors = _encode(encoder, _draw_jpegs(seed, products, 0, side, processes))
    other_views = _encode(encoder, _draw_jpegs(seed, products, 1, side, processes))
    exact = [(product.colour, product.pattern, product.kind) for product in catalog]
    loose = [(product.colour, product.kind) for product in catalog]
    plain_queries = {query(product): attributes for product, attributes in zip(catalog, exact, strict=True)}
    synonym_queries = {synonym_query(product): attributes for product, attributes in zip(catalog, exact, strict=True)}
    short_queries = {f"{colour} {kind}": (colour, kind) for colour, kind in loose}
    scores = other_views @ vectors.T
    own_scores = scores[np.arange(products), np.arange(products)]
    ranks = (scores > own_scores[:, None]).sum(axis=1)
    return {
        "words_precision_at_1": _precision_at_1(encoder, vectors, exact, plain_queries),
        "colour_and_kind_precision_at_1": _precision_at_1(encoder, vectors, loose, short_queries),
        "synonyms_precision_at_1": _precision_at_1(encoder, vectors, exact, synonym_queries),
        "picture_recall_at_1": float((ranks < 1).mean()),
        "picture_recall_at_10": float((ranks < 10).mean()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Evaluate, write evaluation.json and the model card, and return 1 if a target was missed."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.sample.encoder.evaluate", description="Evaluate the sample encoder."
    )
    parser.add_argument("--products", type=int, default=2000, help="size of the held-out catalog (default %(default)s)")
    parser.add_argument("--encoder", type=Path, default=FOLDER, help="folder with the weights")
    options = parser.parse_args(arguments)

    # Not at the top: the processes that draw import this module, and torch takes seconds to load.
    from jobs.sample.encoder.sample_encoder import SampleEncoder

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
    (options.encoder / "README.md").write_text(model_card(options.encoder), encoding="utf-8")
    for name, value in numbers.items():
        print(f"{name:32s} {value:.3f}" + (f"  (target {TARGETS[name]})" if name in TARGETS else ""))
    missed = [name for name, target in TARGETS.items() if numbers[name] < target]
    if missed:
        print(f"below target: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
