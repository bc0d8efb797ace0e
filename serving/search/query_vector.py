"""What is looked for: words, pictures, a vector, products liked and not, and how they become one query vector.

    query = normalise( Σ weight · part  −  weight_unlike · unlike )

Every part is a unit vector first: the pictures' weighted mean, the middle of the products liked. With text and pictures
this is the mission's hybrid formula; taking away what is unliked is Rocchio's relevance feedback (1971), cut to one
direction. Texts and pictures of a whole batch go through the encoder in one call each.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from artifacts.config import QueryLimits
from artifacts.errors import EncoderError, InputError, PictureError, QueryError, QueryPictureError
from artifacts.pictures import PICTURE_SIDE, read_picture
from artifacts.release.release import Release
from serving.cache import Cache
from serving.releases.snapshot import Snapshot
from serving.search.query import Query, QueryPicture

#: A crop is cut from a decoding so many times as large, so that a small part of a large photo keeps its detail.
_CROP_DETAIL = 4


@dataclass(frozen=True)
class QueryVector:
    """A query, ready to search with."""

    vector: np.ndarray  # float32[dim], L2-normalised
    kind: str
    without: frozenset[str]  # products that are part of the query and not of its results


def wanted(
    snapshot: Snapshot, queries: Sequence[Query], limits: QueryLimits, cache: Cache
) -> list[QueryVector | InputError]:
    """Make every query a vector: one encoder call for all texts, one for all pictures, that are not in the cache.

    Returns:
        For each query what to search with, or the error that its caller made.
    """
    found: list[QueryVector | InputError] = []
    texts = _texts(snapshot, queries, cache)
    pictures = _pictures(snapshot, queries, limits, cache)
    for query, seen in zip(queries, pictures, strict=True):
        try:
            if isinstance(seen, InputError):
                raise seen
            words = texts.get(query.text) if query.text is not None else None
            if isinstance(words, InputError):
                raise words
            vector = _mix(snapshot, query, words, seen)
            found.append(QueryVector(vector, query.kind, frozenset((*query.like, *query.unlike))))
        except InputError as error:
            found.append(error)
    return found


def _texts(snapshot: Snapshot, queries: Sequence[Query], cache: Cache) -> dict[str, np.ndarray | InputError]:
    texts = list(dict.fromkeys(query.text for query in queries if query.text is not None))
    if not texts:
        return {}
    keys = {text: f"{snapshot.encoder.id}:{hashlib.sha256(text.encode()).hexdigest()}" for text in texts}
    known = _cached(cache, list(keys.values()), snapshot.encoder.dim)
    new = [text for text in texts if keys[text] not in known]
    try:
        made = dict(zip((keys[text] for text in new), snapshot.encode_texts(new), strict=True))
    except EncoderError as error:  # one that sees pictures only
        return dict.fromkeys(texts, error)
    cache.put_many({key: vector.tobytes() for key, vector in made.items()})
    return {text: (known | made)[key] for text, key in keys.items()}


def _cached(cache: Cache, keys: Sequence[str], dim: int) -> dict[str, np.ndarray]:
    """Vectors float32[dim] of the keys that the cache has; what is no such vector is as if it were not there."""
    found = zip(keys, cache.get_many(keys), strict=True) if keys else ()
    return {key: np.frombuffer(value, np.float32) for key, value in found if value and len(value) == 4 * dim}


def _pictures(
    snapshot: Snapshot, queries: Sequence[Query], limits: QueryLimits, cache: Cache
) -> list[list[np.ndarray] | InputError]:
    """Vectors of each query's pictures, or why one of them cannot be read."""
    # Queries are read as the catalog was, or a catalog's own picture would not give its own vector.
    side = int(snapshot.manifest.settings.get("picture_side", PICTURE_SIDE))
    keys = [[f"{snapshot.encoder.id}:{side}:{picture.digest}" for picture in query.pictures] for query in queries]
    vectors = _cached(cache, list({key for each in keys for key in each}), snapshot.encoder.dim)
    errors: dict[int, InputError] = {}
    new: dict[str, Image.Image] = {}
    for place, query in enumerate(queries):
        try:
            for key, picture in zip(keys[place], query.pictures, strict=True):
                if key not in vectors and key not in new:
                    new[key] = _decoded(picture, limits, side)
        except PictureError as error:
            errors[place] = QueryPictureError(query.name("images"), error.detail, error.reason)
    made: dict[str, np.ndarray] = {}
    for start in range(0, len(new), limits.embed_batch):
        some = list(new)[start : start + limits.embed_batch]
        # Made ready here, in the request's own thread: only the model's part is shared.
        prepared = [snapshot.encoder.prepare(new[key]) for key in some]
        made.update(zip(some, snapshot.encode_pictures(prepared), strict=True))
    cache.put_many({key: vector.tobytes() for key, vector in made.items()})
    vectors |= made
    return [errors[place] if place in errors else [vectors[key] for key in each] for place, each in enumerate(keys)]


def _decoded(asked: QueryPicture, limits: QueryLimits, side: int) -> Image.Image:
    if asked.box is None:
        return read_picture(asked.content, max_pixels=limits.max_pixels, side=side)
    picture = read_picture(asked.content, max_pixels=limits.max_pixels, side=_CROP_DETAIL * side)
    left, top, right, bottom = (edge * length for edge, length in zip(asked.box, picture.size * 2, strict=True))
    # At least a pixel is left, however narrow the picture is.
    part = picture.crop((int(left), int(top), math.ceil(right), math.ceil(bottom)))
    part.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return part


def _mix(snapshot: Snapshot, query: Query, words: np.ndarray | None, pictures: Sequence[np.ndarray]) -> np.ndarray:
    weights, dim = query.weights, snapshot.encoder.dim
    parts: list[tuple[float, np.ndarray]] = []
    if words is not None:
        parts.append((weights.text, direction(words, query.name("text"))))
    if pictures:
        mean = np.average(np.stack(pictures), axis=0, weights=[picture.weight for picture in query.pictures])
        parts.append((weights.images, direction(mean, query.name("images"))))
    if query.vector is not None:
        if len(query.vector) != dim:
            raise QueryError("vector", f"has {len(query.vector)} numbers; this release's vectors have {dim}")
        parts.append((weights.vector, direction(np.array(query.vector), "vector", least=0.0)))
    for ids, weight, name in (
        (query.like, weights.like, query.name("like")),
        (query.unlike, -weights.unlike, "unlike"),
    ):
        if ids:
            middle = np.mean([_product_vector(snapshot.release, product_id, name) for product_id in ids], axis=0)
            parts.append((weight, direction(middle, name)))
    if len(parts) == 1:
        return parts[0][1]
    return direction(np.sum([weight * part for weight, part in parts], axis=0), query.name("weights"))


def _product_vector(release: Release, product_id: str, field: str) -> np.ndarray:
    """The middle of a product's pictures, as they are stored: nothing is downloaded."""
    vectors = release.product_vectors(product_id)
    if vectors is None:
        raise QueryError(field, f"there is no product {product_id[:200]!r} in the release being served")
    return direction(vectors.mean(axis=0), field)


def direction(vector: np.ndarray, field: str, *, least: float = 1e-6) -> np.ndarray:
    """The unit vector float32[dim] of a vector.

    Args:
        least: up to this its largest number is what rounding leaves of a zero.

    Raises:
        QueryError: it has none: it is zero, or not finite.
    """
    largest = float(np.abs(vector).max())
    if not np.isfinite(largest) or largest <= least:
        raise QueryError(field, "the query has no direction: its parts cancel out, or the encoder made nothing of it")
    scaled = vector / largest  # or the squares of large numbers would overflow
    return (scaled / np.linalg.norm(scaled)).astype(np.float32)
