"""Routes of one product: its data and its pictures."""

from __future__ import annotations

from flask import Response, redirect, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from werkzeug.wrappers import Response as WsgiResponse

from artifacts.errors import UnknownProduct
from artifacts.schema import is_http
from serving.problems import problem
from serving.responses import errors, json_of, operation_id
from serving.schemas import PictureQuery, ProductAnswer, ProductPath
from serving.search.render import render_product
from serving.services import services

_PRODUCTS = Tag(name="products", description="Products of the release being served.")

products_api = APIBlueprint("products", __name__, operation_id_callback=operation_id)


@products_api.get(
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
    release = services().watcher.snapshot().release
    picture = release.picture(path.product_id, query.picture)
    if picture is None:
        if path.product_id not in release:
            raise UnknownProduct(path.product_id)
        return problem(404, f"product {path.product_id!r} has no picture {query.picture}", "picture")
    if is_http(picture.url):
        return redirect(picture.url)
    if picture.thumbnail is None:
        return problem(404, f"product {path.product_id!r} has no thumbnail in this release", "picture")
    response = Response(picture.thumbnail, mimetype="image/jpeg")
    # The thumbnail may change with the release: browsers ask again after five minutes, and get 304 if it did not.
    response.cache_control.public, response.cache_control.max_age = True, 300
    response.add_etag()
    return response.make_conditional(request)


@products_api.get(
    "/v1/products/<path:product_id>",
    tags=[_PRODUCTS],
    summary="One product",
    responses={200: ProductAnswer, **errors(404, 422, 503)},
)
def get_product(path: ProductPath) -> Response:
    product = render_product(services().watcher.snapshot(), path.product_id)
    if product is None:
        raise UnknownProduct(path.product_id)
    return json_of(ProductAnswer.model_validate(product))
