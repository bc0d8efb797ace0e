"""The data of a benchmark: a segment of drawn vectors, or a published release with queries of its own catalog."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from artifacts.config import IndexConfig, PipelineConfig
from artifacts.encoders.registry import load_encoder
from artifacts.errors import LookalikeError
from artifacts.schema import TIMESTAMP, segment_schema
from artifacts.segments.info import INFO_FILE, read_info
from artifacts.segments.segment import Segment
from artifacts.segments.writer import SegmentWriter
from artifacts.store.store import Store
from jobs.bench.vectors import RECIPE, ClipLike, Drawn
from jobs.evaluate.queries import draw_queries
from jobs.steps import Progress, no_progress
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.workspace import Workspace

# The drawn products: brands, share without a rating, day of the newest, and age of the oldest relative to it.
_BRANDS, _UNRATED, _NEWEST, _OLDEST_DAYS = 500, 0.3, "2026-11-01", 700


@dataclass(frozen=True)
class Queries:
    """Queries of one modality, each about one category."""

    modality: str  # image | text
    vectors: np.ndarray  # float32[n, dim], L2-normalised
    categories: np.ndarray  # n names


@dataclass(frozen=True)
class BenchCatalog:
    """A segment to search, and queries of each modality."""

    name: str  # for titles
    segment: Segment
    categories: np.ndarray  # the category of each row; None where it has none
    queries: list[Queries]


def drawn_catalog(
    rows: int,
    dim: int,
    queries: int,
    config: IndexConfig,
    folder: Path,
    *,
    progress: Progress = no_progress,
) -> BenchCatalog:
    """Draw a segment of `rows` vectors like CLIP's, or open the one that an earlier run with the same arguments kept.

    Args:
        rows: number of vectors.
        dim: of the vectors.
        queries: number of queries of each modality.
        config: of the index, which is never flat, whatever `flat_max_rows` says.
        folder: keeps the segment for later runs.
        progress: called with the number of rows indexed and of all rows.
    """
    folder = folder / f"{config.codec}-{rows}x{dim}"
    config = replace(config, flat_max_rows=0)
    inputs = fingerprint(rows, dim, asdict(config), RECIPE)
    space = ClipLike(dim, config.seed)
    if not ((folder / INFO_FILE).exists() and read_info(folder).inputs == inputs):
        shutil.rmtree(folder, ignore_errors=True)
        schema = segment_schema({})
        writer = SegmentWriter(folder, dim, schema, config)
        for block in space.pictures(rows, config.seed + 1):
            products = product_rows(writer.rows, block.categories, schema, config.seed)
            writer.add(products, block.vectors.astype(np.float16))
        writer.finish("bench", "bench", inputs=inputs, progress=progress)
    segment = Segment(folder, verify=False)
    sets = [
        _to_queries("image", next(space.pictures(queries, config.seed + 2))),
        _to_queries("text", space.texts(queries, config.seed + 3)),
    ]
    name = f"{rows:,} drawn vectors, {dim}-d, {segment.info.index.factory}"
    return BenchCatalog(name, segment, segment.column("category").to_numpy(), sets)


def _to_queries(modality: str, drawn: Drawn) -> Queries:
    return Queries(modality, drawn.vectors, np.array([category_name(number) for number in drawn.categories]))


def category_name(number: int) -> str:
    """Return the name of a drawn category."""
    return f"c{number:03d}"


def product_rows(first: int, categories: np.ndarray, schema: pa.Schema, seed: int) -> pa.Table:
    """Draw product rows with every column that answers contain and ranking reads; 30 % have no rating.

    Args:
        first: number of the first row in the segment.
        categories: int64[n], the category of each row.
    """
    rows = len(categories)
    random = np.random.default_rng((seed, first))
    ids = [f"p{first + row}" for row in range(rows)]
    names = [category_name(number) for number in categories]
    added = np.datetime64(_NEWEST, "us") - (random.random(rows) * _OLDEST_DAYS * 86_400e6).astype("timedelta64[us]")
    columns = {
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
    return pa.table([columns[field.name].cast(field.type) for field in schema], schema=schema)


def published_catalog(queries: int, config: PipelineConfig) -> BenchCatalog:
    """Open the current release, with queries of its own catalog: other views of its pictures, and its titles.

    Args:
        queries: number of queries of each modality.
        config: names the releases and the workspace that the current release was built in.

    Raises:
        LookalikeError: the release has more than one segment, or it was built in another workspace.
    """
    store = Store(config.releases, config.cache)
    manifest = store.manifest()
    if len(manifest.segments) != 1:
        raise LookalikeError(f"version {manifest.version} has {len(manifest.segments)} segments; rebuild it first")
    encoder = load_encoder(str(manifest.encoder["spec"]), config.encoder.device)
    segment = Segment(store.fetch(manifest)[0])
    workspace = Workspace.existing(config.workspace)
    categories = segment.column("category").to_numpy()
    category_of = dict(zip(segment.column("product_id").to_pylist(), categories, strict=True))
    sets: list[Queries] = []
    for drawn in draw_queries(workspace, encoder, queries, config.gate.seed):
        positions = [position for position, product_id in enumerate(drawn.product_ids) if product_id in category_of]
        if not positions:
            raise LookalikeError(f"none of the products in {config.workspace} is in version {manifest.version}")
        query_categories = np.array([category_of[drawn.product_ids[position]] for position in positions])
        sets.append(Queries(drawn.modality, drawn.vectors[positions], query_categories))
    name = f"{segment.info.rows:,} pictures of {manifest.version}, {segment.info.index.factory}"
    return BenchCatalog(name, segment, categories, sets)
