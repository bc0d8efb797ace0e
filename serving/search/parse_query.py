"""TODO."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from artifacts.config import QueryLimits
from artifacts.errors import QueryError, QueryPictureError
from artifacts.schema import Reason
from serving.schemas import GeneralQuery, PicturePart
from serving.search.query import Box, Query, QueryPicture

#: A crop below this share of a side is a slip of the hand.
_MIN_CROP = 0.02


def validate_text(text: str, field: str, limits: QueryLimits) -> str:
    """The words to look for.

    Raises:
        QueryError: there are none, or too many.
    """
    text = text.strip()
    if not text:
        raise QueryError(field, "is empty; say what to look for")
    if len(text) > limits.max_query_chars:
        raise QueryError(field, f"{len(text)} characters; at most {limits.max_query_chars} are read")
    return text


def crop_box(crop: str | None) -> Box | None:
    """x0,y0,x1,y1 as numbers.

    Raises:
        QueryError: it is not that, or next to nothing would be left.
    """
    if crop is None:
        return None
    try:
        left, top, right, bottom = (float(part) for part in crop.split(","))
    except ValueError:
        raise QueryError("crop", f"{crop[:80]!r} is not of the form x0,y0,x1,y1 with numbers from 0 to 1") from None
    box = (left, top, right, bottom)
    if not all(0 <= edge <= 1 for edge in box) or right - left < _MIN_CROP or bottom - top < _MIN_CROP:
        raise QueryError(
            "crop", f"{crop[:80]!r}: 0 ≤ x0 < x1 ≤ 1 and 0 ≤ y0 < y1 ≤ 1 are needed, at least {_MIN_CROP} apart"
        )
    return box


def from_base64(data: str) -> bytes:
    """A picture's bytes; the head of a data: URL is skipped.

    Raises:
        QueryError: it is not base64.
    """
    if data.startswith("data:"):
        data = data.partition(",")[2]
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise QueryError("images", "a picture is not base64; send the file's bytes encoded with it") from None


def validate_picture_count(pictures: int, field: str, limits: QueryLimits) -> None:
    """Refuse too many pictures before any is read.

    Raises:
        QueryError.
    """
    if pictures > limits.max_images:
        raise QueryError(field, f"{pictures} pictures; at most {limits.max_images} in one query")


def validate_picture_sizes(contents: Sequence[bytes], field: str, limits: QueryLimits) -> None:
    """Refuse pictures that are too large before any is decoded.

    Raises:
        QueryPictureError.
    """
    if any(len(content) > limits.max_image_bytes for content in contents):
        detail = f"more than {limits.max_image_bytes:,} bytes; send a smaller one"
        raise QueryPictureError(field, detail, Reason.TOO_MANY_BYTES)


def general_query(asked: GeneralQuery, limits: QueryLimits) -> Query:
    """The query of the general form.

    Raises:
        QueryError, QueryPictureError: there is nothing to look for, or a part of it cannot be.
    """
    parts = [PicturePart(data=each) if isinstance(each, str) else each for each in asked.images]
    validate_picture_count(len(parts), "images", limits)
    contents = [from_base64(part.data) for part in parts]
    validate_picture_sizes(contents, "images", limits)
    if asked.vector is not None and not asked.vector:
        raise QueryError("vector", "is empty; leave it out, or send as many numbers as the release's vectors have")
    if asked.text is None and not parts and asked.vector is None and not asked.like:
        raise QueryError(
            "unlike" if asked.unlike else "text",
            "there is nothing to look for: send at least one of text, images, vector and like",
        )
    both = set(asked.like) & set(asked.unlike)
    if both:
        raise QueryError("unlike", f"{sorted(both)[0][:200]!r} is in like, too")
    return Query(
        text=None if asked.text is None else validate_text(asked.text, "text", limits),
        pictures=tuple(
            QueryPicture(content, crop_box(part.crop), part.weight)
            for content, part in zip(contents, parts, strict=True)
        ),
        vector=None if asked.vector is None else tuple(asked.vector),
        like=tuple(dict.fromkeys(asked.like)),
        unlike=tuple(dict.fromkeys(asked.unlike)),
        weights=asked.weights,
    )
