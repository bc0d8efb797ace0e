"""The HTTP API: routes that read a request, search, and answer. DESIGN: read-only, one release per request."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from flask import Response, current_app, redirect, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import BaseModel
from werkzeug.wrappers import Response as WsgiResponse

from artifacts.settings import Settings
from serving import metrics
from serving.models import (
    Common,
    Health,
    ImageForm,
    PictureQuery,
    ProductAnswer,
    ProductPath,
    Readiness,
    ReleaseAnswer,
    SearchAnswer,
    SimilarQuery,
    TextQuery,
)
from serving.problems import UnknownProduct, problem
from serving.requests import images_vector, options_from, text_vector
from serving.search import Clock, mean_vector, product, search
from serving.snapshot import Snapshot, Watcher

_log = structlog.get_logger()

_SEARCH = Tag(name="search", description="Products that look like what is asked for.")
_PRODUCTS = Tag(name="products", description="Products of the release being served.")
_OPERATION = Tag(name="operation", description="For those who run the server.")

_PROBLEM = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def _errors(*statuses: int) -> dict[str, Any]:
    words = {
        400: "The request cannot be read", 404: "No such product", 413: "Too large", 415: "Not a picture",
        422: "A parameter is wrong", 503: "No release is loaded",
    }  # fmt: skip
    return {str(status): {"description": words[status], **_PROBLEM} for status in statuses}


api = APIBlueprint("api", __name__)


def _settings() -> Settings:
    return current_app.config["LOOKALIKE_SETTINGS"]


def _watcher() -> Watcher:
    return current_app.config["LOOKALIKE_WATCHER"]


def _answered(kind: str, run: Callable[[Snapshot, Clock], dict[str, Any]]) -> Response:
    """Run a search and count, time and log it."""
    clock = Clock()
    status = "error"
    try:
        answer = run(_watcher().snapshot(), clock)
        status = "ok"
    finally:
        metrics.SEARCH_REQUESTS.labels(kind, status).inc()
        metrics.SEARCH_LATENCY.labels(kind).observe(clock.milliseconds / 1000)
    for stage, milliseconds in clock.stages.items():
        metrics.STAGE_LATENCY.labels(stage).observe(milliseconds / 1000)
    metrics.RESULT_DIVERSITY.observe(len({result["category"] for result in answer["results"]}))
    _log.info(
        "search", search_id=answer["search_id"], type=kind, milliseconds=answer["query_time_ms"],
        results=len(answer["results"]), release=answer["release"],
    )  # fmt: skip
    return _json(SearchAnswer, answer)


def _json(model: type[BaseModel], answer: dict[str, Any]) -> Response:
    """Validated on the way out too: the OpenAPI document is a promise."""
    return Response(model.model_validate(answer).model_dump_json(), mimetype="application/json")


@api.get(
    "/v1/search/text", tags=[_SEARCH], summary="Search by words", responses={200: SearchAnswer, **_errors(422, 503)}
)
def search_text(query: TextQuery) -> Response:
    def run(snapshot: Snapshot, clock: Clock) -> dict[str, Any]:
        options = options_from(query, snapshot, _settings())
        vector = text_vector(snapshot, query.q, _settings())
        clock.stage("encode")
        return search(snapshot, vector, "text", options, _settings(), clock)

    return _answered("text", run)


@api.post(
    "/v1/search/image",
    tags=[_SEARCH],
    summary="Search by one or more pictures",
    responses={200: SearchAnswer, **_errors(400, 413, 415, 422, 503)},
)
def search_image(query: Common, form: ImageForm) -> Response:
    # Options may come beside the picture or in the URL; a form field wins.
    asked = form.model_copy(
        update={name: getattr(query, name) for name in query.model_fields_set - form.model_fields_set}
    )

    def run(snapshot: Snapshot, clock: Clock) -> dict[str, Any]:
        options = options_from(asked, snapshot, _settings())
        vector = images_vector(snapshot, asked.image, asked.crop, _settings())
        clock.stage("encode")
        return search(snapshot, vector, "image", options, _settings(), clock)

    return _answered("image", run)


@api.get(
    "/v1/products/<path:product_id>/similar",
    tags=[_PRODUCTS],
    summary="What looks like a product",
    responses={200: SearchAnswer, **_errors(404, 422, 503)},
)
def similar(path: ProductPath, query: SimilarQuery) -> Response:
    def run(snapshot: Snapshot, clock: Clock) -> dict[str, Any]:
        options = options_from(query, snapshot, _settings())
        vectors = snapshot.release.vectors_of(path.product_id)
        if vectors is None:
            raise UnknownProduct(path.product_id)
        vector = mean_vector(vectors, "product_id")
        clock.stage("encode")
        return search(snapshot, vector, "image", options, _settings(), clock, without=[path.product_id])

    return _answered("similar", run)


@api.get(
    "/v1/products/<path:product_id>/image",
    tags=[_PRODUCTS],
    summary="A product's picture: its thumbnail, or a redirect to its URL",
    responses={
        200: {
            "description": "A thumbnail",
            "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        },
        302: {"description": "Where the picture is"},
        **_errors(404, 422, 503),
    },
)
def product_image(path: ProductPath, query: PictureQuery) -> WsgiResponse:
    snapshot = _watcher().snapshot()
    place = snapshot.release.locate(path.product_id)
    if place is None:
        raise UnknownProduct(path.product_id)
    segment = snapshot.release.segments[place[0]]
    rows = {row["picture"]: (number, row["image_url"]) for number, row in
            zip(place[1], segment.products.take(place[1], ["picture", "image_url"]), strict=True)}  # fmt: skip
    if query.picture not in rows:
        return problem(404, f"product {path.product_id!r} has no picture {query.picture}", "picture")
    row, url = rows[query.picture]
    if url.lower().startswith(("http://", "https://")):
        return redirect(url)
    jpeg = segment.thumbnails.get(int(row)) if segment.thumbnails else None
    if jpeg is None:
        return problem(404, f"product {path.product_id!r} has no thumbnail in this release", "picture")
    response = Response(jpeg, mimetype="image/jpeg")
    # The thumbnail may change with the release: browsers ask again after a while, and get 304 if it is the same.
    response.cache_control.public, response.cache_control.max_age = True, 300
    response.add_etag()
    return response.make_conditional(request)


@api.get(
    "/v1/products/<path:product_id>",
    tags=[_PRODUCTS],
    summary="One product",
    responses={200: ProductAnswer, **_errors(404, 422, 503)},
)
def get_product(path: ProductPath) -> Response:
    found = product(_watcher().snapshot(), path.product_id)
    if found is None:
        raise UnknownProduct(path.product_id)
    return _json(ProductAnswer, found)


@api.get(
    "/v1/release", tags=[_OPERATION], summary="What is being served", responses={200: ReleaseAnswer, **_errors(503)}
)
def get_release() -> Response:
    snapshot = _watcher().snapshot()
    manifest = snapshot.manifest
    return _json(
        ReleaseAnswer,
        {
            "version": manifest.version,
            "created_at": manifest.created_at,
            "loaded_at": datetime.fromtimestamp(snapshot.loaded_at, UTC),
            "encoder": manifest.encoder,
            "products": manifest.counts.indexed,
            "pictures": snapshot.release.rows,
            "recall": manifest.recall,
            "columns": {name: str(kind) for name, kind in snapshot.release.columns.items()},
            "supports_text": snapshot.encoder.supports_text,
        },
    )


@api.get("/healthz", tags=[_OPERATION], summary="The process is alive", responses={200: Health})
def healthz() -> Response:
    return _json(Health, {"status": "ok"})


@api.get("/readyz", tags=[_OPERATION], summary="A release is loaded", responses={200: Readiness, **_errors(503)})
def readyz() -> Response:
    watcher = _watcher()
    version = watcher.snapshot().manifest.version  # NoRelease becomes 503
    failure = watcher.failure
    refused = f"{failure.version} was refused: {failure.error}" if failure else None
    return _json(Readiness, {"status": "degraded" if refused else "ok", "release": version, "failure": refused})


@api.get(
    "/metrics",
    tags=[_OPERATION],
    summary="Prometheus metrics",
    responses={200: {"description": "Text format", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_metrics() -> Response:
    metrics.observe_release(_watcher())
    return Response(metrics.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")
