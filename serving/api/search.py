"""The HTTP API's searches. Every route is the general form, or a part of it: what is looked for becomes one Query."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import structlog
from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from artifacts.errors import Busy, InputError, QueryError, UnknownProduct
from serving import metrics
from serving.overload.queue_time import queue_time
from serving.overload.shedding import search_type_of
from serving.problems import describe
from serving.releases.snapshot import Snapshot
from serving.responses import errors, json_of
from serving.schemas import (
    BatchAnswer,
    BatchQuery,
    Common,
    Failed,
    GeneralQuery,
    HybridForm,
    HybridOptions,
    ImageForm,
    ImageOptions,
    ProductPath,
    SearchAnswer,
    SimilarQuery,
    TextQuery,
    Weights,
)
from serving.search.options import SearchOptions, options_from
from serving.search.paging import Cursor, search_digest
from serving.search.parse_query import (
    crop_box,
    general_query,
    validate_picture_count,
    validate_picture_sizes,
    validate_text,
)
from serving.search.query import Query, QueryPicture
from serving.search.query_vector import wanted
from serving.search.result_cache import cache_results, cached_results, result_keys
from serving.search.service import Search, run_searches
from serving.services import services
from serving.timing import RequestTimer

_Form = TypeVar("_Form", bound=Common)

_log = structlog.get_logger()

_SEARCH = Tag(name="search", description="Products that look like what is asked for.")

search_api = APIBlueprint("search", __name__)


def _kind() -> str:
    kind = search_type_of(request.path)
    assert kind is not None, request.path  # noqa: S101  (every route of this blueprint is one; a test holds it)
    return kind


@search_api.get(
    "/v1/search/text", tags=[_SEARCH], summary="Search by words", responses={200: SearchAnswer, **errors(410, 422, 503)}
)
def search_text(query: TextQuery) -> Response:
    return _answered(query, lambda _: Query(text=validate_text(query.q, "q", services().limits), names={"text": "q"}))


@search_api.post(
    "/v1/search/image",
    tags=[_SEARCH],
    summary="Search by one or more pictures",
    responses={200: SearchAnswer, **errors(400, 410, 413, 415, 422, 503)},
)
def search_image(query: ImageOptions, form: ImageForm) -> Response:
    asked = _merged(query, form)
    return _answered(asked, lambda _: Query(pictures=_pictures(asked), names={"images": "image"}))


@search_api.post(
    "/v1/search/hybrid",
    tags=[_SEARCH],
    summary="Search by pictures and words together",
    responses={200: SearchAnswer, **errors(400, 410, 413, 415, 422, 503)},
)
def search_hybrid(query: HybridOptions, form: HybridForm) -> Response:
    asked = _merged(query, form)

    def mixed(_: Snapshot) -> Query:
        if not asked.image and asked.text is None:
            raise QueryError("text", "there is nothing to look for: send text, or pictures, or both")
        return Query(
            text=None if asked.text is None else validate_text(asked.text, "text", services().limits),
            pictures=_pictures(asked),
            weights=Weights(images=asked.image_weight, text=1 - asked.image_weight),
            names={"images": "image", "weights": "image_weight"},
        )

    return _answered(asked, mixed)


@search_api.post(
    "/v1/search",
    tags=[_SEARCH],
    summary="Search by any mix of words, pictures, a vector, and products liked and not",
    responses={200: SearchAnswer, **errors(400, 410, 413, 415, 422, 503)},
)
def search_any(body: GeneralQuery) -> Response:
    return _answered(body, lambda _: general_query(body, services().limits))


@search_api.get(
    "/v1/products/<path:product_id>/similar",
    tags=[_SEARCH],
    summary="What looks like a product",
    responses={200: SearchAnswer, **errors(404, 410, 422, 503)},
)
def similar(path: ProductPath, query: SimilarQuery) -> Response:
    def alike(snapshot: Snapshot) -> Query:
        if snapshot.release.locate(path.product_id) is None:
            raise UnknownProduct(path.product_id)
        return Query(like=(path.product_id,), names={"like": "product_id"})

    return _answered(query, alike)


@search_api.post(
    "/v1/search/batch",
    tags=[_SEARCH],
    summary="Many searches in one call",
    responses={200: BatchAnswer, **errors(400, 413, 415, 422, 503)},
)
def search_batch(body: BatchQuery) -> Response:
    if len(body.searches) > services().limits.max_batch:
        raise QueryError("searches", f"{len(body.searches)} of them; at most {services().limits.max_batch} in one call")

    # One call is one request's worth of work, however it is divided.
    if sum(len(each.images) for each in body.searches) > services().limits.max_batch:
        raise QueryError("searches", f"more than {services().limits.max_batch} pictures in all")
    if sum(each.offset for each in body.searches) > services().limits.max_offset:
        raise QueryError("searches", f"offsets of more than {services().limits.max_offset} in all")

    def ask(asked: GeneralQuery) -> _Asked:
        return _Asked(asked, lambda _: general_query(asked, services().limits))

    with _counted(len(body.searches)) as timer:
        answers = _search(services().watcher.snapshot(), [ask(each) for each in body.searches], timer)
    failed = sum(isinstance(each, InputError) for each in answers)
    _log.info("batch", searches=len(answers), failed=failed, milliseconds=timer.milliseconds)
    for each in answers:
        if not isinstance(each, InputError):
            services().events.search(_kind(), each.shown, cached=each.cached, vector=each.vector)
    shown = [
        Failed.model_validate({"problem": describe(each)}).model_dump() if isinstance(each, InputError) else each.shown
        for each in answers
    ]
    return json_of({"answers": shown, "query_time_ms": timer.milliseconds})


@dataclass(frozen=True)
class _Asked:
    """A search as a route has read it."""

    options: Common
    query: Callable[[Snapshot], Query]  # raises what is wrong with it


@contextmanager
def _counted(searches: int = 1) -> Iterator[RequestTimer]:
    """The work of a request, once it is its turn; counted and timed however it ends. Each search has its own time."""
    timer = RequestTimer(services().deadline_seconds * searches, perf_counter() - queue_time())
    status = "error"
    try:
        with services().admission.admitted(timer.began):
            timer.mark("wait")
            yield timer
        status = "ok"
    except Busy:
        status = "busy"
        raise
    finally:
        metrics.count_search(_kind(), status, timer.milliseconds / 1000, timer.stages)


def _answered(options: Common, query: Callable[[Snapshot], Query]) -> Response:
    """Run one search; count, time and log it."""
    with _counted() as timer:
        cursor = None if options.cursor is None else Cursor.decoded(options.cursor)
        snapshot = services().watcher.snapshot(None if cursor is None else cursor.release)
        answer = _search(snapshot, [_Asked(options, query)], timer, cursor)[0]
        if isinstance(answer, InputError):
            raise answer
    shown = answer.shown
    kind = _kind()
    services().events.search(kind, shown, cached=answer.cached, vector=answer.vector)
    metrics.RESULT_DIVERSITY.observe(len({result["category"] for result in shown["results"]}))
    _log.info(
        "search", search_id=shown["search_id"], type=kind, milliseconds=shown["query_time_ms"],
        results=len(shown["results"]), release=shown["release"], cached=answer.cached,
    )  # fmt: skip
    return json_of(shown)


@dataclass(frozen=True)
class _Answer:
    """A SearchAnswer as a dictionary, and whether it is from the cache."""

    shown: dict[str, Any]
    cached: bool = False
    vector: np.ndarray | None = None  # of the query, float32[dim], where there was a need for one


def _search(
    snapshot: Snapshot, asked: Sequence[_Asked], timer: RequestTimer, cursor: Cursor | None = None
) -> list[_Answer | InputError]:
    """Answers in the order asked, or what is wrong with a request; encoder and index are called once for all."""
    limits = services().limits
    found: dict[int, _Answer | InputError] = {}
    good: list[tuple[int, Query, SearchOptions]] = []
    for place, each in enumerate(asked):
        try:
            if each.options.cursor is not None and cursor is None:
                raise QueryError("cursor", "goes with a search by itself, not with a batch")
            options = options_from(each.options, snapshot, limits, services().ranking.max_per_category, cursor)
            query = each.query(snapshot)
            if cursor is not None:
                cursor.check(search_digest(query.digest, options.order))
            good.append((place, query, options))
        except InputError as error:
            found[place] = error
    keys = result_keys(
        snapshot, services().ranking, limits.max_offset, [(query, options) for _, query, options in good]
    )
    key_of = {place: key for (place, _, _), key in zip(good, keys, strict=True)}
    for (place, _, _), shown in zip(good, cached_results(services().caches.results, snapshot, keys), strict=True):
        if shown is not None:
            found[place] = _Answer({**shown, **_of_this_call(timer)}, cached=True)
    good = [each for each in good if each[0] not in found]
    timer.mark("read")
    vectors = wanted(snapshot, [query for _, query, _ in good], limits, services().caches.embeddings)
    timer.mark("encode")
    searches: dict[int, Search] = {}
    for (place, query, options), vector in zip(good, vectors, strict=True):
        if isinstance(vector, InputError):
            found[place] = vector
        else:
            searches[place] = Search(vector, options, search_digest(query.digest, options.order))
    answers = run_searches(snapshot, list(searches.values()), services().ranker, timer, max_offset=limits.max_offset)
    fresh: dict[str | None, dict[str, Any]] = {}
    for (place, search), answer in zip(searches.items(), answers, strict=True):
        shown = {**answer, **_of_this_call(timer)}
        found[place] = _Answer(shown, vector=search.wanted.vector)
        fresh[key_of[place]] = shown
    cache_results(services().caches.results, fresh)
    return [found[place] for place in range(len(asked))]


def _of_this_call(timer: RequestTimer) -> dict[str, Any]:
    """What of an answer belongs to one call, however often the same is asked."""
    return {"search_id": uuid.uuid4().hex, "query_time_ms": timer.milliseconds}


def _merged(query: Common, form: _Form) -> _Form:
    """SearchOptions may come beside the pictures or in the URL; a form field wins."""
    return form.model_copy(
        update={name: getattr(query, name) for name in query.model_fields_set - form.model_fields_set}
    )


def _pictures(form: ImageForm | HybridForm) -> tuple[QueryPicture, ...]:
    validate_picture_count(len(form.image), "image", services().limits)
    most = services().limits.max_image_bytes
    contents: list[bytes] = []
    for image in form.image:
        with image.stream:  # a large one is a temporary file
            contents.append(image.stream.read(most + 1))
    validate_picture_sizes(contents, "image", services().limits)
    box = crop_box(form.crop)
    return tuple(QueryPicture(content, box) for content in contents)
