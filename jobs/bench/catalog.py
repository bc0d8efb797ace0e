"""What a benchmark searches: a segment of drawn vectors, or a published release with queries from its own catalog."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from artifacts.encoders.registry import load_encoder
from artifacts.errors import LookalikeError
from artifacts.schema import TIMESTAMP, segment_schema
from artifacts.segments.info import INFO_FILE, read_info
from artifacts.segments.segment import Segment
from artifacts.segments.writer import SegmentWriter
from artifacts.settings import Settings
from artifacts.store.store import Store
from jobs.bench.vectors import RECIPE, ClipLike
from jobs.evaluate.queries import draw_queries
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.workspace import Workspace

#: Of the drawn products: brands, share without a rating, the newest's day and how much older the others are at most.
_BRANDS, _UNRATED, _NEWEST, _OLDEST_DAYS = 500, 0.3, "2026-11-01", 700


@dataclass(frozen=True)
class Queries:
    """Queries of one kind: float32[n, dim], L2-normalised, and the category that each is about."""

    kind: str
    vectors: np.ndarray
    categories: np.ndarray  # n numbers or names, as in BenchCatalog.categories


@dataclass(frozen=True)
class BenchCatalog:
    """A segment to search, the category of each of its rows, and queries of each kind."""

    name: str
    segment: Segment
    categories: np.ndarray
    queries: list[Queries]


def drawn_catalog(
    rows: int,
    dim: int,
    queries: int,
    settings: Settings,
    folder: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> BenchCatalog:
    """A segment of `rows` vectors like CLIP's, made under `folder` or found there from a run before."""
    folder = folder / f"{settings.codec}-{rows}x{dim}"
    settings = settings.model_copy(update={"flat_max_rows": 0})
    shape = settings.model_dump(include={"codec", "flat_max_rows", "train_rows_per_list", "rows_per_index", "seed"})
    inputs = fingerprint(rows, dim, shape, RECIPE)
    space = ClipLike(dim, settings.seed)
    if not ((folder / INFO_FILE).exists() and read_info(folder).inputs == inputs):
        shutil.rmtree(folder, ignore_errors=True)
        writer = SegmentWriter(folder, dim)
        schema = segment_schema({})
        for block in space.pictures(rows, settings.seed + 1):
            products = _products(writer.rows, block.categories, schema, settings.seed)
            writer.add(products, block.vectors.astype(np.float16))
        writer.finish("bench", "bench", schema, settings.pipeline.index, inputs=inputs, progress=progress)
    segment = Segment(folder, verify=False)
    names = segment.column("category").to_numpy()
    pictures = next(space.pictures(queries, settings.seed + 2))
    texts = space.texts(queries, settings.seed + 3)
    kinds = [
        Queries(kind, drawn.vectors, np.array([_category(number) for number in drawn.categories]))
        for kind, drawn in (("image", pictures), ("text", texts))
    ]
    info = segment.info
    return BenchCatalog(f"{rows:,} drawn vectors, {dim}-d, {info.index.factory}", segment, names, kinds)


def _category(number: int) -> str:
    return f"c{number:03d}"


def _products(first: int, categories: np.ndarray, schema: pa.Schema, seed: int) -> pa.Table:
    """Rows with all that answers show and ranking reads; three in ten have no rating yet."""
    rows = len(categories)
    random = np.random.default_rng((seed, first))
    ids = [f"p{first + row}" for row in range(rows)]
    names = [_category(number) for number in categories]
    added = np.datetime64(_NEWEST, "us") - (random.random(rows) * _OLDEST_DAYS * 86_400e6).astype("timedelta64[us]")
    made = {
        "product_id": pa.array(ids),
        "picture": pa.array(np.zeros(rows, np.int32)),
        "image_url": pa.array([f"https://pictures.example/{product_id}.jpg" for product_id in ids]),
        "title": pa.array([f"Product {product_id} of {name}" for product_id, name in zip(ids, names, strict=True)]),
        "category": pa.array(names),
        "brand": pa.array([f"brand {number}" for number in random.integers(0, _BRANDS, rows)]),
        "price": pa.array(random.lognormal(3.5, 1.0, rows).round(2)),
        "popularity_score": pa.array(random.random(rows).round(4)),
        "conversion_rate": pa.array(random.beta(2, 20, rows).round(4)),
        "avg_rating": pa.array(random.uniform(2.5, 5, rows).round(1), mask=random.random(rows) < _UNRATED),
        "added_at": pa.array(added).cast(TIMESTAMP),
        "updated_at": pa.array(added).cast(TIMESTAMP),
    }
    return pa.table([made[field.name].cast(field.type) for field in schema], schema=schema)


def published_catalog(queries: int, settings: Settings) -> BenchCatalog:
    """The current release, with other views of its pictures and its titles as queries, drawn from the workspace.

    Raises:
        LookalikeError: the release has more than one segment, or the workspace is not the one it was made in.
    """
    store = Store(settings.releases, settings.cache)
    manifest = store.manifest()
    if len(manifest.segments) != 1:
        raise LookalikeError(f"version {manifest.version} has {len(manifest.segments)} segments; rebuild it first")
    encoder = load_encoder(str(manifest.encoder["spec"]), settings.device)
    segment = Segment(store.fetch(manifest)[0])
    workspace = Workspace.existing(settings.workspace)
    names = segment.column("category").to_numpy()
    of = dict(zip(segment.column("product_id").to_pylist(), names, strict=True))
    kinds: list[Queries] = []
    for drawn in draw_queries(workspace, encoder, queries, settings.seed):
        here = [place for place, product_id in enumerate(drawn.product_ids) if product_id in of]
        if not here:
            raise LookalikeError(f"none of the products in {settings.workspace} are in version {manifest.version}")
        about = np.array([of[drawn.product_ids[place]] for place in here])
        kinds.append(Queries(drawn.modality, drawn.vectors[here], about))
    index = segment.info.index
    return BenchCatalog(f"{segment.info.rows:,} pictures of {manifest.version}, {index.factory}", segment, names, kinds)
