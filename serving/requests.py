"""From what a caller sent to what `search` takes: filters, options and query vectors, refused by field where wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from PIL import Image
from werkzeug.datastructures import FileStorage

from artifacts.errors import PictureError, QueryError
from artifacts.filters import Condition, Filter, make_condition
from artifacts.pictures import PICTURE_SIDE, read_picture
from artifacts.schema import Reason
from artifacts.settings import Settings
from serving.models import Common
from serving.search import Options, mean_vector
from serving.snapshot import Snapshot

#: A crop is cut from a larger decoding, so that a small part of a large photo keeps its detail.
_CROP_SIDE = 4 * PICTURE_SIDE
#: A crop below this share of a side is a slip of the hand.
_MIN_CROP = 0.02


def options_from(asked: Common, snapshot: Snapshot, settings: Settings) -> Options:
    """The options of a search.

    Raises:
        QueryError: a filter or facet names what is not there, or asks for too much.
    """
    if asked.offset > settings.max_offset:
        raise QueryError("offset", f"at most {settings.max_offset}; narrow the search with filters instead")
    cap = settings.max_per_category if asked.max_per_category is None else asked.max_per_category
    return Options(
        conditions=filter_from(asked, snapshot, settings),
        categories=tuple(asked.category),
        limit=asked.limit,
        offset=asked.offset,
        rerank=asked.rerank,
        # The cap is a part of ranking: an order by similarity alone is just that, unless a cap is asked for.
        max_per_category=cap if asked.rerank or asked.max_per_category is not None else 0,
        facets=tuple(name.strip() for each in asked.facets for name in each.split(",") if name.strip()),
        recall=asked.recall,
        explain=asked.explain,
    )


def filter_from(asked: Common, snapshot: Snapshot, settings: Settings) -> Filter:
    """The conditions that a request sets, in one order however it wrote them: a filter is a cache key."""
    values = [asked.category, asked.category_not, asked.brand, asked.brand_not, asked.filter, asked.filter_not]
    if sum(map(len, values)) > settings.max_filter_values:
        raise QueryError("filter", f"more than {settings.max_filter_values} values in one request")
    if asked.price_min is not None and asked.price_max is not None and asked.price_min > asked.price_max:
        raise QueryError("price_min", f"{asked.price_min} is above price_max {asked.price_max}")
    columns = snapshot.release.columns
    conditions: list[Condition] = []
    for column, wanted, unwanted in (
        ("category", asked.category, asked.category_not),
        ("brand", asked.brand, asked.brand_not),
    ):
        if wanted or unwanted:
            field = column if wanted else f"{column}_not"
            conditions.append(make_condition(columns, field, column, any_of=wanted, none_of=unwanted))
    if asked.price_min is not None or asked.price_max is not None:
        field = "price_max" if asked.price_min is None else "price_min"
        conditions.append(make_condition(columns, field, "price", minimum=asked.price_min, maximum=asked.price_max))
    for name, wanted in _by_name("filter", asked.filter).items():
        conditions.append(make_condition(columns, "filter", name, any_of=wanted))
    for name, unwanted in _by_name("filter_not", asked.filter_not).items():
        conditions.append(make_condition(columns, "filter_not", name, none_of=unwanted))
    return tuple(sorted(conditions, key=repr))


def _by_name(field: str, pairs: Sequence[str]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        name, colon, value = pair.partition(":")
        if not colon or not name:
            raise QueryError(field, f"{pair[:80]!r} is not of the form name:value")
        values[name].append(value)
    return values


def text_vector(snapshot: Snapshot, text: str, settings: Settings) -> np.ndarray:
    """float32[dim] of a text query.

    Raises:
        QueryError: there is nothing to look for, or too much.
        TextNotSupported: the release's encoder sees pictures only.
    """
    text = text.strip()
    if not text:
        raise QueryError("q", "is empty; say what to look for")
    if len(text) > settings.max_query_chars:
        raise QueryError("q", f"{len(text)} characters; at most {settings.max_query_chars} are read")
    return mean_vector(snapshot.encoder.encode_texts([text]), "q")


def images_vector(
    snapshot: Snapshot, images: Sequence[FileStorage], crop: str | None, settings: Settings
) -> np.ndarray:
    """float32[dim] in the middle of one or several pictures.

    Raises:
        QueryError, PictureError: too many pictures, a bad crop, or not a picture that can be read.
    """
    if len(images) > settings.max_images:
        raise QueryError("image", f"{len(images)} pictures; at most {settings.max_images} in one query")
    box = _crop_box(crop)
    pictures = [_picture(image, box, settings) for image in images]
    return mean_vector(snapshot.encoder.encode_images(pictures), "image")


def _picture(image: FileStorage, box: tuple[float, ...] | None, settings: Settings) -> Image.Image:
    content = image.stream.read(settings.max_image_bytes + 1)
    if len(content) > settings.max_image_bytes:
        raise PictureError(Reason.TOO_MANY_BYTES, f"more than {settings.max_image_bytes:,} bytes; send a smaller one")
    if box is None:
        return read_picture(content, max_pixels=settings.max_pixels)
    picture = read_picture(content, max_pixels=settings.max_pixels, side=_CROP_SIDE)
    width, height = picture.size
    left, top, right, bottom = box
    edges = (int(left * width), int(top * height), max(1, round(right * width)), max(1, round(bottom * height)))
    part = picture.crop(edges)
    part.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return part


def _crop_box(crop: str | None) -> tuple[float, ...] | None:
    if crop is None:
        return None
    try:
        box = tuple(float(part) for part in crop.split(","))
        left, top, right, bottom = box
    except ValueError:
        raise QueryError("crop", f"{crop[:80]!r} is not of the form x0,y0,x1,y1 with numbers from 0 to 1") from None
    if not all(0 <= edge <= 1 for edge in box) or right - left < _MIN_CROP or bottom - top < _MIN_CROP:
        raise QueryError(
            "crop", f"{crop[:80]!r}: 0 ≤ x0 < x1 ≤ 1 and 0 ≤ y0 < y1 ≤ 1 are needed, at least {_MIN_CROP} apart"
        )
    return box
