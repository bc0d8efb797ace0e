"""JSON responses, and how the OpenAPI document describes error responses."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response
from flask_openapi.utils import get_operation_id_for_path
from pydantic import BaseModel

_PROBLEM = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
_ERRORS = {
    400: "The request cannot be parsed", 401: "The API key is missing or unknown", 404: "There is no such product",
    410: "The cursor's release is no longer served", 413: "Too large", 415: "Not a picture",
    422: "A parameter is invalid", 429: "Too many requests", 503: "No release is loaded, or the server is overloaded",
}  # fmt: skip


def errors(*statuses: int, guarded: bool = True) -> dict[str, Any]:
    """Describe a route's error responses for the OpenAPI document.

    Args:
        statuses: HTTP statuses of the route's own.
        guarded: whether API keys and rate limits apply to the route (see serving.api.auth), which adds 401 and 429.
    """
    described = sorted({*statuses, 401, 429}) if guarded else statuses
    return {str(status): {"description": _ERRORS[status], **_PROBLEM} for status in described}


def dumps(answer: Any) -> bytes:
    """Serialise an answer as JSON, with times in pydantic's format."""
    return orjson.dumps(answer, option=orjson.OPT_UTC_Z)


def json_of(answer: BaseModel | dict[str, Any]) -> Response:
    """Make a JSON response."""
    if isinstance(answer, BaseModel):
        answer = answer.model_dump(mode="json")
    return Response(dumps(answer), mimetype="application/json")


def operation_id(*, name: str, path: str, method: str) -> str:
    """Return the operationId of a route in /openapi.json: it does not say which blueprint the route belongs to.

    Generated clients name their methods by it, so a route keeps its id when it moves to another module.
    """
    return get_operation_id_for_path(bp_name="api", name=name, path=path, method=method)
