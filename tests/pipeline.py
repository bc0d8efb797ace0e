"""A small catalog of drawn pictures, and the pipeline's steps on it without Spark, for tests of what comes after."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from artifacts.settings import Settings
from artifacts.store.store import Store
from jobs.candidate import Candidate
from jobs.catalog.step import run_catalog
from jobs.download.step import download_shard
from jobs.embed.step import embed_shard
from jobs.evaluate.step import run_evaluate
from jobs.index.parts import run_parts
from jobs.index.seal import run_seal
from jobs.index.train import run_train
from jobs.load.step import run_load
from jobs.publish import PublishReport, run_publish
from jobs.steps import StepContext, StepResult
from jobs.workspace.workspace import Workspace

COLOURS = {
    "red": (200, 30, 40), "green": (30, 160, 60), "blue": (40, 70, 200), "yellow": (230, 200, 40),
    "white": (245, 245, 245), "black": (20, 20, 22),
}  # fmt: skip
SHAPES = ("square", "circle", "triangle")


def draw(path: Path, colour: str, shape: str, seed: int) -> None:
    """Draw a picture of one shape; every seed gives another picture."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (160, 160), (225, 222, 215))
    x, y = random.integers(10, 50, 2)
    size = int(random.integers(70, 100))
    fill = tuple(int(c) for c in np.clip(np.array(COLOURS[colour]) + random.integers(-14, 15, 3), 0, 255))
    pen = ImageDraw.Draw(image)
    if shape == "square":
        pen.rectangle((x, y, x + size, y + size), fill)
    elif shape == "circle":
        pen.ellipse((x, y, x + size, y + size), fill)
    else:
        pen.polygon([(x, y + size), (x + size, y + size), (x + size / 2, y)], fill)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90)


def write_small_catalog(folder: Path, products: int = 36, extra: Sequence[Mapping[str, str]] = ()) -> Path:
    """catalog.csv with pictures beside it: products p000 …, of every colour and shape; `extra` rows follow."""
    rows: list[dict[str, str]] = []
    for number in range(products):
        colour, shape = list(COLOURS)[number % 6], SHAPES[number // 6 % 3]
        draw(folder / f"images/{number:03d}.jpg", colour, shape, number)
        rows.append(
            {
                "product_id": f"p{number:03d}",
                "image_url": f"images/{number:03d}.jpg",
                "title": f"{colour} {shape} number {number}",
                "category": shape,
                "brand": f"brand {number % 4}",
                "price": str(number),
                "avg_rating": "4.8" if number % 5 == 0 else "3.9",
                "popularity_score": "" if number % 7 == 0 else str(number % 10 / 10),
                "added_at": "2026-01-01",
                "colour": colour,
                "size": str(number % 3),
            }
        )
    path = folder / "catalog.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), restval="")
        writer.writeheader()
        writer.writerows([*rows, *extra])
    return path


def small_settings(folder: Path, **changes: object) -> Settings:
    """Settings for a build of the small catalog under `folder`."""
    defaults = {
        "releases": str(folder / "releases"),
        "workspace": str(folder / "workspace"),
        "cache": folder / "cache",
        "encoder": "python:tests.encoders:ColourWords",
        "shards": 2,
        "evaluation_queries": 20,
        "picture_side": 160,
        "deadline_seconds": 60,  # for a server on a busy machine
    }
    return Settings.model_validate(defaults | changes)


def prepare(catalog: Path, settings: Settings) -> tuple[Workspace, Store]:
    """Catalog, download and embed, without Spark."""
    context = prepared(catalog, settings)
    return context.workspace, context.store


def context_on(workspace: Workspace, settings: Settings, **fields: object) -> StepContext:
    """A context on a workspace that a test has written, with a store beside it."""
    folder = Path(workspace.url)
    return StepContext(settings.pipeline, workspace, Store(str(folder / "releases"), folder / "cache"), **fields)  # type: ignore[arg-type]


def prepared(catalog: Path, settings: Settings) -> StepContext:
    """The context of the steps after catalog, download and embed, which are done without Spark."""
    config = settings.pipeline
    context = StepContext.open(config, str(catalog))
    run_catalog(context)
    for shard in range(config.shards):
        download_shard(context.workspace, shard, config.download)
        embed_shard(context.workspace, shard, config.encoder, cache=config.cache)
    return context


def run_index(context: StepContext) -> StepResult[Candidate]:
    """The steps of the index, one after the other."""
    run_train(context)
    run_parts(context)
    return run_seal(context)


def publish_small(catalog: Path, settings: Settings) -> tuple[StepResult[Candidate], PublishReport]:
    """All steps, without Spark."""
    context = prepared(catalog, settings)
    indexed = run_index(context)
    run_load(context)
    run_evaluate(context)
    return indexed, run_publish(context).report
