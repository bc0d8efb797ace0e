"""The small shop that the page's tests search."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from artifacts.encoders.registry import load_encoder
from artifacts.index.params import SearchParams
from artifacts.pictures import encode_jpeg, thumbnail
from artifacts.schema import segment_schema
from artifacts.segments.writer import SegmentWriter
from artifacts.settings import Settings
from artifacts.store.manifest import Counts, Manifest
from artifacts.store.store import Store

ENCODER = "python:tests.encoders:ColourWords"

COLOURS = {"red": (200, 30, 40), "green": (30, 160, 60), "blue": (40, 70, 200), "yellow": (230, 200, 40)}
KINDS = {"Clothing": "shirt", "Kitchen": "mug", "Toys": "ball"}
BRANDS = ("Alder", "Birch & Co")
PRODUCTS = 36


def draw_product(colour: str, kind: str, shift: int = 0) -> Image.Image:
    """Draw an object of one colour on a pale background, `shift` pixels to the right."""
    picture = Image.new("RGB", (240, 200), (225, 222, 215))
    pen, box, fill = ImageDraw.Draw(picture), (50 + shift, 30, 170 + shift, 170), COLOURS[colour]
    if kind == "ball":
        pen.ellipse(box, fill)
    elif kind == "mug":
        pen.rounded_rectangle(box, 24, fill)
        pen.arc((150 + shift, 60, 200 + shift, 130), 270, 90, fill, 12)
    else:
        pen.polygon([(50 + shift, 30), (190 + shift, 30), (160 + shift, 170), (80 + shift, 170)], fill)
    return picture


def product_rows() -> list[dict[str, Any]]:
    """One row per picture of 36 products of every colour and kind, at 10 to 45; every twelfth has two pictures."""
    rows: list[dict[str, Any]] = []
    for number in range(PRODUCTS):
        colour = list(COLOURS)[number % 4]
        category, kind = list(KINDS.items())[number // 4 % 3]
        rows += [
            {
                "product_id": f"p/{number:02d}",  # an id may contain any character
                "picture": picture,
                "image_url": f"images/{number:02d}-{picture}.jpg",
                "title": f"{colour.title()} {kind} no. {number}",
                "category": category,
                "brand": BRANDS[number % 2],
                "price": 10.0 + number,
                "popularity_score": number % 10 / 100,
                "avg_rating": 4.0,
                "added_at": datetime(2026, 1, 1, tzinfo=UTC),
                "colour": colour,
                "kind": kind,
                "recycled": number % 3 == 0,
                "article": f"A-{number:04d}",
            }
            for picture in range(2 if number % 12 == 0 else 1)
        ]
    return rows


def publish_shop(releases: Path) -> Settings:
    """Publish the shop's release under `releases`, and return settings that serve it."""
    settings = Settings(
        releases=str(releases), cache=releases.parent / "cache", reload_seconds=0.05, deadline_seconds=60
    )
    encoder, store = load_encoder(ENCODER), Store(settings.releases, settings.cache)
    attributes = {"colour": pa.string(), "kind": pa.string(), "recycled": pa.bool_(), "article": pa.string()}
    schema = segment_schema(attributes)
    rows = [dict.fromkeys(schema.names) | row for row in product_rows()]
    pictures = [draw_product(row["colour"], row["kind"], row["picture"] * 20) for row in rows]
    with store.new_segment("page") as folder:
        writer = SegmentWriter(folder, encoder.dim, schema, settings.pipeline.index)
        vectors = encoder.encode_images(pictures).astype(np.float16)
        thumbnails = [thumbnail(encode_jpeg(picture), 160) for picture in pictures]
        writer.add(pa.Table.from_pylist(rows, schema), vectors, thumbnails)
        info = writer.finish("page", encoder.id)
    draft = Manifest(
        version="",
        created_at=datetime.now(UTC),
        encoder=encoder.describe(),
        segments=[store.reference("page")],
        search={"image": SearchParams(), "text": SearchParams()},
        counts=Counts(input_rows=info.products, indexed=info.products, pictures=info.rows),
    )
    store.publish(draft.named(), {}, expected=None)
    return settings
