"""The route that records which result a shopper chose."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from serving import metrics
from serving.responses import errors, operation_id
from serving.schemas import Click
from serving.services import services

_OPERATION = Tag(name="operation", description="For those who run the server.")

events_api = APIBlueprint("events", __name__, operation_id_callback=operation_id)


@events_api.post(
    "/v1/events/click",
    tags=[_OPERATION],
    summary="A result was chosen",
    responses={204: {"description": "Recorded"}, **errors(400, 413, 422)},
)
def click(body: Click) -> Response:
    services().events.click(body.search_id, body.product_id, body.position)
    metrics.CLICK_POSITION.observe(body.position)
    return Response(status=204)
