"""Queries to measure a release with: pictures as a shopper might take them, and the words of titles.

A picture of the catalog itself would find itself at any setting. So a picture query is another view of one: cropped,
perhaps mirrored, lighter or darker, and compressed again. Text vectors lie elsewhere in a CLIP model's space than
pictures, and are harder for an index that was trained on pictures; so text queries are measured separately.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import pyarrow as pa
from PIL import Image, ImageEnhance, ImageOps

from artifacts.encoders.base import Encoder
from artifacts.pictures import encode_jpeg, open_stored
from artifacts.schema import OK
from jobs.index.shard_rows import JpegReader
from jobs.parquet import open_for_batches, read_parquet
from jobs.workspace.workspace import Workspace

#: Queries of each modality that the report shows with their results.
SHOWN = 4
#: Shards that queries are drawn from. A hash assigns products to shards, so any shard is a fair sample.
_SHARDS = 8


@dataclass(frozen=True)
class QuerySet:
    """Queries of one modality, with the product that each was made from.

    Attributes:
        modality: image or text; the key of the manifest's search parameters.
        vectors: float32[n, dim], L2-normalised.
        product_ids: n ids.
        shown: for the report, what a few of the queries were made of, by their position: the JPEG of a picture, or the
            text.
    """

    modality: str
    vectors: np.ndarray
    product_ids: list[str]
    shown: Mapping[int, bytes | str] = field(default_factory=dict)

    def first(self, count: int) -> QuerySet:
        """Return at most `count` of the queries, taken evenly; none of them is shown."""
        step = max(1, -(-len(self.product_ids) // count))
        return QuerySet(self.modality, self.vectors[::step], self.product_ids[::step])


def draw_queries(workspace: Workspace, encoder: Encoder, count: int, seed: int) -> list[QuerySet]:
    """Draw queries of each modality that the encoder supports: `count` of each, or fewer from a smaller catalog."""
    random = np.random.default_rng(seed)
    chosen = sorted(random.choice(workspace.shards, size=min(workspace.shards, _SHARDS), replace=False))
    share = -(-count // len(chosen))
    pictures: list[tuple[str, bytes]] = []
    titles: dict[str, str] = {}  # title -> product; two products of one title would be one query
    for shard in chosen:
        pictures += _sample_pictures(workspace, int(shard), share, random)
        titles |= _sample_titles(workspace, int(shard), share, random)
    pictures = pictures[:count]
    views = [another_view(open_stored(jpeg), random) for _, jpeg in pictures]
    shown = {number: encode_jpeg(views[number], quality=85) for number in _shown(len(views))}
    sets = [QuerySet("image", _encoded_pictures(encoder, views), [product_id for product_id, _ in pictures], shown)]
    if encoder.supports_text and titles:
        texts = list(titles)[:count]
        shown = {number: texts[number] for number in _shown(len(texts))}
        sets.append(QuerySet("text", encoder.encode_texts(texts), [titles[text] for text in texts], shown))
    return [queries for queries in sets if len(queries.product_ids)]


def _shown(count: int) -> list[int]:
    """Return the positions of the queries that the report shows, taken evenly."""
    return sorted({round(position) for position in np.linspace(0, count - 1, SHOWN)}) if count else []


def another_view(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return the picture as another photo of the same product might look."""
    width, height = picture.size
    share = random.uniform(0.8, 1.0)
    left, top = random.uniform(0, 1 - share, size=2) * (width, height)
    view = picture.crop((int(left), int(top), math.ceil(left + share * width), math.ceil(top + share * height)))
    if random.random() < 0.5:
        view = ImageOps.mirror(view)
    view = ImageEnhance.Brightness(view).enhance(random.uniform(0.85, 1.15))
    return open_stored(encode_jpeg(view, quality=75))


def _encoded_pictures(encoder: Encoder, views: list[Image.Image]) -> np.ndarray:
    blocks = [encoder.encode_images(views[start : start + 64]) for start in range(0, len(views), 64)]
    return np.concatenate(blocks) if blocks else np.empty((0, encoder.dim), np.float32)


def _sample_pictures(
    workspace: Workspace, shard: int, count: int, random: np.random.Generator
) -> list[tuple[str, bytes]]:
    """(product_id, JPEG) of pictures drawn from a shard."""
    with workspace.images.open(shard) as file:
        pictures = open_for_batches(file)
        good = np.flatnonzero(pictures.read(["status"])["status"].to_numpy() == OK)
        chosen = np.sort(random.choice(good, size=min(count, len(good)), replace=False))
        product_ids = pictures.read(["product_id"])["product_id"].take(pa.array(chosen)).to_pylist()
        jpegs = chain.from_iterable(JpegReader(pictures).blocks(chosen))
        return list(zip(product_ids, jpegs, strict=True))


def _sample_titles(workspace: Workspace, shard: int, count: int, random: np.random.Generator) -> dict[str, str]:
    """title -> product_id of titles drawn from a shard."""
    with workspace.catalog.open(shard) as file:
        rows = read_parquet(file, columns=["product_id", "title"]).to_pylist()
    titled = [(row["title"], row["product_id"]) for row in rows if row["title"]]
    chosen = random.choice(len(titled), size=min(count, len(titled)), replace=False)
    return dict(titled[number] for number in chosen)
