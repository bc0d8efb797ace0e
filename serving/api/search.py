"""The HTTP API's searches. Every route is the general form, or a part of it: its input becomes one Query."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar

import structlog
from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from artifacts.errors import Busy, QueryError
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
)
from serving.search.paging import Cursor
from serving.search.parse_query import general_query, hybrid_query, image_query, similar_query, text_query
from serving.search.query import Query
from serving.search.task import SearchTask
from serving.services import services
from serving.timing import RequestTimer

_Form = TypeVar("_Form", bound=Common)

_log = structlog.get_logger()

_SEARCH = Tag(name="search", description="Products that look like the query.")

search_api = APIBlueprint("search", __name__)


@search_api.get(
    "/v1/search/text", tags=[_SEARCH], summary="Search by words", responses={200: SearchAnswer, **errors(410, 422, 503)}
)
def search_text(query: TextQuery) -> Response:
    return _answer(query, lambda _: text_query(query.q, services().limits))


@search_api.post(
    "/v1/search/image",
    tags=[_SEARCH],
    summary="Search by one or more pictures",
    responses={200: SearchAnswer, **errors(400, 410, 413, 415, 422, 503)},
)
def search_image(query: ImageOptions, form: ImageForm) -> Response:
    merged = _merge(query, form)
    return _answer(merged, lambda _: image_query(merged, services().limits))


@search_api.post(
    "/v1/search/hybrid",
    tags=[_SEARCH],
    summary="Search by pictures and words together",
    responses={200: SearchAnswer, **errors(400, 410, 413, 415, 422, 503)},
)
def search_hybrid(query: HybridOptions, form: HybridForm) -> Response:
    merged = _merge(query, form)
    return _answer(merged, lambda _: hybrid_query(merged, services().limits))


@search_api.post(
    "/v1/search",
    tags=[_SEARCH],
    summary="Search by any mix of words, pictures, a vector, and products liked and not",
    responses={200: SearchAnswer, **errors(400, 410, 413, 415, 422, 503)},
)
def search_any(body: GeneralQuery) -> Response:
    return _answer(body, lambda _: general_query(body, services().limits))


@search_api.get(
    "/v1/products/<path:product_id>/similar",
    tags=[_SEARCH],
    summary="What looks like a product",
    responses={200: SearchAnswer, **errors(404, 410, 422, 503)},
)
def similar(path: ProductPath, query: SimilarQuery) -> Response:
    return _answer(query, lambda snapshot: similar_query(path.product_id, snapshot))


@search_api.post(
    "/v1/search/batch",
    tags=[_SEARCH],
    summary="Many searches in one call",
    responses={200: BatchAnswer, **errors(400, 413, 415, 422, 503)},
)
def search_batch(body: BatchQuery) -> Response:
    limits = services().limits
    if len(body.searches) > limits.max_batch:
        raise QueryError("searches", f"{len(body.searches)} of them; at most {limits.max_batch} in one call")
    # One call is one request's worth of work, however it is divided.
    if sum(len(search.images) for search in body.searches) > limits.max_batch:
        raise QueryError("searches", f"more than {limits.max_batch} pictures in all")
    if sum(search.offset for search in body.searches) > limits.max_offset:
        raise QueryError("searches", f"offsets of more than {limits.max_offset} in all")
    tasks = [SearchTask(search, lambda _, search=search: general_query(search, limits)) for search in body.searches]
    with _admitted(len(tasks)) as timer:
        services().search.run(tasks, services().watcher.snapshot(), timer)
    failed = sum(task.problem is not None for task in tasks)
    _log.info("batch", searches=len(tasks), failed=failed, milliseconds=timer.milliseconds)
    answers = []
    for task in tasks:
        if task.answer is None:
            problem = None if task.problem is None else describe(task.problem)
            answers.append(Failed.model_validate({"problem": problem}).model_dump())
        else:
            services().events.search(_search_type(), task.answer, cached=task.cached, vector=task.vector)
            answers.append(task.answer)
    return json_of({"answers": answers, "query_time_ms": timer.milliseconds})


def _answer(options: Common, parse: Callable[[Snapshot], Query]) -> Response:
    """Run one search; count, time and log it."""
    with _admitted() as timer:
        cursor = None if options.cursor is None else Cursor.decoded(options.cursor)
        task = SearchTask(options, parse, cursor)
        services().search.run([task], services().watcher.snapshot(cursor.release if cursor else None), timer)
        if task.answer is None:
            assert task.problem is not None  # noqa: S101  (run leaves one of the two)
            raise task.problem
    answer, search_type = task.answer, _search_type()
    services().events.search(search_type, answer, cached=task.cached, vector=task.vector)
    metrics.RESULT_DIVERSITY.observe(len({result["category"] for result in answer["results"]}))
    _log.info(
        "search", search_id=answer["search_id"], type=search_type, milliseconds=answer["query_time_ms"],
        results=len(answer["results"]), release=answer["release"], cached=task.cached,
    )  # fmt: skip
    return json_of(answer)


@contextmanager
def _admitted(searches: int = 1) -> Iterator[RequestTimer]:
    """The work of a request, once it is admitted; counted and timed however it ends.

    Args:
        searches: number of searches in the request; the deadline is multiplied by it.
    """
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
        metrics.count_search(_search_type(), status, timer.milliseconds / 1000, timer.stages)


def _search_type() -> str:
    search_type = search_type_of(request.path)
    assert search_type is not None, request.path  # noqa: S101  (every route of this blueprint has one; a test holds it)
    return search_type


def _merge(query: Common, form: _Form) -> _Form:
    """Options may come as form fields or in the URL; a form field wins."""
    return form.model_copy(
        update={name: getattr(query, name) for name in query.model_fields_set - form.model_fields_set}
    )
