"""Error responses in one format: RFC 9457 application/problem+json, with the field at fault if there is one."""

from __future__ import annotations

from http import HTTPStatus

import orjson
import structlog
from flask import Flask, Response
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from artifacts.errors import (
    Busy,
    CursorGone,
    EncoderError,
    EngineError,
    EngineUnavailable,
    LookalikeError,
    NoRelease,
    QueryError,
    QueryPictureError,
    UnknownProduct,
)
from artifacts.schema import Reason
from serving.schemas import Problem

#: Retry-After in seconds while no release is loaded.
RETRY_AFTER = 5

_PICTURE_STATUS = {Reason.NOT_AN_IMAGE: 415, Reason.TOO_MANY_BYTES: 413, Reason.TOO_MANY_PIXELS: 413}

_log = structlog.get_logger()


def describe(error: LookalikeError) -> Problem | None:
    """Return the problem to report to the caller, or None if the error is the server's own.

    What an engine says is logged.
    """
    match error:
        case QueryPictureError():
            return _problem(_PICTURE_STATUS.get(error.reason, 422), f"{error.field}: {error.detail}", error.field)
        case QueryError():
            return _problem(422, str(error), error.field)
        case EncoderError():
            return _problem(422, str(error))
        case UnknownProduct():
            return _problem(404, str(error), "product_id")
        case CursorGone():
            return _problem(410, str(error), "cursor")
        case EngineError():
            # The reason names the engine's address, which is the operator's affair, as is mending a wrong credential:
            # another try may succeed then.
            _log.warning("engine", error=str(error))
            does = "does not answer" if isinstance(error, EngineUnavailable) else "cannot be used at the moment"
            return _problem(503, f"the search engine behind this server {does}; try again a little later")
        case NoRelease() | Busy():
            return _problem(503, str(error))
    return None


def _problem(status: int, detail: str, field: str | None = None) -> Problem:
    return Problem(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail, field=field)


def problem(status: int, detail: str, field: str | None = None) -> Response:
    """Make a problem+json response.

    Args:
        status: HTTP status.
        detail: what is wrong and what would be right.
        field: the request's parameter at fault.
    """
    return _response(_problem(status, detail, field))


def _response(problem: Problem) -> Response:
    content = orjson.dumps(problem.model_dump(exclude_none=True))
    response = Response(content, problem.status, mimetype="application/problem+json")
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def from_validation(error: ValidationError) -> Response:
    """Make a response from the first error that pydantic reports."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or None
    # A missing or unreadable JSON body is reported without a location.
    return problem(422, f"{field}: {first['msg']}" if field else f"request body: {first['msg']}", field)


def response_to(error: LookalikeError) -> Response:
    """Make a response from an error raised on purpose; works without a request context."""
    described = describe(error)
    if described is None:
        return _from_unhandled(error)
    response = _response(described)
    if isinstance(error, Busy):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _from_http(error: HTTPException) -> Response:
    if error.response is not None:  # made by problem() already
        return error.response  # pyright: ignore[reportReturnType]
    status = error.code or 500
    response = problem(status, error.description or HTTPStatus(status).phrase)
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after", "www-authenticate"):
            response.headers[name] = value
    return response


def _from_unhandled(error: Exception) -> Response:
    """Log an error of the server's own with its traceback; the caller gets no details of it."""
    _log.exception("unhandled", error=repr(error))
    return problem(500, "the server failed to handle the request; the error has been logged")


def register(app: Flask) -> None:
    """Make an app report every error in this format."""
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(LookalikeError, response_to)
    app.register_error_handler(Exception, _from_unhandled)
