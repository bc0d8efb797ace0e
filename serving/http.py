"""What the routes share: the app's own things, answers in JSON, and the errors that the OpenAPI document names."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response, current_app
from pydantic import BaseModel

from artifacts.settings import Settings
from serving.cache import Caches
from serving.ranking import Ranker
from serving.snapshot import Watcher

_PROBLEM = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
_ERRORS = {
    400: "The request cannot be read", 404: "No such product", 410: "The cursor's release is gone", 413: "Too large",
    415: "Not a picture", 422: "A parameter is wrong", 503: "No release is loaded",
}  # fmt: skip


def errors(*statuses: int) -> dict[str, Any]:
    """Responses of a route, for the OpenAPI document."""
    return {str(status): {"description": _ERRORS[status], **_PROBLEM} for status in statuses}


def settings() -> Settings:
    return current_app.config["LOOKALIKE_SETTINGS"]


def watcher() -> Watcher:
    return current_app.config["LOOKALIKE_WATCHER"]


def ranker() -> Ranker:
    return current_app.config["LOOKALIKE_RANKER"]


def caches() -> Caches:
    return current_app.config["LOOKALIKE_CACHES"]


def json_of(answer: BaseModel | dict[str, Any]) -> Response:
    """An answer that has been validated: the OpenAPI document is a promise."""
    if isinstance(answer, BaseModel):
        answer = answer.model_dump(mode="json")
    return Response(orjson.dumps(answer), mimetype="application/json")
