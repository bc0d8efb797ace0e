"""The HTTP API beside searching: products, the release, health and metrics. DESIGN: read-only."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Response, redirect, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from werkzeug.wrappers import Response as WsgiResponse

from artifacts.errors import UnknownProduct
from serving import metrics
from serving.http import errors, events, json_of, watcher
from serving.models import Click, Health, PictureQuery, ProductAnswer, ProductPath, Readiness, ReleaseAnswer
from serving.problems import problem
from serving.search import product

_PRODUCTS = Tag(name="products", description="Products of the release being served.")
_OPERATION = Tag(name="operation", description="For those who run the server.")

api = APIBlueprint("api", __name__)


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
        **errors(404, 422, 503, guarded=False),
    },
)
def product_image(path: ProductPath, query: PictureQuery) -> WsgiResponse:
    snapshot = watcher().snapshot()
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
    responses={200: ProductAnswer, **errors(404, 422, 503)},
)
def get_product(path: ProductPath) -> Response:
    found = product(watcher().snapshot(), path.product_id)
    if found is None:
        raise UnknownProduct(path.product_id)
    return json_of(ProductAnswer.model_validate(found))


@api.post(
    "/v1/events/click",
    tags=[_OPERATION],
    summary="A result was chosen",
    responses={204: {"description": "Taken down"}, **errors(400, 413, 422)},
)
def click(body: Click) -> Response:
    events().click(body.search_id, body.product_id, body.position)
    metrics.CLICK_POSITION.observe(body.position)
    return Response(status=204)


@api.get(
    "/v1/release", tags=[_OPERATION], summary="What is being served", responses={200: ReleaseAnswer, **errors(503)}
)
def get_release() -> Response:
    snapshot = watcher().snapshot()
    manifest = snapshot.manifest
    return json_of(
        ReleaseAnswer(
            version=manifest.version,
            created_at=manifest.created_at,
            loaded_at=datetime.fromtimestamp(snapshot.loaded_at, UTC),
            encoder=manifest.encoder,
            products=manifest.counts.indexed,
            pictures=snapshot.release.rows,
            recall=manifest.recall,
            columns={name: str(kind) for name, kind in snapshot.release.columns.items()},
            supports_text=snapshot.encoder.supports_text,
        )
    )


@api.get("/healthz", tags=[_OPERATION], summary="The process is alive", responses={200: Health})
def healthz() -> Response:
    return json_of(Health(status="ok"))


@api.get(
    "/readyz",
    tags=[_OPERATION],
    summary="A release is loaded",
    responses={200: Readiness, **errors(503, guarded=False)},
)
def readyz() -> Response:
    watching = watcher()
    version = watching.snapshot().manifest.version  # NoRelease becomes 503
    failure = watching.failure
    refused = f"{failure.version} was refused: {failure.error}" if failure else None
    return json_of(Readiness(status="degraded" if refused else "ok", release=version, failure=refused))


@api.get(
    "/metrics",
    tags=[_OPERATION],
    summary="Prometheus metrics",
    responses={200: {"description": "Text format", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_metrics() -> Response:
    return Response(metrics.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")
