"""From queries to query vectors.

    query vector = normalise( Σ weight · part  −  weight_unlike · unlike )

Every part is a unit vector first: the text, the pictures' weighted mean, the mean of the products liked. With text and
pictures this is the usual weighted sum of a hybrid search; subtracting what is not liked is Rocchio's relevance
feedback (1971), reduced to one direction. The texts and the pictures of a batch take one call of the encoder each.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from artifacts.config import QueryLimits
from artifacts.errors import EncoderError, InputError, PictureError, QueryError, QueryPictureError
from artifacts.pictures import PICTURE_SIDE, read_picture
from artifacts.release.release import Release
from serving.cache import Cache
from serving.releases.snapshot import Snapshot, engine_seconds
from serving.search.query import Query, QueryPicture
from serving.search.seen_pictures import SeenPictures
from serving.search.task import SearchTask

#: A crop is cut from a picture decoded at this multiple of the usual size, so that a small part of a large photo keeps
#: its detail.
_CROP_DETAIL = 4


def encode_queries(
    tasks: Sequence[SearchTask],
    snapshot: Snapshot,
    limits: QueryLimits,
    cache: Cache,
    seen: SeenPictures,
    expires: float,
) -> None:
    """Set the vector of each task, or its problem.

    One call of the encoder for all texts, and one for all pictures, that are neither in the cache nor seen before.

    Args:
        expires: when the request's deadline passes, by `time.perf_counter`.

    Raises:
        EngineUnavailable: an engine that has a product's vectors does not return them in time.
    """
    texts = _encode_texts(tasks, snapshot, cache)
    pictures = _encode_pictures(tasks, snapshot, limits, cache, seen)
    for task, picture_vectors in zip(tasks, pictures, strict=True):
        try:
            if isinstance(picture_vectors, InputError):
                raise picture_vectors
            text_vector = texts.get(task.query.text) if task.query.text is not None else None
            if isinstance(text_vector, InputError):
                raise text_vector
            task.vector = _combine(snapshot, task.query, text_vector, picture_vectors, expires)
        except InputError as error:
            task.problem = error


def _encode_texts(
    tasks: Sequence[SearchTask], snapshot: Snapshot, cache: Cache
) -> dict[str, np.ndarray] | dict[str, InputError]:
    """Return the vector float32[dim] of each text; an error for each if the encoder has no text tower."""
    texts = list(dict.fromkeys(task.query.text for task in tasks if task.query.text is not None))
    if not texts:
        return {}
    keys = {text: f"{snapshot.encoder.id}:{hashlib.sha256(text.encode()).hexdigest()}" for text in texts}
    vectors = _read_cache(cache, list(keys.values()), snapshot.encoder.dim)
    missing = [text for text in texts if keys[text] not in vectors]
    try:
        encoded = dict(zip((keys[text] for text in missing), snapshot.encode_texts(missing), strict=True))
    except EncoderError as error:  # the encoder sees pictures only
        return dict.fromkeys(texts, error)
    cache.put_many({key: vector.tobytes() for key, vector in encoded.items()})
    return {text: (vectors | encoded)[key] for text, key in keys.items()}


def _read_cache(cache: Cache, keys: Sequence[str], dim: int) -> dict[str, np.ndarray]:
    """Return the cached vectors float32[dim] of these keys; a value of another length counts as missing."""
    values = zip(keys, cache.get_many(keys), strict=True) if keys else ()
    return {key: np.frombuffer(value, np.float32) for key, value in values if value and len(value) == 4 * dim}


def _encode_pictures(
    tasks: Sequence[SearchTask], snapshot: Snapshot, limits: QueryLimits, cache: Cache, seen: SeenPictures
) -> list[list[np.ndarray] | InputError]:
    """Return for each task the vectors of its pictures, or why one of them cannot be read."""
    # Queries are read as the catalog was, or a catalog's own picture would not give its own vector.
    side = int(snapshot.manifest.settings.get("picture_side", PICTURE_SIDE))
    encoder = snapshot.encoder
    digests = {picture.digest for task in tasks for picture in task.query.pictures}
    keys = {digest: f"{encoder.id}:{side}:{digest}" for digest in digests}
    cached = _read_cache(cache, list(keys.values()), encoder.dim)
    vectors = {digest: cached[key] for digest, key in keys.items() if key in cached}
    known = seen.get_many(encoder.id, side, encoder.dim, [digest for digest in digests if digest not in vectors])
    vectors |= known
    errors: dict[int, InputError] = {}
    missing: dict[str, Image.Image] = {}
    for position, task in enumerate(tasks):
        try:
            for picture in task.query.pictures:
                if picture.digest not in vectors and picture.digest not in missing:
                    missing[picture.digest] = _decode(picture, limits, side)
        except PictureError as error:
            errors[position] = QueryPictureError(task.query.field_name("images"), error.detail, error.reason)
    encoded: dict[str, np.ndarray] = {}
    for start in range(0, len(missing), limits.embed_batch):
        batch = list(missing)[start : start + limits.embed_batch]
        # Preprocessed in the request's own thread: only the model's call is shared with other requests.
        prepared = [encoder.prepare(missing[digest]) for digest in batch]
        encoded.update(zip(batch, snapshot.encode_pictures(prepared), strict=True))
    encoded = seen.put_many(encoder.id, side, encoded)
    cache.put_many({keys[digest]: vector.tobytes() for digest, vector in (known | encoded).items()})
    vectors |= encoded
    return [
        errors[position] if position in errors else [vectors[picture.digest] for picture in task.query.pictures]
        for position, task in enumerate(tasks)
    ]


def _decode(picture: QueryPicture, limits: QueryLimits, side: int) -> Image.Image:
    """Return the picture, or the part of it inside its box, at most `side` px."""
    if picture.box is None:
        return read_picture(picture.content, max_pixels=limits.max_pixels, side=side)
    image = read_picture(picture.content, max_pixels=limits.max_pixels, side=_CROP_DETAIL * side)
    left, top, right, bottom = (edge * length for edge, length in zip(picture.box, image.size * 2, strict=True))
    # Rounded outwards, so that at least a pixel is left of a narrow picture.
    part = image.crop((int(left), int(top), math.ceil(right), math.ceil(bottom)))
    part.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return part


def _combine(
    snapshot: Snapshot,
    query: Query,
    text_vector: np.ndarray | None,
    picture_vectors: Sequence[np.ndarray],
    expires: float,
) -> np.ndarray:
    """Return the query vector float32[dim] of a query's parts."""
    weights, dim = query.weights, snapshot.encoder.dim
    parts: list[tuple[float, np.ndarray]] = []
    if text_vector is not None:
        parts.append((weights.text, unit_vector(text_vector, query.field_name("text"))))
    if picture_vectors:
        mean = np.average(np.stack(picture_vectors), axis=0, weights=[picture.weight for picture in query.pictures])
        parts.append((weights.images, unit_vector(mean, query.field_name("images"))))
    if query.vector is not None:
        if len(query.vector) != dim:
            raise QueryError("vector", f"has {len(query.vector)} numbers; this release's vectors have {dim}")
        parts.append((weights.vector, unit_vector(np.array(query.vector), "vector", minimum=0.0)))
    for product_ids, weight, field in (
        (query.like, weights.like, query.field_name("like")),
        (query.unlike, -weights.unlike, "unlike"),
    ):
        if product_ids:
            vectors = [_product_vector(snapshot.release, product_id, field, expires) for product_id in product_ids]
            parts.append((weight, unit_vector(np.mean(vectors, axis=0), field)))
    if len(parts) == 1:
        return parts[0][1]
    total = np.sum([weight * part for weight, part in parts], axis=0)
    return unit_vector(total, query.field_name("weights"))


def _product_vector(release: Release, product_id: str, field: str, expires: float) -> np.ndarray:
    """Return the mean of a product's stored vectors: no picture is downloaded."""
    vectors = release.product_vectors(product_id, engine_seconds(expires))
    if vectors is None:
        raise QueryError(field, f"there is no product {product_id[:200]!r} in the release being served")
    return unit_vector(vectors.mean(axis=0), field)


def unit_vector(vector: np.ndarray, field: str, *, minimum: float = 1e-6) -> np.ndarray:
    """Return the unit vector float32[dim] in a vector's direction.

    Args:
        field: the request's parameter, for the error message.
        minimum: a vector whose largest number is not above this counts as zero, up to rounding.

    Raises:
        QueryError: the vector is zero or not finite.
    """
    largest = float(np.abs(vector).max())
    if not np.isfinite(largest) or largest <= minimum:
        raise QueryError(field, "the query has no direction: its parts cancel out, or the encoder could not encode it")
    scaled = vector / largest  # or the squares of large numbers would overflow
    return (scaled / np.linalg.norm(scaled)).astype(np.float32)
