"""One shape for every error: RFC 9457 application/problem+json, with the field that is at fault where there is one."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, jsonify
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import HTTPException

from artifacts.errors import EncoderError, LookalikeError, NoRelease, PictureError, QueryError
from artifacts.schema import Reason


class UnknownProduct(LookalikeError):
    """The release being served has no such product."""

    def __init__(self, product_id: str) -> None:
        super().__init__(f"there is no product {product_id[:200]!r} in the release being served")


#: Seconds after which a client may ask again while no release is loaded.
RETRY_AFTER = 5

_log = structlog.get_logger()


class Problem(BaseModel):
    """What went wrong."""

    type: str = Field("about:blank", description="URI of the kind of problem; about:blank says that `title` is all.")
    title: str = Field(description="The HTTP status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong with this request and what would be right.")
    field: str | None = Field(None, description="The parameter at fault.")


def problem(status: int, detail: str, field: str | None = None, **headers: str) -> Response:
    """A problem+json response."""
    body = Problem(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail, field=field)
    response = jsonify(body.model_dump(exclude_none=True))
    response.status_code = status
    response.mimetype = "application/problem+json"
    response.headers.extend({name.replace("_", "-"): value for name, value in headers.items()})
    return response


def from_validation(error: ValidationError) -> Response:
    """The first thing that pydantic found wrong."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or None
    # A missing or unreadable JSON body arrives as one error without a place.
    return problem(422, f"{field}: {first['msg']}" if field else f"request body: {first['msg']}", field)


def _from_picture(error: PictureError) -> Response:
    status = {Reason.NOT_AN_IMAGE: 415, Reason.TOO_MANY_BYTES: 413, Reason.TOO_MANY_PIXELS: 413}.get(error.reason, 422)
    return problem(status, f"image: {error.detail}", "image")


def _from_http(error: HTTPException) -> Response:
    if error.response is not None:  # made by problem() already
        return error.response  # pyright: ignore[reportReturnType]
    status = error.code or 500
    response = problem(status, error.description or HTTPStatus(status).phrase)
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after"):
            response.headers[name] = value
    return response


def _from_fault(error: Exception) -> Response:
    """Our own fault: the log gets the whole story, the caller none of it."""
    _log.exception("unhandled", error=repr(error))
    return problem(500, "the server made a mistake; it has been logged")


def register(app: Flask) -> None:
    """Answer every error of an app in this shape."""
    handlers: dict[type[Exception], Any] = {
        HTTPException: _from_http,
        QueryError: lambda error: problem(422, str(error), error.field),
        PictureError: _from_picture,
        EncoderError: lambda error: problem(422, str(error)),
        UnknownProduct: lambda error: problem(404, str(error), "product_id"),
        NoRelease: lambda error: problem(503, str(error), Retry_After=str(RETRY_AFTER)),
        Exception: _from_fault,
    }
    for kind, handler in handlers.items():
        app.register_error_handler(kind, handler)
