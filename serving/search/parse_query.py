"""Parses what a caller sent into a Query. Rejects invalid input and names the field."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from artifacts.config import QueryLimits
from artifacts.errors import QueryError, QueryPictureError, UnknownProduct
from artifacts.schema import Reason
from serving.releases.snapshot import Snapshot
from serving.schemas import GeneralQuery, HybridForm, ImageForm, PicturePart, Weights
from serving.search.query import Box, Query, QueryPicture

#: A crop narrower than this share of a side is taken for a mistake.
_MIN_CROP = 0.02


def text_query(text: str, limits: QueryLimits) -> Query:
    """Return the query of `GET /v1/search/text`."""
    return Query(text=_validate_text(text, "q", limits), field_names={"text": "q"})


def image_query(form: ImageForm, limits: QueryLimits) -> Query:
    """Return the query of `POST /v1/search/image`."""
    return Query(pictures=_read_uploads(form, limits), field_names={"images": "image"})


def hybrid_query(form: HybridForm, limits: QueryLimits) -> Query:
    """Return the query of `POST /v1/search/hybrid`."""
    if not form.image and form.text is None:
        raise QueryError("text", "there is nothing to search for: send text, or pictures, or both")
    return Query(
        text=None if form.text is None else _validate_text(form.text, "text", limits),
        pictures=_read_uploads(form, limits),
        weights=Weights(images=form.image_weight, text=1 - form.image_weight),
        field_names={"images": "image", "weights": "image_weight"},
    )


def similar_query(product_id: str, snapshot: Snapshot) -> Query:
    """Return the query of `GET /v1/products/{id}/similar`.

    Raises:
        UnknownProduct: the product is not in the release.
    """
    if product_id not in snapshot.release:
        raise UnknownProduct(product_id)
    return Query(like=(product_id,), field_names={"like": "product_id"})


def general_query(body: GeneralQuery, limits: QueryLimits) -> Query:
    """Return the query of `POST /v1/search`.

    Raises:
        QueryError, QueryPictureError: there is nothing to search for, or a part of the query is not valid.
    """
    parts = [PicturePart(data=image) if isinstance(image, str) else image for image in body.images]
    _validate_picture_count(len(parts), "images", limits)
    contents = [_decode_base64(part.data) for part in parts]
    _validate_picture_sizes(contents, "images", limits)
    if body.vector is not None and not body.vector:
        raise QueryError("vector", "is empty; leave it out, or send as many numbers as the release's vectors have")
    if body.text is None and not parts and body.vector is None and not body.like:
        raise QueryError(
            "unlike" if body.unlike else "text",
            "there is nothing to search for: send at least one of text, images, vector and like",
        )
    both = set(body.like) & set(body.unlike)
    if both:
        raise QueryError("unlike", f"{sorted(both)[0][:200]!r} is in like, too")
    return Query(
        text=None if body.text is None else _validate_text(body.text, "text", limits),
        pictures=tuple(
            QueryPicture(content, _parse_crop(part.crop), part.weight)
            for content, part in zip(contents, parts, strict=True)
        ),
        vector=None if body.vector is None else tuple(body.vector),
        like=tuple(dict.fromkeys(body.like)),
        unlike=tuple(dict.fromkeys(body.unlike)),
        weights=body.weights,
    )


def _validate_text(text: str, field: str, limits: QueryLimits) -> str:
    text = text.strip()
    if not text:
        raise QueryError(field, "is empty; say what to search for")
    if len(text) > limits.max_query_chars:
        raise QueryError(field, f"{len(text)} characters; at most {limits.max_query_chars} are read")
    return text


def _read_uploads(form: ImageForm | HybridForm, limits: QueryLimits) -> tuple[QueryPicture, ...]:
    """Return the pictures of a multipart form."""
    _validate_picture_count(len(form.image), "image", limits)
    contents: list[bytes] = []
    for image in form.image:
        with image.stream:  # a large upload is a temporary file
            contents.append(image.stream.read(limits.max_image_bytes + 1))
    _validate_picture_sizes(contents, "image", limits)
    box = _parse_crop(form.crop)
    return tuple(QueryPicture(content, box) for content in contents)


def _validate_picture_count(pictures: int, field: str, limits: QueryLimits) -> None:
    """Refuse too many pictures before any is read."""
    if pictures > limits.max_images:
        raise QueryError(field, f"{pictures} pictures; at most {limits.max_images} in one query")


def _validate_picture_sizes(contents: Sequence[bytes], field: str, limits: QueryLimits) -> None:
    """Refuse pictures that are too large before any is decoded."""
    if any(len(content) > limits.max_image_bytes for content in contents):
        detail = f"more than {limits.max_image_bytes:,} bytes; send a smaller one"
        raise QueryPictureError(field, detail, Reason.TOO_MANY_BYTES)


def _parse_crop(crop: str | None) -> Box | None:
    """Return the numbers of `x0,y0,x1,y1`."""
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


def _decode_base64(data: str) -> bytes:
    """Return the bytes of a picture in JSON; the head of a data: URL is skipped."""
    if data.startswith("data:"):
        data = data.partition(",")[2]
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise QueryError("images", "a picture is not base64; send the file's bytes in base64") from None
