"""TODO."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response
from pydantic import BaseModel

_PROBLEM = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
_ERRORS = {
    400: "The request cannot be read", 401: "The API key is missing or unknown", 404: "No such product",
    410: "The cursor's release is gone", 413: "Too large", 415: "Not a picture", 422: "A parameter is wrong",
    429: "Too many requests", 503: "No release is loaded, or there is too much to do",
}  # fmt: skip


def errors(*statuses: int, guarded: bool = True) -> dict[str, Any]:
    """Responses of a route, for the OpenAPI document.

    Args:
        guarded: whether the route may want a key and keep callers to a rate; see serving.api.auth.
    """
    every = sorted({*statuses, 401, 429}) if guarded else statuses
    return {str(status): {"description": _ERRORS[status], **_PROBLEM} for status in every}


def dumps(answer: Any) -> bytes:
    """An answer in JSON; times as pydantic writes them."""
    return orjson.dumps(answer, option=orjson.OPT_UTC_Z)


def json_of(answer: BaseModel | dict[str, Any]) -> Response:
    """The response that an answer is."""
    if isinstance(answer, BaseModel):
        answer = answer.model_dump(mode="json")
    return Response(dumps(answer), mimetype="application/json")
